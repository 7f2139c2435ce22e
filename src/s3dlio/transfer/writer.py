# SPDX-License-Identifier: Apache-2.0
"""`MultipartUploadWriter`: an object written in pieces, visible only when it is whole.

It is a plain writable file object, so `torch.save`, `pickle.dump` or `shutil.copyfileobj` can write into it. It does
not derive from `io`'s classes on purpose: those close themselves when they are dropped, and a writer that is dropped
half-way must not leave half an object. One that is still open when the program ends is aborted, too.

A writer may be dropped by the garbage collector, which runs at any allocation, in any thread, also inside a locked
section of this package or of another. So what it has written is thrown away by a thread of its own, for which the one
that dropped it waits at most `_CLEANING` seconds, without a lock of Python's `threading`.
"""

from __future__ import annotations

import _thread
import atexit
import logging
import os
import sys
import time
import weakref
from types import TracebackType

from s3dlio.errors import S3dlioError
from s3dlio.runtime.operation import Stopped
from s3dlio.runtime.run import Deadline, run
from s3dlio.stores.base import ObjectWriter
from s3dlio.transfer.stores import store_for
from s3dlio.types import BytesLike, as_view
from s3dlio.uri import URI, parse

_log = logging.getLogger("s3dlio")

_CLEANING = 2.0  # seconds that throwing away an object may take after Ctrl-C, and at the end of the program


class MultipartUploadWriter:
    """Writes one object in pieces. Use from one thread at a time.

    As a context manager it closes at the end of the block, or aborts if the block raises.

        with MultipartUploadWriter.from_uri("s3://bucket/model.pt") as writer:
            torch.save(model.state_dict(), writer)
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
        """A writer for the object named by `uri`; what exists there stays until `close`.

        Raises:
            InvalidURIError: not a URI of an object.
        """
        return cls(parse(uri))

    def write(self, data: BytesLike) -> int:
        """Append bytes; returns how many. An error aborts the whole object.

        Args:
            data: any contiguous buffer. It may be changed again once this returns. A change before that is no error,
                but any mixture of old and new bytes may be written.

        Raises:
            S3dlioError: the store's error; the object stays as it was.
            ValueError: the writer is closed.
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
        """Finish the object and make it visible. A second call does nothing; after `abort` neither does the first.

        Raises:
            S3dlioError: the store's error; the object stays as it was.
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
        """Throw away what was written; the object stays as it was. After `close` it does nothing."""
        self._abort(None)

    @property
    def closed(self) -> bool:
        """Whether nothing more can be written."""
        return self._state != "open"

    def writable(self) -> bool:
        """True, as of every file object open for writing."""
        return True

    def flush(self) -> None:
        """Nothing to do: an object becomes visible as a whole."""

    def tell(self) -> int:
        """Bytes written so far."""
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
        # At the end of the program `_abort_open` has done it; later nothing can be imported any more.
        if getattr(self, "_state", "closed") == "open" and self._process == os.getpid() and not sys.is_finalizing():
            self._state = "aborted"
            ended = _thread.allocate_lock()
            ended.acquire()
            try:
                _thread.start_new_thread(_throw_away, (self._writer, self._uri.text, ended))
            except RuntimeError as error:  # the system gives no more threads
                _warn(self._uri.text, error)
            else:
                ended.acquire(timeout=_CLEANING)

    def _abort_after(self, error: BaseException) -> None:
        """Throw away what was written, after Ctrl-C at most for a moment."""
        self._abort(None if isinstance(error, Exception) else _CLEANING)

    def _abort(self, seconds: float | None) -> None:
        if self._state == "open":
            self._state = "aborted"
            if self._process == os.getpid():
                try:
                    run(self._writer.abort(), None if seconds is None else Deadline(seconds))
                except Stopped:
                    _log.warning("the parts of %s could not be dropped in %g s", self._uri.text, seconds)

    def _check_usable(self) -> None:
        if self._state != "open":
            raise ValueError(f"the writer of {self._uri.text} is {self._state}")
        if self._process != os.getpid():
            raise S3dlioError(
                f"the writer of {self._uri.text} belongs to the process that opened it, not to its forked child:"
                " open one in each",
                uri=self._uri.text,
            )


def _throw_away(writer: ObjectWriter, uri: str, ended: _thread.LockType) -> None:
    """Throw away what a writer that was dropped has written, and release the lock."""
    try:
        run(writer.abort(), Deadline(_CLEANING))
    except (Exception, Stopped) as error:
        _warn(uri, error)
    finally:
        ended.release()


def _warn(uri: str, error: BaseException) -> None:
    why = f"not within {_CLEANING:g} s" if isinstance(error, Stopped) else error
    _log.warning("what was written of %s could not be thrown away: %s", uri, why)


_open: weakref.WeakSet[MultipartUploadWriter] = weakref.WeakSet()


def _writers() -> list[MultipartUploadWriter]:
    while True:
        try:
            return list(_open)
        except RuntimeError:  # a daemon thread has opened one meanwhile
            continue


def _abort_open() -> None:
    """At the end of the program: throw away what writers have written that are still open, in two seconds for all."""
    deadline = time.monotonic() + _CLEANING
    for writer in _writers():
        try:
            writer._abort(max(0.0, deadline - time.monotonic()))
        except Exception as error:
            _warn(writer._uri.text, error)


atexit.register(_abort_open)
