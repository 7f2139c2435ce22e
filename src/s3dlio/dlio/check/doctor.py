# SPDX-License-Identifier: Apache-2.0
"""`s3dlio dlio doctor`: what will fail and what will be slow, before a job is started.

Strategy: each section below looks at one thing and gives findings (`probe.Finding`): DLIO's files, the workload that
the arguments make, the storage it uses, and the settings in force. `examine` puts them together. What is called slow
is what the project has measured, or what follows from counting requests; the documentation says where.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from s3dlio import redaction, settings
from s3dlio.dlio.check import workload as workloads
from s3dlio.dlio.check.probe import ADVICE, FAILURE, OK, WARNING, Finding, Place, probe
from s3dlio.dlio.check.workload import Workload
from s3dlio.errors import S3dlioError
from s3dlio.http.address import split_endpoints
from s3dlio.settings import Settings

_HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")
_PART_ADVICE_MB = 16  # the default, with which the project's measurements were made


@dataclass
class Report:
    """What an examination has found.

    Attributes:
        dlio: where DLIO is, what it can do, and what of s3dlio is installed in its files.
        workload: what the arguments make, None if there were none or they make nothing.
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
                "workload": None if self.workload is None else dataclasses.asdict(self.workload),
                "findings": [dataclasses.asdict(finding) for finding in self.findings],
            }
        )
        return document


def examine(arguments: Sequence[str], uris: Sequence[str] = (), write: bool = False) -> Report:
    """Examine DLIO, a workload or some folders, and the settings.

    Args:
        arguments: what `dlio_benchmark` takes; a workload is looked at if there are any.
        uris: folders to look at instead.
        write: whether these are written to as well.

    Raises:
        ArgumentError: the arguments are none of DLIO's.
    """
    package = workloads.package()
    dlio = installed(package)
    findings = _about_dlio(dlio, needed=not uris)
    workload = None
    places = [Place(uri, written=write) for uri in uris]
    if arguments and package is not None:
        workload = workloads.compose(arguments, s3_is_ours=dlio["option_2"]["storage/s3_torch_storage.py"])
        findings += about_workload(workload)
        places += workload.places
    if places:
        findings += probe(places)
    try:
        findings += slow(settings.current(), places, workload)
    except S3dlioError as error:
        findings.append(Finding(FAILURE, "settings", str(error)))
    return Report(dlio, workload, list(dict.fromkeys(findings)))


# DLIO's files...


def installed(package: Path | None) -> dict[str, Any]:
    """What a DLIO can do, and which of the two options of the integration guide its files hold.

    Args:
        package: its folder `dlio_benchmark`, or None.
    """
    if package is None:
        return {"path": None, "features": {}, "option_1": {}, "option_2": {}}
    configuration = _text(package / "utils" / "config.py")
    connector = package / "storage" / "s3_torch_storage.py"
    return {
        "path": str(package),
        "features": {
            "storage_options": "storage_options" in configuration,
            "checkpoints_are_read": "num_checkpoints_read" in configuration,
            "record_length_bytes": "record_length_bytes" in configuration,
            "s3torchconnector": connector.is_file(),
            "tensorflow": importlib.util.find_spec("tensorflow") is not None,
        },
        "option_1": {
            "storage/s3dlio_storage.py": (package / "storage" / "s3dlio_storage.py").is_file(),
            "common/enumerations.py": bool(
                re.search(r"^\s*S3DLIO\s*=", _text(package / "common" / "enumerations.py"), re.MULTILINE)
            ),
            "storage/storage_factory.py": "StorageType.S3DLIO" in _text(package / "storage" / "storage_factory.py"),
        },
        "option_2": {
            "storage/s3_torch_storage.py": "s3dlio" in _text(connector),
            "backup": connector.with_name(connector.name + ".original.bak").is_file(),
        },
    }


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _about_dlio(dlio: dict[str, Any], needed: bool) -> list[Finding]:
    if dlio["path"] is None:
        level = FAILURE if needed else WARNING
        return [Finding(level, "DLIO", "it is not installed in this Python environment", "see docs/dlio.md")]
    able = [name for name, has in dlio["features"].items() if has]
    findings = [Finding(OK, "DLIO", dlio["path"] + (f" (it has {', '.join(able)})" if able else ""))]
    first, second = dlio["option_1"], dlio["option_2"]
    if all(first.values()):
        findings.append(Finding(OK, "Option 1", "installed: dlio_benchmark itself knows the storage type s3dlio"))
    elif any(first.values()):
        lacking = ", ".join(name for name, has in first.items() if not has)
        message = f"installed in part: {lacking} lacks its change, so dlio_benchmark itself fails"
        findings.append(Finding(WARNING, "Option 1", message, "complete it, or start DLIO with: s3dlio dlio run"))
    if second["storage/s3_torch_storage.py"]:
        backup = "with" if second["backup"] else "without"
        message = f"installed, {backup} a backup: the storage type s3 goes through s3dlio"
        findings.append(Finding(OK, "Option 2", message))
    if not any(first.values()) and not second["storage/s3_torch_storage.py"]:
        findings.append(Finding(OK, "installation", "no file of DLIO is changed: start it with s3dlio dlio run"))
    return findings


# The workload...


def about_workload(workload: Workload, ranks: int | None = None) -> list[Finding]:
    """What will be wrong with a workload, wherever its data lies.

    Args:
        workload: what is going to run.
        ranks: MPI ranks, if that is known.
    """
    findings = []
    if workload.storage_type != "s3dlio":
        message = f"storage type {workload.storage_type}: DLIO's own storage serves this workload, not s3dlio"
        advice = "++workload.storage.storage_type=s3dlio"
        findings.append(Finding(WARNING, "workload", message, advice))
    if workload.framework == "tensorflow" and importlib.util.find_spec("tensorflow") is None:
        message = "its framework is tensorflow, which is not installed"
        findings.append(Finding(FAILURE, "workload", message, "++workload.framework=pytorch"))
    step = workload.batch_size * (ranks or 1)
    if workload.trains and workload.samples < step:
        message = f"it would read nothing: {workload.samples} samples do not fill a batch of {step} on all ranks"
        findings.append(
            Finding(WARNING, "workload", message, "more files (num_files_train), or a smaller reader.batch_size")
        )
    return findings


# What will be slow...


def slow(now: Settings, places: Sequence[Place], workload: Workload | None) -> list[Finding]:
    """What will cost time without need.

    Args:
        now: the settings in force.
        places: the folders that are used.
        workload: what uses them, if that is known.
    """
    schemes = {place.uri.partition("://")[0] for place in places}
    clouds = bool(schemes - {"file", "direct"})
    writes = any(place.written for place in places)
    rows = [
        (
            "[never]" in _text(_HUGE_PAGES),
            "huge pages",
            "switched off: receiving takes about twice the CPU time",
            f"echo madvise > {_HUGE_PAGES}",
        ),
        (
            now.file_sync and writes and "file" in schemes,
            "S3DLIO_FILE_SYNC",
            "every write to file:// waits for the disk",
            "unset it, unless what is measured is to be on the disk",
        ),
        (
            "s3" in schemes and now.s3_endpoints is not None and len(split_endpoints(now.s3_endpoints)) == 1,
            "endpoints",
            "all requests go to one endpoint",
            "if the service has more, name all of them in S3_ENDPOINT_URIS",
        ),
        (
            writes and "s3" in schemes and now.s3_sign_payload,
            "S3DLIO_SIGN_PAYLOAD",
            "a SHA-256 of every upload costs more CPU time than sending it",
            "unset it, unless the server insists",
        ),
        (
            writes and "az" in schemes and now.azure_put_checksum == "md5",
            "S3DLIO_AZURE_PUT_CHECKSUM",
            "an MD5 of every upload costs more CPU time than sending it",
            "crc64, unless the service lacks it",
        ),
        (
            "az" in schemes and now.azure_get_md5 == "1",
            "S3DLIO_AZURE_GET_MD5",
            "a whole blob that has an MD5 is compared with it, which takes 2 s of CPU time per GiB",
            "auto: TLS protects what is read already",
        ),
        (
            clouds and writes and now.put_verify,
            "S3DLIO_PUT_VERIFY",
            "every write is followed by a request for what was stored",
            "unset it: uploads are checked by their checksum already",
        ),
        *_proxies(now, schemes),
    ]
    if workload is not None:
        rows += _slow_workload(now, clouds, workload)
    return [Finding(ADVICE, about, message, advice) for holds, about, message, advice in rows if holds]


def _proxies(now: Settings, schemes: set[str]) -> list[tuple[bool, str, str, str]]:
    """Whether an endpoint of S3 is reached through a proxy."""
    from s3dlio.http.address import parse_endpoint, routed

    rows = []
    for endpoint in split_endpoints(now.s3_endpoints or "") if "s3" in schemes else []:
        try:
            proxy = routed(parse_endpoint(endpoint, "S3_ENDPOINT_URIS")[0], now).proxy
        except S3dlioError:
            continue  # that it cannot be used has been found already
        if proxy is not None:
            message = f"all bytes to and from it go through the proxy {proxy.host}:{proxy.port}"
            rows.append((True, endpoint, message, "name its host in NO_PROXY, if it can be reached directly"))
    return rows


def _slow_workload(now: Settings, clouds: bool, workload: Workload) -> list[tuple[bool, str, str, str]]:
    mib = 1 << 20
    parts = -(-workload.file_bytes // int(now.get_part_mb * mib))
    return [
        (
            workload.trains and workload.read_threads == 0,
            "reader.read_threads",
            "0: reading and computing take turns in one process",
            f"++workload.reader.read_threads={min(4, os.cpu_count() or 1)}",
        ),
        (
            workload.trains and workload.read_threads > 0 and workload.start_method == "spawn",
            "reader.multiprocessing_context",
            "spawn: each worker starts a new interpreter and imports PyTorch; s3dlio works in forked ones as well",
            "++workload.reader.multiprocessing_context=fork",
        ),
        (
            clouds and workload.trains and now.get_part_mb < _PART_ADVICE_MB and parts > 1,
            "S3DLIO_GET_PART_MB",
            f"{now.get_part_mb:g}: a file of {workload.file_bytes / mib:.0f} MiB is read by {parts} requests",
            f"unset it: the default is {_PART_ADVICE_MB}",
        ),
        (
            clouds and workload.trains and now.parts_in_flight == 1 and parts > 1,
            "S3DLIO_PARTS_IN_FLIGHT",
            "1: the parts of an object are read one after the other",
            "unset it: the default is 8",
        ),
    ]
