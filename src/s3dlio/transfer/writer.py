# SPDX-License-Identifier: Apache-2.0
"""`MultipartUploadWriter`: writes an object in pieces; the object becomes visible when it is complete.

A writer is a writable file object, so `torch.save`, `pickle.dump` and `shutil.copyfileobj` can write into it. It does
not derive from the classes of `io`: those close themselves when they are dropped, and a writer that is dropped half-way
must not leave half an object. A writer that is still open when the program ends is aborted, too.

The garbage collector may drop a writer at any allocation, in any thread, also inside a locked section of this package
or of another one. So a new thread aborts a dropped writer. The dropping thread waits for it at most `_CLEANING`
seconds, and uses no lock of Python's `threading`.
"""

from __future__ import annotations

import _thread
import atexit
import os
import sys
import time
import weakref
from types import TracebackType

from s3dlio.errors import S3dlioError
from s3dlio.log import logger
from s3dlio.runtime.operation import Stopped
from s3dlio.runtime.run import Deadline, run
from s3dlio.stores.base import ObjectWriter
from s3dlio.transfer.stores import store_for
from s3dlio.types import BytesLike, as_view
from s3dlio.uri import URI, parse

_CLEANING = 2.0  # seconds that an abort may take after Ctrl-C, for a dropped writer, and at the end of the program


class MultipartUploadWriter:
    """Writes an object in pieces. Readers see the old object until `close` makes the new one visible.

    A writer is a file object open for writing, and a context manager that closes at the end of the block, or aborts if
    the block raises. Use it from one thread at a time, and only in the process that opened it.

    Example:
        >>> with s3dlio.MultipartUploadWriter.from_uri("s3://bucket/model.pt") as writer:
        ...     torch.save(model.state_dict(), writer)
    """

    def __init__(self, uri: URI) -> None:
        self._uri = uri
        self._writer = store_for(uri.scheme).writer(uri)
        self._process = os.getpid()
        self._position = 0
        self._state = "open"
        _open.add(self)

    @classmethod
    def from_uri(cls, uri: str) -> MultipartUploadWriter:
        """Open a writer for an object. An existing object stays until `close`. No request is made yet.

        Args:
            uri: the object.

        Raises:
            InvalidURIError: the URI is malformed, or its scheme is unknown. A URI that is not a string is a TypeError.
            ConfigurationError: a setting is malformed.

        Example:
            >>> writer = s3dlio.MultipartUploadWriter.from_uri("s3://bucket/object")
        """
        return cls(parse(uri))

    def write(self, data: BytesLike) -> int:
        """Append bytes.

        Args:
            data: any contiguous buffer. It may be changed after this returns. If it changes before, any mixture of old
                and new bytes may be written.

        Returns:
            The number of bytes.

        Raises:
            TypeError: `data` is not a buffer, or not contiguous. The writer stays open.
            ValueError: the writer is closed or aborted.
            S3dlioError: an error, of any class that `put_bytes` raises, has aborted the writer, and the old object
                stays; or the process is a fork of the one that opened the writer.

        Example:
            >>> writer.write(b"content")
            7
        """
        view = as_view(data)
        self._check_usable()
        try:
            run(self._writer.write(view))
        except BaseException as error:
            self._abort_after(error)
            raise
        self._position += len(view)
        return len(view)

    def close(self) -> None:
        """Finish the object and make it visible. After a first `close`, or after `abort`, this does nothing.

        Raises:
            S3dlioError: an error, of any class that `put_bytes` raises, has aborted the writer, and the old object
                stays; or the process is a fork of the one that opened the writer.

        Example:
            >>> writer.close()
        """
        if self._state == "open":
            self._check_usable()
            try:
                run(self._writer.close())
            except BaseException as error:
                self._abort_after(error)
                raise
            self._state = "closed"

    def abort(self) -> None:
        """Discard what was written, so that the old object stays. After `close` this does nothing.

        Raises:
            S3dlioError: the temporary file, or the parts, of the object could not be removed.

        Example:
            >>> writer.abort()
        """
        self._abort(None)

    @property
    def closed(self) -> bool:
        """Whether the writer is closed or aborted."""
        return self._state != "open"

    def writable(self) -> bool:
        """Return True, as every file object open for writing does."""
        return True

    def flush(self) -> None:
        """Do nothing: an object becomes visible as a whole, at `close`."""

    def tell(self) -> int:
        """Return the number of bytes written so far."""
        return self._position

    def __enter__(self) -> MultipartUploadWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self._abort_after(error)

    def __del__(self) -> None:
        # At the end of the program `_abort_open` has aborted it, and imports no longer work afterwards.
        if getattr(self, "_state", "closed") == "open" and self._process == os.getpid() and not sys.is_finalizing():
            self._state = "aborted"
            ended = _thread.allocate_lock()
            ended.acquire()
            try:
                _thread.start_new_thread(_discard, (self._writer, self._uri.text, ended))
            except RuntimeError as error:  # the system refuses another thread
                _warn(self._uri.text, error)
            else:
                ended.acquire(timeout=_CLEANING)

    def _abort_after(self, error: BaseException) -> None:
        """Discard what was written. After Ctrl-C this takes at most `_CLEANING` seconds."""
        self._abort(None if isinstance(error, Exception) else _CLEANING)

    def _abort(self, seconds: float | None) -> None:
        if self._state == "open":
            self._state = "aborted"
            if self._process == os.getpid():
                try:
                    run(self._writer.abort(), None if seconds is None else Deadline(seconds))
                except Stopped:
                    logger.warning("cannot remove what was written of %s within %g s", self._uri.text, seconds)

    def _check_usable(self) -> None:
        if self._state != "open":
            raise ValueError(f"the writer of {self._uri.text} is {self._state}")
        if self._process != os.getpid():
            raise S3dlioError(
                f"the writer of {self._uri.text} belongs to the process that opened it, not to its forked child;"
                " open one in each process",
                uri=self._uri.text,
            )


def _discard(writer: ObjectWriter, uri: str, ended: _thread.LockType) -> None:
    """Discard what a dropped writer has written, and release the lock."""
    try:
        run(writer.abort(), Deadline(_CLEANING))
    except (Exception, Stopped) as error:
        _warn(uri, error)
    finally:
        ended.release()


def _warn(uri: str, error: BaseException) -> None:
    why = f"it took longer than {_CLEANING:g} s" if isinstance(error, Stopped) else error
    logger.warning("cannot remove what was written of %s: %s", uri, why)


_open: weakref.WeakSet[MultipartUploadWriter] = weakref.WeakSet()


def _writers() -> list[MultipartUploadWriter]:
    while True:
        try:
            return list(_open)
        except RuntimeError:  # a daemon thread opened a writer meanwhile
            continue


def _abort_open() -> None:
    """Abort all open writers at the end of the program, within `_CLEANING` seconds for all of them."""
    deadline = time.monotonic() + _CLEANING
    for writer in _writers():
        try:
            writer._abort(max(0.0, deadline - time.monotonic()))
        except Exception as error:
            _warn(writer._uri.text, error)


atexit.register(_abort_open)
