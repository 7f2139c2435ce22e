# SPDX-License-Identifier: Apache-2.0
"""TLS: contexts, and streams over non-blocking sockets.

Certificates are always verified, against the system's CAs or a file the settings name. A context is costly (reading the
system's CAs takes 20 ms) and is made once per CA file and process. A fork waits while one is being made: the child
could never take a lock that OpenSSL held then.

A stream keeps OpenSSL away from the socket. Left to itself it asks the kernel twice for each record of 16 KiB, and
Python's socket around it adds three calls of functions. Here eight records are received at once and handed to OpenSSL
in memory, which decrypts them straight into the caller's buffer in one loop; a large piece is encrypted as a whole and
sent at once.
"""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable
from functools import lru_cache

from s3dlio import descriptors, forks
from s3dlio.errors import ConfigurationError
from s3dlio.runtime.poller import READ, WRITE

WOULD_BLOCK = -1

RECEIVED_BYTES = 128 * 1024  # at once; also what each stream's memory grows to


@lru_cache(maxsize=16)
def context(ca_file: str | None) -> ssl.SSLContext:
    """The context to connect with.

    Args:
        ca_file: PEM file of the CAs to trust instead of the system's (AWS_CA_BUNDLE, SSL_CERT_FILE), or None.

    Raises:
        ConfigurationError: the file cannot be read or holds no certificate.
        OSError: the process can open no more files. What was made without them is not kept.
    """
    try:
        with forks.delayed:
            made = ssl.create_default_context(cafile=ca_file)
            if ca_file is None and not made.cert_store_stats()["x509"]:
                _load_system_file(made)
    except (OSError, ssl.SSLError) as error:
        if descriptors.are_short(error):
            raise
        raise ConfigurationError(f"the CA file {ca_file!r} cannot be used: {error}; check AWS_CA_BUNDLE") from error
    made.set_alpn_protocols(["http/1.1"])
    return made


def _load_system_file(made: ssl.SSLContext) -> None:
    """Load the system's file of CAs, of which OpenSSL does not say that it could not open it.

    Raises:
        OSError: there is no descriptor for it.
    """
    file = ssl.get_default_verify_paths().cafile
    if file is not None:
        try:
            made.load_verify_locations(file)
        except OSError as error:  # an empty file, for example: there may be a folder of CAs
            if descriptors.are_short(error):
                raise


class _Received(threading.local):
    """Where a thread receives what it then hands to OpenSSL."""

    def __init__(self) -> None:
        self.view = memoryview(bytearray(RECEIVED_BYTES))


_received = _Received()


class Stream:
    """TLS on one socket, which stays the caller's to close."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, host: str) -> None:
        """
        Args:
            sock: connected, non-blocking.
            context: to verify with.
            host: the name that the certificate must be for.
        """
        self._sock = sock
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self._unsent = memoryview(b"")  # encrypted, and not yet taken by the kernel
        self._encrypted = 0  # bytes of the caller's that are in there, or sent, without his having been told

    def handshake(self) -> int:
        """Go on with the handshake; returns the event to wait for, 0 when it is done.

        Raises:
            ssl.SSLCertVerificationError: the certificate is not one to trust.
            OSError: it failed otherwise.
        """
        while True:
            done = True
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                done = False
            finally:
                sent = self._send_outgoing()  # also the alert that tells the server why
            if not sent:
                return WRITE
            if done:
                return 0
            try:
                self._fill()
            except BlockingIOError:
                return READ

    def send(self, data: memoryview) -> int:
        """Send a buffer; returns its length when all of it is sent, 0 if it has to wait.

        After 0 the next call must be with the same bytes.
        """
        if not self._flush():
            return 0
        if not self._encrypted:
            self._encrypted = self._tls.write(data)
            if not self._send_outgoing():
                return 0
        count, self._encrypted = self._encrypted, 0
        return count

    def receive(self, view: memoryview) -> int:
        """Receive into a buffer; returns the number of bytes, 0 at the end of the stream, WOULD_BLOCK to wait.

        When the buffer is full, more may be at hand in here; otherwise only in the socket, where a poller sees it.
        """
        while True:
            if (self._incoming.pending or self._tls.pending()) and (count := self._decrypt(view)) != WOULD_BLOCK:
                return count
            try:
                self._fill()
            except BlockingIOError:
                return WOULD_BLOCK
            if self._incoming.eof:
                return max(0, self._decrypt(view))

    def pending(self) -> int:
        """Bytes that have been received from the socket and not yet by the caller, encrypted or not."""
        return self._tls.pending() + self._incoming.pending

    def _decrypt(self, view: memoryview) -> int:
        """What can be had of the records that have come."""
        read: Callable[[int, memoryview], int] = self._tls.read  # type: ignore[assignment]  # with a buffer: a number
        got, size = 0, len(view)
        try:
            while got < size and (count := read(size - got, view[got:])):
                got += count
        except ssl.SSLWantReadError:
            got = got or WOULD_BLOCK
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            pass  # the end; without the server's having said so the length of the body has to tell
        if self._outgoing.pending:  # a new key to agree to
            self._send_outgoing()
        return got

    def _fill(self) -> None:
        """Hand OpenSSL what has come."""
        view = _received.view
        count = self._sock.recv_into(view)
        if count:
            self._incoming.write(view[:count])
        else:
            self._incoming.write_eof()

    def _send_outgoing(self) -> bool:
        """Send what OpenSSL has encrypted, behind what is left from before; whether nothing is left."""
        self._unsent = memoryview(b"".join((self._unsent, self._outgoing.read())))
        return self._flush()

    def _flush(self) -> bool:
        while len(self._unsent):
            try:
                count = self._sock.send(self._unsent)
            except BlockingIOError:
                return False
            self._unsent = self._unsent[count:]
        return True
