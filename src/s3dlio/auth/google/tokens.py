# SPDX-License-Identifier: Apache-2.0
"""Bearer tokens for Google Cloud Storage: where they come from, and how they stay valid.

Where from, the first that is there (application default credentials, as Google's own libraries look for them):

1. the key file that GOOGLE_APPLICATION_CREDENTIALS names: of a service account, an authorised user, an external
   account (workload identity federation), or an account impersonated by one of these;
2. the same kinds of file as `gcloud auth application-default login` writes it;
3. the metadata server of a machine in Google Cloud.

What to do with a file is google-auth's business (it signs the assertion, knows the grant types and follows chains of
accounts); it is imported when a file is there and not before. It asks for tokens through `fetch`, which the caller
gives: google-auth's own transport needs `requests`, which is no dependency of ours, cannot be interrupted while it
resolves a name, and knows neither our proxies and CA file nor our deadlines. `refresh` is the only method of its
credentials that is called: `before_request` would start a thread. The metadata server is asked here, in one request,
since google-auth's module for it needs `requests` too, and waits for longer than a caller should.

One `TokenSource` is shared by all threads. A token is replaced as a whole, so that a request on its way reads it
without a lock. Some minutes before it expires one caller gets the next one while the others go on with it. Files are
read anew for each token, so a replaced key file is taken up. A forked child begins with none, since its stores are
new.

Sources: Google Cloud, "How Application Default Credentials works"; "About the metadata server"; RFC 6750.
"""

from __future__ import annotations

import copy
import os
import re
import threading
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple, Protocol

from s3dlio import redaction
from s3dlio.errors import (
    ConfigurationError,
    PermissionDeniedError,
    S3dlioError,
    StoreUnavailableError,
)
from s3dlio.log import logger
from s3dlio.objects import documents

_SCOPE = "https://www.googleapis.com/auth/devstorage.read_write"
_REFRESH_BEFORE_EXPIRY = 240.0  # seconds; the metadata server gives a new token from four minutes before the end on
_LAST_SECONDS = 10.0  # of a token that is not handed out any more
_SKEW = 300.0  # seconds that a clock may be wrong before an assertion is refused
_KEY_FILE = "GOOGLE_APPLICATION_CREDENTIALS"
_KINDS = (
    "service_account",
    "authorized_user",
    "external_account",
    "external_account_authorized_user",
    "impersonated_service_account",
)
_ANONYMOUS = "For a public bucket, S3DLIO_NO_SIGN=1 sends requests without credentials."

_import_lock = threading.RLock()

# A fork waits for the import of google-auth: a child could never take the lock of a module that was half imported.
os.register_at_fork(
    before=_import_lock.acquire, after_in_parent=_import_lock.release, after_in_child=_import_lock.release
)


class Answer(Protocol):
    """What `Fetch` returns; the names of header fields are in lower case."""

    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> dict[str, str]: ...
    @property
    def body(self) -> bytes: ...


class Fetch(Protocol):
    """Makes one HTTP request, within bounds (`http.fetch.fetch`)."""

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


class Token(NamedTuple):
    """A token as it is sent. Times are seconds since the epoch.

    Attributes:
        fields: the header fields that carry it.
        refresh_at: when to get the next one.
        expires: when it is no longer accepted.
        asked_for: whether it was got because the one before had been refused.
    """

    fields: tuple[tuple[str, str], ...]
    refresh_at: float
    expires: float
    asked_for: bool = False

    def __repr__(self) -> str:
        return f"Token(expires={self.expires:.0f})"


class TokenSource:
    """Gives the token to send. Threads share it."""

    def __init__(
        self,
        fetch: Fetch,
        key_file: str | None = None,
        config_folder: str | None = None,
        metadata_host: str = "169.254.169.254",
        quota_project: str | None = None,
    ) -> None:
        """
        Args:
            fetch: makes the requests.
            key_file: value of GOOGLE_APPLICATION_CREDENTIALS, or None.
            config_folder: folder of gcloud's settings, None for the usual one.
            metadata_host: host, and port if need be, of the metadata server.
            quota_project: project to bill, None for the one that the credentials name.
        """
        self._fetch = fetch
        self._key_file = key_file
        self._config_folder = config_folder
        self._metadata_host = metadata_host
        self._quota_project = quota_project
        self._token: Token | None = None
        self._lock = threading.Lock()  # held by the one thread that gets a token
        self._failure: S3dlioError | None = None
        self._failed_until = 0.0

    def current(self) -> Token:
        """The token in force.

        May wait for files or a server on the first call and when the token is about to expire; otherwise it takes
        under 1 µs.

        Raises:
            ConfigurationError: there are no credentials, or the file that should hold them does not.
            PermissionDeniedError: whoever gives out tokens refuses.
            StoreUnavailableError, StoreTimeoutError: it does not answer.
        """
        token = self._token
        if token is not None and time.time() < token.refresh_at:
            return token
        usable = token is not None and time.time() < token.expires - _LAST_SECONDS
        if not self._lock.acquire(blocking=not usable):
            assert token is not None
            return token  # another thread is about to replace it
        try:
            if self._token is not token and self._token is not None:
                return self._token
            try:
                return self._next(asked_for=False)
            except S3dlioError as error:
                if token is None or not usable:
                    raise
                left = token.expires - time.time()
                logger.warning("could not get the next token for gs://, the last for %.0f s to come: %s", left, error)
                self._token = token._replace(refresh_at=time.time() + max(1.0, left / 2))
                return self._token
        finally:
            self._lock.release()

    def renew(self, refused: Token) -> bool:
        """Whether there is another token than one that the service has refused; gets it if need be.

        A token that was itself got after a refusal is not replaced: then it is not its age that the service minds.
        """
        with self._lock:
            if self._token is not None and self._token.fields != refused.fields:
                return True
            if refused.asked_for:
                return False
            return self._next(asked_for=True).fields != refused.fields

    def _next(self, asked_for: bool) -> Token:
        """Get a token. A failure is remembered for as long as it took, for those who waited for the same."""
        began = time.monotonic()
        if self._failure is not None and began < self._failed_until:
            raise copy.copy(self._failure)
        try:
            token = self._get(asked_for)
        except S3dlioError as error:
            now = time.monotonic()
            self._failure, self._failed_until = error.with_traceback(None), now + (now - began)
            raise
        self._failure = None
        self._token = token
        return token

    def _get(self, asked_for: bool) -> Token:
        found = self._from_file() or self._from_metadata_server()
        now = time.time()
        left = found.expires - now
        # Tokens that never live for eight minutes are replaced at half their time.
        refresh_at = now + max(left - _REFRESH_BEFORE_EXPIRY, left / 2)
        token = found.text.strip()
        if not (token.isascii() and token.isprintable()):
            raise ConfigurationError(
                "no credentials for gs://: the token that was returned has characters that no header can carry"
            )
        redaction.remember(token)
        fields = [("Authorization", f"Bearer {token}")]
        project = self._quota_project or found.quota_project
        if project:
            fields.append(("x-goog-user-project", project))
        return Token(tuple(fields), refresh_at, found.expires, asked_for)

    # From a file...

    def _from_file(self) -> _Found | None:
        if self._key_file is not None:
            return _token_of(_read(self._key_file, _KEY_FILE), f"{_KEY_FILE}={self._key_file!r}", self._fetch)
        path = os.path.join(self._gcloud_folder(), "application_default_credentials.json")
        if not os.path.exists(path):
            return None
        return _token_of(_read(path, "gcloud's credentials"), f"gcloud's credentials {path!r}", self._fetch)

    def _gcloud_folder(self) -> str:
        return self._config_folder or os.path.join(os.path.expanduser("~"), ".config", "gcloud")

    # From the metadata server...

    def _from_metadata_server(self) -> _Found:
        url = f"http://{self._metadata_host}/computeMetadata/v1/instance/service-accounts/default/token"
        where = f"the metadata server {self._metadata_host}"
        try:
            answer = self._fetch("GET", url, {"Metadata-Flavor": "Google"}, source=where, connect=1.0, direct=True)
        except S3dlioError as error:
            raise ConfigurationError(
                f"no credentials for gs://. Looked for {_KEY_FILE}: not set; what `gcloud auth application-default"
                f" login` writes, in {self._gcloud_folder()}: no such file; {where}: no answer, so this is no machine"
                f" of Google Cloud. {_ANONYMOUS}",
                endpoint=error.endpoint,
            ) from None
        if answer.status == 404:
            raise ConfigurationError(
                f"no credentials for gs://: {where} says that this machine has no service account; attach one, or set"
                f" {_KEY_FILE}. {_ANONYMOUS}",
                status=404,
            )
        try:
            content = documents.json(answer.body) if answer.status == 200 else {}
            return _Found(str(content["access_token"]), time.time() + float(content["expires_in"]), None)
        except (ValueError, KeyError, TypeError):
            raise StoreUnavailableError(
                f"no credentials for gs://: {where} answered {answer.status}, and no token", status=answer.status
            ) from None


class _Found(NamedTuple):
    text: str
    expires: float
    quota_project: str | None

    def __repr__(self) -> str:
        return f"_Found(expires={self.expires:.0f})"


def _read(path: str, name: str) -> dict[str, Any]:
    """The content of a key file.

    Raises:
        ConfigurationError: it cannot be read, or is none. The message never quotes the content.
    """
    where = f"{name}={path!r}" if name == _KEY_FILE else f"{name} {path!r}"
    try:
        with open(path, "rb") as file:
            content = file.read(1 << 20)
    except FileNotFoundError:
        raise ConfigurationError(f"{where}: there is no such file; check the path") from None
    except OSError as error:
        raise ConfigurationError(f"{where} cannot be read: {error.strerror}; check the file's permissions") from None
    info: Any = ""
    try:
        info = documents.json(content)
    except ValueError:
        pass  # it holds the content, and would be the context of what is raised here
    if info == "":
        raise ConfigurationError(f"{where} is not JSON: download the key again")
    kind = info.get("type") if isinstance(info, dict) else None
    if isinstance(info, dict) and ("installed" in info or "web" in info):
        raise ConfigurationError(f'{where} identifies an OAuth client, not an account: a key file has a "type"')
    if kind not in _KINDS:
        raise ConfigurationError(f'{where} is no key file: its "type" is not one of {", ".join(_KINDS)}')
    assert isinstance(info, dict)
    return info


def _token_of(info: dict[str, Any], where: str, fetch: Fetch) -> _Found:
    """The token for the account that a key file describes.

    Args:
        info: the file's content.
        where: the file, for messages.
    """
    try:
        with _import_lock:
            import google.auth.exceptions as failures

            credentials = _credentials(info)
    except (ValueError, KeyError, TypeError, AttributeError, failures.GoogleAuthError) as error:
        # What google-auth says of missing fields names them; what is said of a broken key may quote it.
        missing = re.search(r"missing fields [\w, ]+", str(error))
        hint = missing[0] if missing else "a field is missing, or its private key is damaged"
        raise ConfigurationError(f"{where} is malformed: {hint}; download the key again") from None
    transport = _Transport(fetch, where)
    try:
        credentials.refresh(transport)
    except S3dlioError:
        raise  # of `fetch`; some are also the builtin errors below
    except failures.GoogleAuthError as error:
        raise _refusal(error, where, transport.skew) from None
    except (ValueError, KeyError, TypeError, OSError) as error:  # an answer, or a file it points to, of another form
        raise ConfigurationError(f"{where}: no token could be got with it ({type(error).__name__})") from None
    expiry = credentials.expiry
    expires = time.time() + 3600 if expiry is None else _seconds(expiry)
    return _Found(str(credentials.token), expires, getattr(credentials, "quota_project_id", None))


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
    """What google-auth makes its requests with: a `google.auth.transport.Request`, which is only called."""

    def __init__(self, fetch: Fetch, where: str) -> None:
        self._fetch = fetch
        self._where = where
        self.skew = 0.0  # seconds by which our clock is ahead of the server that answered last

    def __call__(
        self,
        url: str,
        method: str = "GET",
        body: bytes | str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,  # noqa: ARG002 - ours are shorter
        **_: Any,
    ) -> _Reply:
        content = body.encode() if isinstance(body, str) else body or b""
        answer = self._fetch(method, url, headers, content, source=f"the token endpoint in {self._where}")
        try:
            self.skew = time.time() - parsedate_to_datetime(answer.headers.get("date", "")).timestamp()
        except (ValueError, TypeError):
            self.skew = 0.0
        if answer.status >= 500 or answer.status in (408, 429):
            # `fetch` has tried again; google-auth would do the same once more, and sleep between.
            raise StoreUnavailableError(
                f"no token for gs:// with {self._where}: the token endpoint answers {answer.status}, try again later",
                status=answer.status,
            )
        return _Reply(answer.status, answer.headers, answer.body)


class _Reply(NamedTuple):
    """A `google.auth.transport.Response`."""

    status: int
    headers: dict[str, str]
    data: bytes


def _refusal(error: Exception, where: str, skew: float) -> S3dlioError:
    """The error for what google-auth raised: the reason, never an answer as a whole, which may hold tokens."""
    said = error.args[0] if error.args and isinstance(error.args[0], str) else type(error).__name__
    if said.lstrip().startswith(("{", "<")):
        said = "an answer without a reason"
    said = redaction.without_secrets(said)[:300]  # in this order: half a secret is not recognized
    if abs(skew) > _SKEW:
        way = "ahead of" if skew > 0 else "behind"
        why = f"this machine's clock is {abs(skew):.0f} s {way} the server's: set it"
    elif "reasonable timeframe" in said or "iat" in said.split():
        why = "this machine's clock is wrong: set it"
    elif "Signature" in said or "account not found" in said:
        why = "the key has been deleted, or is not of this account: make a new one"
    elif "expired or revoked" in said or "invalid_rapt" in said or "reauth" in said.lower():
        why = "log in again with `gcloud auth application-default login`"
    else:
        why = "check the file and the account it names"
    return PermissionDeniedError(f"no token for gs:// with {where}: {said}; {why}")


def _seconds(expiry: Any) -> float:
    """Seconds since the epoch of google-auth's time, which is in UTC and does not say so."""
    from datetime import timezone

    moment: float = expiry.replace(tzinfo=timezone.utc).timestamp()
    return moment
