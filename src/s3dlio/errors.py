# SPDX-License-Identifier: Apache-2.0
"""The exceptions of s3dlio.

The root is `S3dlioError`, with a class for each failure that a caller may want to treat differently. Each class is also
the builtin exception for such a failure of a local file, so `except FileNotFoundError` works for an object in a bucket.
A message names the URI, the endpoint and the status if there are any, and says what to check. A message is one line
without secrets, whatever a server or a malformed setting has put into it (see `redaction`). Every exception can be
pickled, because DataLoader workers send them to their parent.
"""

from __future__ import annotations

import errno
from typing import Any, ClassVar

from s3dlio import descriptors, redaction


class S3dlioError(RuntimeError):
    """Any failure of a call to s3dlio.

    Subclasses that are also an `OSError` have the `errno` that a local file would give.

    Attributes:
        uri: the URI that the call was about, or None.
        endpoint: the endpoint that answered, or failed to, or None.
        status: the HTTP status, or None.
    """

    uri: str | None
    endpoint: str | None
    status: int | None

    def __init__(
        self, message: str, *, uri: str | None = None, endpoint: str | None = None, status: int | None = None
    ) -> None:
        super().__init__(redaction.message(message))
        self.uri = uri if uri is None else redaction.without_secrets(uri)
        self.endpoint = endpoint
        self.status = status

    def __str__(self) -> str:
        return str(self.args[0])


class _SystemError(S3dlioError, OSError):
    _errno: ClassVar[int]

    def __init__(
        self, message: str, *, uri: str | None = None, endpoint: str | None = None, status: int | None = None
    ) -> None:
        super().__init__(message, uri=uri, endpoint=endpoint, status=status)
        self.errno = self._errno


class ObjectNotFoundError(_SystemError, FileNotFoundError):
    """The object, bucket or container does not exist, or the URI names a folder where an object is needed."""

    _errno = errno.ENOENT


class PermissionDeniedError(_SystemError, PermissionError):
    """The store or the file system refuses access because of credentials, policies or file permissions."""

    _errno = errno.EACCES


class InvalidURIError(S3dlioError, ValueError):
    """The URI cannot name an object, or the store cannot hold an object of that name."""


class ConfigurationError(S3dlioError, ValueError):
    """A setting, an environment variable or a credential is missing or malformed."""


class StoreTimeoutError(_SystemError, TimeoutError):
    """The store did not answer in time."""

    _errno = errno.ETIMEDOUT


class IntegrityError(S3dlioError):
    """The bytes received or stored differ from those of the object."""


class StoreUnavailableError(_SystemError, ConnectionError):
    """The store cannot be reached, or still answers after all retries that it cannot serve requests now."""

    _errno = errno.EHOSTUNREACH


class UnreadableDateError(S3dlioError):
    """The service sent a time of last change that is not a date.

    Attributes:
        facts: everything else that is known of the object, as `stat` returns it, with None as `last_modified`.
    """

    facts: Any


def add_endpoint(error: S3dlioError, endpoint: str) -> None:
    """Name the endpoint in an error whose message begins with the URI, if the error does not name it yet.

    Such an error is of code that sees an answer, but not the server that sent it.
    """
    text = str(error)
    if error.endpoint is None and error.uri and text.startswith(error.uri):
        error.args = (f"{error.uri} at {endpoint}{text[len(error.uri) :]}",)
        error.endpoint = endpoint


def missing_extra(purpose: str, package: str, extra: str, otherwise: str = "") -> ConfigurationError:
    """The error for a package that only an extra of s3dlio installs.

    Args:
        purpose: what needs the package, as the beginning of the message.
        package: the package that is not installed.
        extra: the extra that installs it.
        otherwise: a sentence that says what is possible without the package.
    """
    message = f"{purpose} needs {package}, which is not installed; run pip install 's3dlio[{extra}]'"
    return ConfigurationError(f"{message}. {otherwise}" if otherwise else message)


_MISSING = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP})
_REFUSED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_UNAVAILABLE = frozenset({errno.ESTALE, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENETDOWN, errno.ENETUNREACH})


def from_os_error(error: OSError, uri: str, doing: str) -> S3dlioError:
    """The exception to raise for a failed system call.

    Args:
        error: the exception of the system call.
        uri: the URI of the object.
        doing: the verb for the message, such as "read", "write" or "list".
    """
    code = error.errno
    why = error.strerror or str(error)
    if code == errno.EISDIR:
        return ObjectNotFoundError(
            f"cannot {doing} {uri}: it is a folder, not an object; name an object in it", uri=uri
        )
    if code == errno.ENOTDIR and doing == "write":
        return ObjectNotFoundError(f"cannot write {uri}: a folder in its path is a file ({why})", uri=uri)
    if code in _MISSING:
        return ObjectNotFoundError(f"cannot {doing} {uri}: no such object ({why})", uri=uri)
    if code in _REFUSED:
        return PermissionDeniedError(
            f"cannot {doing} {uri}: {why}; check the permissions of the file and of its folder", uri=uri
        )
    if descriptors.are_short(error):
        return StoreUnavailableError(f"cannot {doing} {uri}: {descriptors.shortage(error)}", uri=uri)
    if code in (errno.ENOSPC, errno.EDQUOT):
        unchanged = "nothing was changed, " if doing == "write" else ""
        return S3dlioError(f"cannot {doing} {uri}: {why}; {unchanged}free some space", uri=uri)
    if code == errno.ENAMETOOLONG:
        return InvalidURIError(f"cannot {doing} {uri}: {why}; choose a shorter name", uri=uri)
    if code == errno.ETIMEDOUT:
        return StoreTimeoutError(f"cannot {doing} {uri}: {why}; check the server of the file system", uri=uri)
    if code in _UNAVAILABLE:
        return StoreUnavailableError(f"cannot {doing} {uri}: {why}; check the server of the file system", uri=uri)
    return S3dlioError(f"cannot {doing} {uri}: {why}", uri=uri)
