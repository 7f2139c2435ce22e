# SPDX-License-Identifier: Apache-2.0
"""Finds out whether the folders that a workload uses can be used as the workload is going to use them.

Strategy: all services are asked at once, each of several S3 endpoints as a service by itself (`services`). A service
lists the first page of each folder and reads a byte of the first object. Where the workload writes, an object with a
unique name is written through one service, read through every service, and deleted. All of this ends within `SECONDS`.
What is not known by then is a warning and not a failure: a storage that is slow now may still serve the workload.
"""

from __future__ import annotations

import errno
import os
import secrets
import time
from collections.abc import Mapping, Sequence
from functools import partial

from s3dlio.dlio.check.findings import ADVICE, FAILURE, OK, WARNING, Finding
from s3dlio.dlio.check.services import InThread, Service, Visit, is_down, services_of, visit
from s3dlio.dlio.check.workload import Folder
from s3dlio.errors import ObjectNotFoundError, S3dlioError, StoreTimeoutError, StoreUnavailableError
from s3dlio.uri import FILE_SCHEMES, URI, parse

SECONDS = 4.5

_LATE = "check the endpoint and the network"
_PROBE_NAME = ".s3dlio-probe-"
_CONTENT = b"written by s3dlio to find out whether it may, and deleted again"


def probe(folders: Sequence[Folder], seconds: float = SECONDS) -> list[Finding]:
    """Find out within some seconds whether folders can be used.

    Returns:
        Findings about each folder, and about endpoints that do not answer; a `FAILURE` for each that cannot be used.
    """
    deadline = time.monotonic() + seconds
    try:
        schemes = dict.fromkeys(parse(folder.uri).scheme for folder in folders)
        by_scheme = {scheme: services_of(scheme) for scheme in schemes}
    except S3dlioError as error:
        return [Finding(FAILURE, error.uri or "settings", str(error))]
    of_scheme = {scheme: [folder for folder in folders if folder.scheme == scheme] for scheme in by_scheme}
    asked = {
        service: InThread(partial(visit, service, of_scheme[scheme]))
        for scheme, services in by_scheme.items()
        for service in services
    }
    visits = {service: thread.result(deadline) for service, thread in asked.items()}
    findings: list[Finding] = []
    for scheme, services in by_scheme.items():
        answered = {service: found for service in services if (found := visits[service]) is not None}
        findings += _about_services(services, answered, of_scheme[scheme][0])
        usable = [service for service, found in answered.items() if not any(is_down(of.error) for of in found)]
        for number, folder in enumerate(of_scheme[scheme]):
            findings += _about_folder(folder, [answered[service][number] for service in usable], deadline)
    return findings


def _level(error: S3dlioError) -> str:
    """A `FAILURE`, or a `WARNING` if the error may not occur with the longer deadlines of the settings."""
    slow = isinstance(error, StoreTimeoutError) and getattr(error.__cause__, "kind", "") != "connect timeout"
    overloaded = isinstance(error, StoreUnavailableError) and error.status is not None
    return WARNING if slow or overloaded else FAILURE


def _about_services(
    services: Sequence[Service], answered: Mapping[Service, list[Visit]], first_folder: Folder
) -> list[Finding]:
    """Findings about services that are down: a failure if all are, otherwise a warning, as the others do their work."""
    reasons: dict[Service, S3dlioError | None] = {}
    for service in services:
        if service not in answered:
            reasons[service] = None
        elif (error := next((of.error for of in answered[service] if is_down(of.error)), None)) is not None:
            reasons[service] = error
    some_work = len(reasons) < len(services)
    findings = []
    for service, reason in reasons.items():
        about = service.name if len(services) > 1 else first_folder.uri
        if reason is None:
            findings.append(Finding(WARNING, about, "did not answer within the time limit of this check", _LATE))
        elif some_work:
            advice = "the other endpoints take over its requests; bring it back, or remove it from S3_ENDPOINT_URIS"
            findings.append(Finding(WARNING, about, str(reason), advice))
        else:
            findings.append(Finding(_level(reason), about, str(reason)))
    return findings


def _about_folder(folder: Folder, visits: Sequence[Visit], deadline: float) -> list[Finding]:
    """Findings about a folder, from the answers of the services that work."""
    if not visits:
        return []
    failed = [visit for visit in visits if visit.error is not None]
    if failed:
        return _about_errors(folder, failed)
    first = next((visit.first for visit in visits if visit.first), None)
    if folder.filled and first is None:
        message = "the folder is empty or missing, and the workload reads it"
        advice = "check its name, or generate the data: ++workload.workflow.generate_data=True"
        return [Finding(FAILURE, folder.uri, message, advice)]
    done = ["listed", "read"] if first else ["listed"]
    seconds = max(visit.seconds for visit in visits)
    findings: list[Finding] = []
    if folder.written:
        began = time.monotonic()
        written = InThread(partial(_write, folder, [visit.service for visit in visits])).result(deadline)
        if written is None:
            return [Finding(WARNING, folder.uri, "a write did not end within the time limit of this check", _LATE)]
        findings = written
        seconds += time.monotonic() - began
        done += ["written", "deleted"]
    elif first and first.startswith("direct://"):
        findings = _about_direct(parse(first))
    if any(finding.level in (WARNING, FAILURE) for finding in findings):
        return findings
    able = " and ".join(filter(None, [", ".join(done[:-1]), done[-1]]))
    through = f" through each of {len(visits)} endpoints" if len(visits) > 1 else ""
    message = f"can be {able}{through} ({seconds:.2f} s)" + ("" if first else "; it is empty")
    return [Finding(OK, folder.uri, message), *findings]


def _about_errors(folder: Folder, failed: Sequence[Visit]) -> list[Finding]:
    """A failure for each kind of error; the endpoints with errors of the same kind share one."""
    by_kind: dict[object, list[Visit]] = {}
    for answer in failed:
        by_kind.setdefault((type(answer.error), answer.error and answer.error.status), []).append(answer)
    findings = []
    for first, *others in by_kind.values():
        names = ", ".join(other.service.name for other in others)
        also = f" (and the same at {names})" if names else ""
        findings.append(Finding(FAILURE, folder.uri, f"{first.error}{also}"))
    return findings


# Writing...


def _write(folder: Folder, services: Sequence[Service]) -> list[Finding]:
    """Write an object through the first service, read it through each of them, delete it."""
    uri = _probe_uri(parse(folder.uri))
    first = services[0]
    findings: list[Finding] = []
    try:
        first.write(uri.text, _CONTENT)
        findings += [finding for service in services for finding in _read_back(folder, uri, service, first)]
        if uri.scheme == "direct":
            findings += _about_direct(uri)
    except S3dlioError as error:
        findings.append(Finding(_level(error), folder.uri, str(error)))
    finally:
        try:
            first.delete(uri.text)
        except S3dlioError as error:
            if not findings:
                message = f"cannot delete an object that this check has written: {error}"
                findings.append(Finding(WARNING, folder.uri, message, f"delete {uri.text} by other means"))
    return findings


def _read_back(folder: Folder, uri: URI, service: Service, writer: Service) -> list[Finding]:
    try:
        if service.read(uri.text, len(_CONTENT) + 1) == _CONTENT:
            return []
        message = f"an object that was written through {writer.name} has other content through {service.name}"
    except ObjectNotFoundError:
        message = f"an object that was written through {writer.name} is not found through {service.name}"
    except S3dlioError as error:
        return [Finding(_level(error), folder.uri, f"cannot read an object that this check has written: {error}")]
    return [Finding(FAILURE, folder.uri, message, "list only endpoints of the same storage in S3_ENDPOINT_URIS")]


def _probe_uri(folder: URI) -> URI:
    """The URI of the object to write: in the folder, or for files in its nearest parent, so that none is made."""
    name = _PROBE_NAME + secrets.token_hex(8)
    if folder.scheme not in FILE_SCHEMES:
        return folder.with_key(folder.folder_key + name)
    path = folder.key
    while not os.path.isdir(path) and path != "/":
        path = os.path.dirname(path.rstrip("/")) or "/"
    return folder.with_key(os.path.join(path, name))


def _about_direct(uri: URI) -> list[Finding]:
    """Advice if a file of direct:// lies on a file system without O_DIRECT.

    With S3DLIO_DIRECT_STRICT=1 this is an error, which has been reported by now.
    """
    try:
        os.close(os.open(uri.key, os.O_RDONLY | os.O_DIRECT))
    except OSError as error:
        if error.errno == errno.EINVAL:
            message = "the file system does not support O_DIRECT: bytes go through the page cache and are then dropped"
            return [Finding(ADVICE, uri.text, message, "use file://, or another file system")]
    return []
