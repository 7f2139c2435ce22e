# SPDX-License-Identifier: Apache-2.0
"""One signed S3 request, by botocore's signer and the standard library: for waiting until a server answers."""

from __future__ import annotations

import http.client
import ssl
from pathlib import Path
from urllib.parse import urlsplit

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials


def request(
    url: str, method: str, *, access_key: str, secret_key: str, body: bytes = b"", ca_file: Path | None = None
) -> tuple[int, bytes]:
    """Sends a request and returns status and body of the answer.

    Raises:
        OSError: nothing answers, or the TLS handshake fails.
    """
    unsigned = AWSRequest(method, url, data=body)
    S3SigV4Auth(Credentials(access_key, secret_key), "s3", "us-east-1").add_auth(unsigned)
    parts = urlsplit(url)
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        context = ssl.create_default_context(cafile=ca_file)
        connection = http.client.HTTPSConnection(parts.netloc, timeout=5, context=context)
    else:
        connection = http.client.HTTPConnection(parts.netloc, timeout=5)
    try:
        connection.request(method, parts.path, body=body, headers=dict(unsigned.headers.items()))
        answer = connection.getresponse()
        return answer.status, answer.read()
    except http.client.HTTPException as error:
        raise OSError(f"no proper answer from {url}: {error!r}") from error
    finally:
        connection.close()
