# SPDX-License-Identifier: Apache-2.0
"""The result of an exchange: the whole answer, or the reason why the exchange failed."""

from __future__ import annotations

from typing import Literal, NamedTuple

from s3dlio import redaction
from s3dlio.http.address import Address
from s3dlio.http.connection import ConnectFailure
from s3dlio.http.framing import ResponseHead


class Response(NamedTuple):
    """A whole answer.

    Attributes:
        head: status and header fields.
        body: the bytes of the body, in a pooled buffer or in the target that the request named.
        address: the server that answered.
    """

    head: ResponseHead
    body: memoryview
    address: Address


Failure = ConnectFailure | Literal["connect timeout", "timeout", "slow", "lost", "malformed"]


class TransportError(Exception):
    """The exchange failed: no whole answer was received.

    Attributes:
        kind: what failed:
            "connect": no connection could be made;
            "connect timeout": no connection was made in time;
            "refused": the server refused the connection;
            "untrusted": the server's certificate could not be verified;
            "proxy": the proxy refused to connect to the server;
            "descriptors": this process may open no more files;
            "timeout": a deadline passed;
            "slow": the body moved more slowly than S3DLIO_MIN_RATE;
            "lost": the connection ended before the answer was whole;
            "malformed": the answer breaks the rules of HTTP, or a limit on its size.
        head: the head of the answer, if it had been received.
        received: how many bytes of the body are in the target.
    """

    def __init__(self, kind: Failure, message: str, head: ResponseHead | None = None, received: int = 0) -> None:
        super().__init__(redaction.message(message))  # shown in tracebacks, as the cause of the error that is raised
        self.kind = kind
        self.head = head
        self.received = received
