# SPDX-License-Identifier: Apache-2.0
"""`Signal`: wakes an engine from any thread."""

from __future__ import annotations

import socket

from s3dlio import descriptors
from s3dlio.errors import StoreUnavailableError


class Signal:
    """Wakes the engine that watches `reader`, from any thread. Holds two descriptors until it is closed.

    Attributes:
        reader: becomes readable when the signal is set.
        awaited: whether an engine wants to be woken. `set` resets it, so that each wait costs one byte at most.
    """

    def __init__(self) -> None:
        """
        Raises:
            StoreUnavailableError: the process can open no more files.
        """
        try:
            self.reader, self._writer = socket.socketpair()
        except OSError as error:
            raise StoreUnavailableError(descriptors.shortage(error)) from error
        self.reader.setblocking(False)
        self._writer.setblocking(False)
        self.awaited = False

    def set(self) -> None:
        """Wake the engine if it waits for this signal."""
        if self.awaited:
            self.awaited = False
            self._writer.send(b"!")

    def close(self) -> None:
        """Close both descriptors."""
        self.reader.close()
        self._writer.close()
