# SPDX-License-Identifier: Apache-2.0
"""A report of a run of DLIO: one HTML page that needs nothing else, and the same numbers as JSON.

Strategy: `results` reads what DLIO has written and `operations` what s3dlio has recorded; `figures` joins them to the
numbers of the report, which are the JSON. `plots` draws them and `page` writes the page. Only those two need
matplotlib, and only a report imports them: it is the extra `report`.
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
    """Write the report of a run, over an earlier one.

    Args:
        results: DLIO's output folder (`hydra.run.dir`), whether the run ended well or not; or a folder of recorded
            operations alone.
        metrics: the folder that S3DLIO_METRICS_DIR named during the run, if it did.
        html: the page; by default `report.html` in the output folder.
        json_file: the numbers; by default beside the page, under its name.

    Returns:
        The paths of the page and of the JSON. Each file is replaced when it is whole.

    Raises:
        ConfigurationError: matplotlib or PyYAML is not installed.
        ObjectNotFoundError: nothing of a run is there.
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
