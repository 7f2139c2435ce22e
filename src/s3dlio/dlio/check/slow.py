# SPDX-License-Identifier: Apache-2.0
"""Which settings cost time without need, for a workload and the storage that it uses.

A row of a table below applies if its condition holds. What the rows call slow was measured by the project, or follows
from counting requests; docs/architecture.md, docs/s3.md and docs/azure.md have the numbers.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from s3dlio import diagnostics
from s3dlio.dlio.check.dlio_package import text_of
from s3dlio.dlio.check.findings import ADVICE, Finding
from s3dlio.dlio.check.workload import Folder, Workload
from s3dlio.settings import MIB, Settings

_HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")
_PART_MB = 16  # S3DLIO_GET_PART_MB by default, with which the project's measurements were made

# Whether the row applies; what it is about, what is slow, what to do.
_Row = tuple[bool, str, str, str]


def slow(now: Settings, folders: Sequence[Folder], workload: Workload | None) -> list[Finding]:
    """What costs time without need, when a workload, None if it is not known, uses these folders."""
    schemes = {folder.scheme for folder in folders}
    writes = any(folder.written for folder in folders)
    rows = [*_system_and_files(now, schemes, writes), *_endpoints(now, schemes), *_checks(now, schemes, writes)]
    if workload is not None:
        rows += _workload(now, bool(schemes - {"file", "direct"}), workload)
    return [Finding(ADVICE, about, message, advice) for applies, about, message, advice in rows if applies]


def _system_and_files(now: Settings, schemes: set[str], writes: bool) -> list[_Row]:
    return [
        (
            "[never]" in text_of(_HUGE_PAGES),
            "huge pages",
            "disabled: receiving data takes about twice the CPU time",
            f"echo madvise > {_HUGE_PAGES}",
        ),
        (
            now.file_sync and writes and "file" in schemes,
            "S3DLIO_FILE_SYNC",
            "every write to file:// waits for the disk",
            "unset it, unless the measurement is to include the disk",
        ),
    ]


def _endpoints(now: Settings, schemes: set[str]) -> list[_Row]:
    """One endpoint where there could be several; endpoints of S3 behind a proxy."""
    endpoints = diagnostics.s3_endpoints(now) if "s3" in schemes else []
    rows: list[_Row] = [
        (
            len(endpoints) == 1,
            "endpoints",
            "all requests go to one endpoint",
            "if the service has several, list all of them in S3_ENDPOINT_URIS",
        )
    ]
    for endpoint in endpoints:
        proxy = diagnostics.proxy_of(endpoint, now)
        message = f"all bytes to and from this endpoint go through the proxy {proxy}"
        rows.append((proxy is not None, endpoint, message, "if it can be reached directly, add its host to NO_PROXY"))
    return rows


def _checks(now: Settings, schemes: set[str], writes: bool) -> list[_Row]:
    """Checks of the content that cost more than they give."""
    return [
        (
            writes and "s3" in schemes and now.s3_sign_payload,
            "S3DLIO_SIGN_PAYLOAD",
            "the SHA-256 of an upload costs more CPU time than sending it",
            "unset it, unless the server requires it",
        ),
        (
            writes and "az" in schemes and now.azure_put_checksum == "md5",
            "S3DLIO_AZURE_PUT_CHECKSUM",
            "the MD5 of an upload costs more CPU time than sending it",
            "set it to crc64, if the service supports that",
        ),
        (
            "az" in schemes and now.azure_get_md5 == "1",
            "S3DLIO_AZURE_GET_MD5",
            "comparing a whole blob with its MD5 takes 2 s of CPU time per GiB",
            "set it to auto: TLS already protects the bytes in transit",
        ),
        (
            bool(schemes - {"file", "direct"}) and writes and now.put_verify,
            "S3DLIO_PUT_VERIFY",
            "each write is followed by another request, which checks what was stored",
            "unset it: a checksum already protects each upload",
        ),
    ]


def _workload(now: Settings, clouds: bool, workload: Workload) -> list[_Row]:
    parts = -(-workload.file_bytes // int(now.get_part_mb * MIB))
    return [
        (
            workload.trains and workload.read_threads == 0,
            "reader.read_threads",
            "0: one process reads and computes in turn",
            f"set ++workload.reader.read_threads={min(4, os.cpu_count() or 1)}",
        ),
        (
            workload.trains and workload.read_threads > 0 and workload.start_method == "spawn",
            "reader.multiprocessing_context",
            "spawn: each worker starts an interpreter and imports PyTorch; s3dlio also works in forked workers",
            "set ++workload.reader.multiprocessing_context=fork",
        ),
        (
            clouds and workload.trains and now.get_part_mb < _PART_MB and parts > 1,
            "S3DLIO_GET_PART_MB",
            f"{now.get_part_mb:g}: reading a file of {workload.file_bytes / MIB:.0f} MiB takes {parts} requests",
            f"unset it: the default is {_PART_MB}",
        ),
        (
            clouds and workload.trains and now.parts_in_flight == 1 and parts > 1,
            "S3DLIO_PARTS_IN_FLIGHT",
            "1: the parts of an object are read one after another",
            "unset it: the default is 8",
        ),
    ]
