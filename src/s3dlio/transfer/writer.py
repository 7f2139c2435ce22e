"""`MultipartUploadWriter`: an object written in pieces, visible only when it is whole.

It is a plain writable file object, so `torch.save`, `pickle.dump` or `shutil.copyfileobj` can write into it. It does
not derive from `io`'s classes on purpose: those close themselves when they are dropped, and a writer that is dropped
half-way must not leave half an object.
"""

from __future__ import annotations

import os
from types import TracebackType

from s3dlio.errors import S3dlioError
from s3dlio.operations import run
from s3dlio.stores import store_for
from s3dlio.transfer.data import BytesLike, as_view
from s3dlio.uri import URI, parse


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
        except BaseException:
            self.abort()
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
            except BaseException:
                self.abort()
                raise
            self._state = "closed"

    def abort(self) -> None:
        """Throw away what was written; the object stays as it was. After `close` it does nothing."""
        if self._state == "open":
            self._state = "aborted"
            if self._process == os.getpid():
                run(self._writer.abort())

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
            self.abort()

    def __del__(self) -> None:
        if getattr(self, "_state", "closed") == "open":
            self.abort()

    def _check_usable(self) -> None:
        if self._state != "open":
            raise ValueError(f"the writer of {self._uri.text} is {self._state}")
        if self._process != os.getpid():
            raise S3dlioError(
                f"the writer of {self._uri.text} belongs to the process that opened it, not to its forked child:"
                " open one in each",
                uri=self._uri.text,
            )
