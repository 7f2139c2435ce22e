# SPDX-License-Identifier: Apache-2.0
"""TLS: contexts, and streams over non-blocking sockets.

Certificates are always verified, against the system's CAs or those in a file that the settings name. A context is made
once per CA file and process, because reading the system's CAs takes 20 ms.

A stream keeps OpenSSL away from the socket. OpenSSL itself asks the kernel twice for each record of 16 KiB, and
Python's `SSLSocket` adds three function calls. A stream receives several records at once and hands them to OpenSSL in
memory, which decrypts them straight into the caller's buffer in one loop. A large piece is encrypted as a whole and
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
from s3dlio.tuning import TLS_RECEIVED_BYTES

WOULD_BLOCK = -1


@lru_cache(maxsize=16)
def context(ca_file: str | None) -> ssl.SSLContext:
    """The context to connect with. It trusts the CAs in a PEM file (AWS_CA_BUNDLE, SSL_CERT_FILE), or the system's.

    Raises:
        ConfigurationError: the file cannot be read or contains no certificate.
        OSError: the process can open no more files. No context is kept then.
    """
    try:
        with forks.delayed:
            made = ssl.create_default_context(cafile=ca_file)
            if ca_file is None and not made.cert_store_stats()["x509"]:
                _load_system_file(made)
    except (OSError, ssl.SSLError) as error:
        if descriptors.are_short(error):
            raise
        raise ConfigurationError(
            f"cannot use the CA file {ca_file!r}: {error}; check AWS_CA_BUNDLE and SSL_CERT_FILE"
        ) from error
    made.set_alpn_protocols(["http/1.1"])
    return made


def _load_system_file(made: ssl.SSLContext) -> None:
    """Load the system's file of CAs. OpenSSL silently ignores that it could not open the file.

    Raises:
        OSError: the process can open no more files.
    """
    file = ssl.get_default_verify_paths().cafile
    if file is not None:
        try:
            made.load_verify_locations(file)
        except OSError as error:  # such as for an empty file: there may be a folder of CAs
            if descriptors.are_short(error):
                raise


class _Received(threading.local):
    """The memory in which a thread receives records for OpenSSL."""

    def __init__(self) -> None:
        self.view = memoryview(bytearray(TLS_RECEIVED_BYTES))


_received = _Received()


class Stream:
    """TLS on one socket, which the caller closes."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, host: str) -> None:
        """
        Args:
            sock: connected, non-blocking.
            context: verifies the server's certificate.
            host: the name that the certificate must hold.
        """
        self._sock = sock
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self._unsent = memoryview(b"")  # encrypted, and not yet taken by the kernel
        self._encrypted = 0  # bytes of the caller that have been encrypted, but not reported as sent

    def handshake(self) -> int:
        """Continue the handshake; returns the event to wait for, 0 when the handshake is done.

        Raises:
            ssl.SSLCertVerificationError: the certificate cannot be trusted.
            OSError: the handshake failed for another reason.
        """
        while True:
            done = True
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                done = False
            finally:
                sent = self._send_outgoing()  # after a failure: the alert that names the reason
            if not sent:
                return WRITE
            if done:
                return 0
            try:
                self._fill()
            except BlockingIOError:
                return READ

    def send(self, data: memoryview) -> int:
        """Send a buffer; returns its length when it has been sent as a whole, 0 to wait.

        After 0 the next call must have the same bytes.
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

        After a full buffer more bytes may be inside this stream. Otherwise they can only be in the socket, where a
        poller sees them.
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
        """Bytes, encrypted or not, that have been received from the socket but not by the caller."""
        return self._tls.pending() + self._incoming.pending

    def _decrypt(self, view: memoryview) -> int:
        """Decrypt the records that have been received; returns as `receive` does."""
        read: Callable[[int, memoryview], int] = self._tls.read  # type: ignore[assignment]  # with a buffer: a number
        got, size = 0, len(view)
        try:
            while got < size and (count := read(size - got, view[got:])):
                got += count
        except ssl.SSLWantReadError:
            got = got or WOULD_BLOCK
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            pass  # the end of the stream, with or without the server's notice: the length of the body must tell
        if self._outgoing.pending:  # an answer to a change of keys
            self._send_outgoing()
        return got

    def _fill(self) -> None:
        """Receive from the socket for OpenSSL. Raises BlockingIOError if nothing has arrived."""
        view = _received.view
        count = self._sock.recv_into(view)
        if count:
            self._incoming.write(view[:count])
        else:
            self._incoming.write_eof()

    def _send_outgoing(self) -> bool:
        """Send what OpenSSL has encrypted, after what is left from before; returns whether nothing is left."""
        self._unsent = memoryview(b"".join((self._unsent, self._outgoing.read())))
        return self._flush()

    def _flush(self) -> bool:
        """Send what the kernel has not taken yet; returns whether nothing is left."""
        while len(self._unsent):
            try:
                count = self._sock.send(self._unsent)
            except BlockingIOError:
                return False
            self._unsent = self._unsent[count:]
        return True
