# SPDX-License-Identifier: Apache-2.0
"""The exception tree.

One root, `S3dlioError`, and below it a class for each thing a caller may want to treat differently. Each class is
also the builtin a Python programmer would catch for the same trouble on a local file, so `except FileNotFoundError`
works for an object in a bucket. A message names the URI, the endpoint and the status where there are any, and says
what to check; it is one line and never carries a secret, whatever a server or a malformed setting put into it
(`redaction`). Every exception pickles, since they travel out of DataLoader workers.
"""

from __future__ import annotations

import errno
from typing import Any, ClassVar

from s3dlio import descriptors, redaction


class S3dlioError(RuntimeError):
    """Any failure of a call to s3dlio.

    Attributes:
        uri: the URI the call was about, or None.
        endpoint: the endpoint that answered or did not, or None.
        status: the HTTP status, or None.

    Those that are also an `OSError` have its `errno`, as the same trouble with a file would.
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
    """There is no such object, bucket or container, or the URI names a folder where an object is needed."""

    _errno = errno.ENOENT


class PermissionDeniedError(_SystemError, PermissionError):
    """The store, or the file system, refuses: credentials, policy, or file permissions."""

    _errno = errno.EACCES


class InvalidURIError(S3dlioError, ValueError):
    """The URI is not one s3dlio can work with."""


class ConfigurationError(S3dlioError, ValueError):
    """A setting, an environment variable or a credential is missing or malformed."""


class StoreTimeoutError(_SystemError, TimeoutError):
    """The store did not answer in time."""

    _errno = errno.ETIMEDOUT


class IntegrityError(S3dlioError):
    """The bytes received or stored are not the bytes of the object."""


class StoreUnavailableError(_SystemError, ConnectionError):
    """The store cannot be reached, or says that it cannot serve now, after all retries."""

    _errno = errno.EHOSTUNREACH


class UnreadableDateError(S3dlioError):
    """The service sent a time of last change that is not a date.

    Attributes:
        facts: everything else that is known of the object, as `stat` returns it, with None as `last_modified`.
    """

    facts: Any


def missing_extra(purpose: str, package: str, extra: str, otherwise: str = "") -> ConfigurationError:
    """The error for a package that only an extra of s3dlio installs.

    Args:
        purpose: what needs the package, as the beginning of the message.
        package: the package that is not installed.
        extra: the extra that installs it.
        otherwise: a sentence that says what is possible without the package.
    """
    message = f"{purpose} needs {package}, which is not installed: pip install 's3dlio[{extra}]'"
    return ConfigurationError(f"{message}. {otherwise}" if otherwise else message)


_MISSING = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP})
_REFUSED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_UNAVAILABLE = frozenset({errno.ESTALE, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENETDOWN, errno.ENETUNREACH})


def from_os_error(error: OSError, uri: str, doing: str) -> S3dlioError:
    """The exception of this module for a failed system call.

    Args:
        error: what the system call raised.
        uri: the URI of the object concerned.
        doing: what was being done, for the message: "read", "write", "list" …
    """
    code = error.errno
    why = error.strerror or str(error)
    if code == errno.EISDIR:
        return ObjectNotFoundError(f"cannot {doing} {uri}: it is a folder, not an object", uri=uri)
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
        return InvalidURIError(f"cannot {doing} {uri}: {why}; the file system takes no name that long", uri=uri)
    if code == errno.ETIMEDOUT:
        return StoreTimeoutError(f"cannot {doing} {uri}: {why}; check the file system's server", uri=uri)
    if code in _UNAVAILABLE:
        return StoreUnavailableError(f"cannot {doing} {uri}: {why}; check the file system's server", uri=uri)
    return S3dlioError(f"cannot {doing} {uri}: {why}", uri=uri)
