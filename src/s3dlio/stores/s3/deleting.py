# SPDX-License-Identifier: Apache-2.0
"""Delete S3 objects: DeleteObject for one, DeleteObjects for up to 1,000 at once."""

from __future__ import annotations

import base64
import hashlib
import re
from functools import partial
from typing import NamedTuple

from s3dlio.errors import PermissionDeniedError, S3dlioError
from s3dlio.http.response import Response
from s3dlio.objects.documents import child_text, children, lacks
from s3dlio.objects.request import Request
from s3dlio.objects.retry import Repeats
from s3dlio.stores.pager import Page, PagedStore
from s3dlio.stores.refusals import error_at
from s3dlio.stores.s3.answers import NAMESPACE, error_of, parsed
from s3dlio.stores.s3.refusals import REFUSALS, TRANSIENT_CODES
from s3dlio.stores.s3.requests import escaped, object_request, send_without_result
from s3dlio.stores.s3.service import S3Service
from s3dlio.stores.sending import send_for_proof
from s3dlio.uri import URI

_DELETE_AT_ONCE = 1000
_NOT_IMPLEMENTED = frozenset({"NotImplemented", "MethodNotAllowed"})
_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")  # characters of keys that XML cannot hold


async def delete(store: PagedStore[S3Service], uri: URI) -> None:
    """Send DeleteObject. Deleting a missing object succeeds."""
    store.require_key(uri)
    await send_without_result(store.service(), object_request("DELETE", uri), "DeleteObject", fine="NoSuchKey")


async def delete_page(store: PagedStore[S3Service], uri: URI, page: Page) -> None:
    """Delete the objects of a page: up to 1,000 at once, or one by one if the service does not implement that."""
    service = store.service()
    singly = [key for key in page.keys if _NOT_XML.search(key)]
    keys = [key for key in page.keys if not _NOT_XML.search(key)]
    for start in range(0, len(keys), _DELETE_AT_ONCE):
        some = keys[start : start + _DELETE_AT_ONCE]
        singly += await _delete_together(store, uri, some) if service.has_delete_objects else some
    await store.delete_singly(uri, singly)


async def _delete_together(store: PagedStore[S3Service], uri: URI, keys: list[str]) -> list[str]:
    """Delete keys by DeleteObjects, and return those that are left because the service does not implement it.

    DeleteObjects answers 200 and reports errors key by key. Errors that may pass are tried again for their keys alone;
    an error for a key that was not asked for counts as an error of the whole request.
    """
    service = store.service()
    repeats = Repeats(service.settings.retries)
    while keys:
        request = _request(uri, keys)
        response = await send_for_proof(
            service, request, _lacks_result, inside=partial(_error_inside, service), others=True
        )
        is_implemented = not _lacks_verb(response)
        if response.head.status != 200 and is_implemented:
            raise store.refusal(response, uri.text)
        outcome = _outcome(response, uri, keys) if is_implemented else None
        if outcome is None or any(code in _NOT_IMPLEMENTED for code, _ in outcome.failed.values()):
            service.has_delete_objects = False
            return keys
        known = outcome.asked.keys()
        lasting = {key: why for key, why in outcome.failed.items() if why[0] not in TRANSIENT_CODES or key not in known}
        if lasting or (outcome.failed and not repeats.after_error()):
            raise _not_deleted(uri, response, lasting or outcome.failed, len(outcome.failed), len(keys))
        await store.delete_singly(uri, outcome.unnamed)
        keys = [outcome.asked[name] for name in outcome.failed]
        if keys:
            await repeats.wait()
    return []


def _lacks_verb(response: Response) -> bool:
    """Tell whether DeleteObjects was refused because the service does not implement it."""
    code = error_of(response).code
    return code in _NOT_IMPLEMENTED or (not code and response.head.status in (405, 501))


def _lacks_result(response: Response) -> str:
    return "" if _lacks_verb(response) else lacks(response, "DeleteResult")


def _error_inside(service: S3Service, response: Response) -> bool | None:
    return None if _lacks_verb(response) else service.error_inside(response)


class _Outcome(NamedTuple):
    """What DeleteObjects answers.

    Attributes:
        asked: the keys that were to be deleted, by the names in the answer.
        failed: code and message of the error, for each name that was not deleted.
        unnamed: the keys that an answer leaves out although it names others that were deleted.
    """

    asked: dict[str, str]
    failed: dict[str, tuple[str, str]]
    unnamed: list[str]


def _outcome(response: Response, uri: URI, keys: list[str]) -> _Outcome:
    """Read the answer to DeleteObjects.

    The request asks the service to name only the keys that it could not delete, so a DeleteResult without an error
    proves that all keys are gone. A service that names the deleted keys all the same has to name every one.
    """
    answer = parsed(response, uri.text)
    asked = dict(zip(map(_as_parsed, keys), keys, strict=True))
    errors = [
        (_as_parsed(child_text(error, "Key")), child_text(error, "Code"), child_text(error, "Message"))
        for error in children(answer, "Error")
    ]
    failed = {name: (code, message) for name, code, message in errors if code != "NoSuchKey"}
    deleted = {_as_parsed(child_text(item, "Key")) for item in children(answer, "Deleted")}
    gone = deleted.union(name for name, _, _ in errors)
    return _Outcome(asked, failed, [key for name, key in asked.items() if deleted and name not in gone])


def _as_parsed(key: str) -> str:
    """Return a key as an XML parser reads it if the service writes line ends as they are."""
    return key.replace("\r\n", "\n").replace("\r", "\n")


def _not_deleted(
    uri: URI, response: Response, errors: dict[str, tuple[str, str]], failed: int, asked: int
) -> S3dlioError:
    key, (code, message) = next(iter(errors.items()))
    kind = PermissionDeniedError if code == "AccessDenied" else S3dlioError
    advice = REFUSALS.advice(code, 403 if code == "AccessDenied" else 200)
    why = f"{failed} of {asked} objects were not deleted, the first s3://{uri.container}/{key}: {code} {message:.300}"
    return error_at(kind, uri.text, response.address, why, advice.hint.format(region=""))


def _request(uri: URI, keys: list[str]) -> Request:
    """Make a DeleteObjects request that asks for an answer without the deleted keys."""
    objects = "".join(f"<Object><Key>{escaped(key)}</Key></Object>" for key in keys)
    body = f'<Delete xmlns="{NAMESPACE}"><Quiet>true</Quiet>{objects}</Delete>'.encode()
    digest = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
    return Request(
        uri.text,
        "POST",
        uri.container,
        query="delete=",
        headers=(("Content-MD5", digest), ("Content-Type", "application/xml")),
        body=[memoryview(body)],
    )
