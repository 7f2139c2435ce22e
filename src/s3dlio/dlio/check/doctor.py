# SPDX-License-Identifier: Apache-2.0
"""`s3dlio dlio doctor`: says what will fail and what will be slow, before a job starts.

Strategy: each check looks at one thing and gives findings: DLIO's files, the workload, the storage that it uses, the
settings in force. `examine` puts them together.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from s3dlio import redaction, settings
from s3dlio.dlio.check import dlio_package
from s3dlio.dlio.check.findings import FAILURE, Finding
from s3dlio.dlio.check.probe import probe
from s3dlio.dlio.check.slow import slow
from s3dlio.dlio.check.workload import Folder, Workload, about_workload
from s3dlio.errors import S3dlioError


@dataclass
class Report:
    """What an examination has found.

    Attributes:
        dlio: where DLIO is, what it can do, and what is installed in its files (`dlio_package.describe`).
        workload: the workload that was examined, if any.
        findings: in the order in which they are to be read.
    """

    dlio: dict[str, Any]
    workload: Workload | None
    findings: list[Finding]

    @property
    def failed(self) -> bool:
        """Whether something will fail."""
        return any(finding.level == FAILURE for finding in self.findings)

    def as_dict(self) -> dict[str, Any]:
        """The report as one JSON document."""
        document: dict[str, Any] = redaction.tree(
            {
                "status": "failed" if self.failed else "ok",
                "dlio": self.dlio,
                "workload": None if self.workload is None else self.workload.document(),
                "findings": [dataclasses.asdict(finding) for finding in self.findings],
            }
        )
        return document


def examine(workload: Workload | None = None, uris: Sequence[str] = (), write: bool = False) -> Report:
    """Examine DLIO, the settings, and a workload or some folders.

    Args:
        workload: what is going to run (`run.composition.compose`).
        uris: folders to examine instead of a workload. A missing DLIO is then a warning, not a failure.
        write: whether to write into the folders in `uris`, too.
    """
    dlio = dlio_package.describe(dlio_package.folder())
    findings = dlio_package.about_dlio(dlio, needed=not uris)
    folders = [Folder(uri, written=write) for uri in uris]
    if workload is not None:
        findings += about_workload(workload)
        folders += workload.folders
    if folders:
        findings += probe(folders)
    try:
        findings += slow(settings.current(), folders, workload)
    except S3dlioError as error:
        findings.append(Finding(FAILURE, "settings", str(error)))
    return Report(dlio, workload, list(dict.fromkeys(findings)))
