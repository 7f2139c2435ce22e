# SPDX-License-Identifier: Apache-2.0
"""Makes a report of a run of DLIO: a single HTML page that loads nothing, and the same numbers as JSON.

Strategy: `results` reads what DLIO has written, and `statistics` what s3dlio has recorded. `numbers` joins both; its
document is the JSON. `plots` draws the numbers, `figures` adds captions and tables, and `page` puts the page together
from `markup`. The last four need matplotlib, which the extra `report` installs; they are imported to write a report.
"""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path

from s3dlio.errors import missing_extra

HTML_NAME = "report.html"


def write_report(
    results: str | os.PathLike[str],
    *,
    metrics: str | os.PathLike[str] | None = None,
    html: str | os.PathLike[str] | None = None,
    json_file: str | os.PathLike[str] | None = None,
) -> tuple[Path, Path]:
    """Write the report of a run. An earlier report is replaced.

    Args:
        results: DLIO's output folder (`hydra.run.dir`), even of a failed run; or a folder that holds recorded
        operations
            alone.
        metrics: the folder that S3DLIO_METRICS_DIR named during the run, if the variable was set.
        html: the page to write; by default `report.html` in the output folder.
        json_file: the file for the numbers; by default beside the page, with the suffix `.json`.

    Returns:
        The paths of the page and of the JSON. A file appears, or is replaced, when it is complete.

    Raises:
        ConfigurationError: matplotlib or PyYAML is not installed.
        ObjectNotFoundError: the folder holds nothing of a run.
        S3dlioError: a file cannot be written.
    """
    for module, package in (("matplotlib", "matplotlib"), ("yaml", "PyYAML")):
        if importlib.util.find_spec(module) is None:
            raise missing_extra("a report", package, "report")
    import s3dlio
    from s3dlio.dlio.report.numbers import collect
    from s3dlio.dlio.report.page import page

    folder = Path(results)
    html_path = Path(os.path.abspath(html if html is not None else folder / HTML_NAME))
    json_path = html_path.with_suffix(".json") if json_file is None else Path(os.path.abspath(json_file))
    report = collect(folder, None if metrics is None else Path(metrics))
    numbers = json.dumps(report.document(), indent=1, allow_nan=False)
    for path, text in ((html_path, page(report)), (json_path, f"{numbers}\n")):
        s3dlio.put_bytes(f"file://{path}", text.encode("utf-8", "surrogateescape"))
    return html_path, json_path
