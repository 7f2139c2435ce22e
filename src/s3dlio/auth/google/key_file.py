# SPDX-License-Identifier: Apache-2.0
"""Turns a key file of Google Cloud into a bearer token.

A key file describes a service account, an authorized user, an external account (workload identity federation), or an
account that one of these impersonates. google-auth knows the grant types, signs the assertion and follows chains of
accounts; it is imported only when there is a key file. Two parts of it are not used:

- Its HTTP transport needs `requests`, which is not a dependency of s3dlio, cannot be interrupted while it resolves a
  name, and ignores the proxies, the CA file and the deadlines in the settings. Requests go through `Fetch` instead.
- `before_request` of its credentials may start a thread. Only `refresh` is called.

Source: Google Cloud, "How Application Default Credentials works".
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from datetime import timezone
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlsplit

from s3dlio import forks, redaction
from s3dlio.errors import ConfigurationError, PermissionDeniedError, S3dlioError, StoreUnavailableError
from s3dlio.objects import documents
from s3dlio.objects.one_off import Answer

KEY_FILE = "GOOGLE_APPLICATION_CREDENTIALS"

_SCOPE = "https://www.googleapis.com/auth/devstorage.read_write"
_SKEW = 300.0  # seconds by which a clock may be wrong before an assertion is refused
_LIFE = 3600.0  # seconds; of a token whose answer does not say when it expires
_KINDS = (
    "service_account",
    "authorized_user",
    "external_account",
    "external_account_authorized_user",
    "impersonated_service_account",
)


class Fetch(Protocol):
    """Makes one HTTP request within a few seconds; see `objects.one_off.fetch`."""

    def __call__(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        *,
        source: str,
        connect: float = ...,
        direct: bool = ...,
    ) -> Answer: ...


class Found(NamedTuple):
    """A token, the second since the epoch at which it expires, and the project that its account is billed to."""

    text: str
    expires: float
    quota_project: str | None

    def __repr__(self) -> str:
        return f"Found(expires={self.expires:.0f})"


def token_from(path: str, name: str, fetch: Fetch) -> Found:
    """Get a token for the account that a key file describes. The file is read again each time.

    Args:
        path: of the file.
        name: what the file is, for messages: the variable that names it, or a description.
        fetch: makes the requests.

    Raises:
        ConfigurationError: the file cannot be read, or is not a key file. The message never quotes its content.
        PermissionDeniedError: the token endpoint refuses the account.
        StoreUnavailableError, StoreTimeoutError: the token endpoint does not answer.
    """
    where = f"{name}={path!r}" if name == KEY_FILE else f"{name} {path!r}"
    return _token_of(_read(path, where), where, fetch)


def _read(path: str, where: str) -> dict[str, Any]:
    """The content of a key file."""
    try:
        with open(path, "rb") as file:
            content = file.read(1 << 20)
    except FileNotFoundError:
        raise ConfigurationError(f"cannot read {where}: no such file; check the path") from None
    except OSError as error:
        raise ConfigurationError(f"cannot read {where}: {error.strerror}; check the file's permissions") from None
    info: Any = ""
    try:
        info = documents.json(content)
    except ValueError:
        pass  # the exception holds the content, and would be the context of the one raised below
    if info == "":
        raise ConfigurationError(f"{where} is not JSON; download the key again")
    kind = info.get("type") if isinstance(info, dict) else None
    if isinstance(info, dict) and ("installed" in info or "web" in info):
        raise ConfigurationError(f'{where} identifies an OAuth client, not an account; use a file that has a "type"')
    if kind not in _KINDS:
        raise ConfigurationError(f'{where} is not a key file: its "type" is not one of {", ".join(_KINDS)}')
    assert isinstance(info, dict)
    return info


def _token_of(info: dict[str, Any], where: str, fetch: Fetch) -> Found:
    """A token for the account that the content of a key file describes."""
    try:
        with forks.delayed:
            import google.auth.exceptions as failures

            credentials = _credentials(info)
    except (ValueError, KeyError, TypeError, AttributeError, failures.GoogleAuthError) as error:
        # google-auth's message about missing fields names them. Its message about a damaged key may quote the key.
        missing = re.search(r"missing fields [\w, ]+", str(error))
        hint = missing[0] if missing else "a field is missing, or its private key is damaged"
        raise ConfigurationError(f"{where} is malformed: {hint}; download the key again") from None
    transport = _Transport(fetch, where)
    try:
        credentials.refresh(transport)
    except S3dlioError:
        raise  # from `fetch`; some are also builtin errors that are caught below
    except failures.GoogleAuthError as error:
        raise _refusal(error, where, transport) from None
    except (ValueError, KeyError, TypeError, OSError) as error:  # an answer or a referenced file that is malformed
        raise ConfigurationError(
            f"no token for gs:// with {where}: the answer, or a file that it names, is malformed"
            f" ({type(error).__name__}); check the file",
            endpoint=transport.endpoint,
        ) from None
    expiry = credentials.expiry  # in UTC, without saying so
    expires = time.time() + _LIFE if expiry is None else expiry.replace(tzinfo=timezone.utc).timestamp()
    return Found(str(credentials.token), expires, getattr(credentials, "quota_project_id", None))


def _credentials(info: dict[str, Any]) -> Any:
    """The credentials object of google-auth for a key file's content."""
    import google.auth.credentials

    kind = info["type"]
    made: Any
    if kind == "service_account":
        from google.oauth2 import service_account

        made = service_account.Credentials.from_service_account_info(info)
    elif kind == "authorized_user":
        from google.oauth2 import credentials

        made = credentials.Credentials.from_authorized_user_info(info)
    elif kind == "external_account_authorized_user":
        from google.auth import external_account_authorized_user

        made = external_account_authorized_user.Credentials.from_info(info)
    elif kind == "impersonated_service_account":
        from google.auth import impersonated_credentials

        made = impersonated_credentials.Credentials.from_impersonated_service_account_info(info, scopes=[_SCOPE])
    else:
        made = _external_account(info)
    return google.auth.credentials.with_scopes_if_required(made, [_SCOPE])


def _external_account(info: dict[str, Any]) -> Any:
    """Workload identity federation: the identity comes from AWS, from a program, or from a file or URL."""
    source = info["credential_source"]
    if info.get("subject_token_type") == "urn:ietf:params:aws:token-type:aws4_request":
        from google.auth import aws

        return aws.Credentials.from_info(info)
    if "executable" in source:
        from google.auth import pluggable

        return pluggable.Credentials.from_info(info)
    from google.auth import identity_pool

    return identity_pool.Credentials.from_info(info)


class _Transport:
    """Makes the requests of google-auth through `Fetch`, as a `google.auth.transport.Request`."""

    def __init__(self, fetch: Fetch, where: str) -> None:
        self._fetch = fetch
        self._where = where
        self.endpoint: str | None = None  # the server that was asked last
        self.skew = 0.0  # seconds by which this machine's clock is ahead of that server

    def __call__(
        self,
        url: str,
        method: str = "GET",
        body: bytes | str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,  # noqa: ARG002 - `fetch` has shorter ones
        **_: Any,
    ) -> _Reply:
        content = body.encode() if isinstance(body, str) else body or b""
        parts = urlsplit(url)
        self.endpoint = redaction.url(f"{parts.scheme}://{parts.netloc}")
        answer = self._fetch(method, url, headers, content, source=f"the token endpoint in {self._where}")
        try:
            self.skew = time.time() - parsedate_to_datetime(answer.headers.get("date", "")).timestamp()
        except (ValueError, TypeError):
            self.skew = 0.0
        if answer.status >= 500 or answer.status in (408, 429):
            # `fetch` has already tried again. With this status, google-auth would repeat that, and sleep in between.
            raise StoreUnavailableError(
                f"no token for gs:// with {self._where}: the token endpoint {self.endpoint} answered {answer.status};"
                " try again later",
                endpoint=self.endpoint,
                status=answer.status,
            )
        return _Reply(answer.status, answer.headers, answer.body)


class _Reply(NamedTuple):
    """A `google.auth.transport.Response`."""

    status: int
    headers: dict[str, str]
    data: bytes


def _refusal(error: Exception, where: str, transport: _Transport) -> S3dlioError:
    """The error to raise for google-auth's: with the reason, never with a whole answer, which may hold tokens."""
    said = error.args[0] if error.args and isinstance(error.args[0], str) else type(error).__name__
    if said.lstrip().startswith(("{", "<")):
        said = "an answer without a reason"
    said = redaction.without_secrets(said)[:300]  # cut last: half a secret is not recognized
    skew, endpoint = transport.skew, transport.endpoint
    if abs(skew) > _SKEW:
        way = "ahead of" if skew > 0 else "behind"
        why = f"this machine's clock is {abs(skew):.0f} s {way} the server's: set it"
    elif "reasonable timeframe" in said or "iat" in said.split():
        why = "this machine's clock is wrong: set it"
    elif "Signature" in said or "account not found" in said:
        why = "the key has been deleted, or belongs to another account: create a new key"
    elif "expired or revoked" in said or "invalid_rapt" in said or "reauth" in said.lower():
        why = "log in again with `gcloud auth application-default login`"
    else:
        why = "check the file and the account it names"
    at = f" at {endpoint}" if endpoint else ""
    return PermissionDeniedError(f"no token for gs:// with {where}{at}: {said}; {why}", endpoint=endpoint)
