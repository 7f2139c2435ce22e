# SPDX-License-Identifier: Apache-2.0
"""XML and JSON from servers: whatever the bytes are, there is one exception for those that cannot be read.

Python's parsers raise others beside their own: LookupError and ValueError for an encoding that XML names, and
RecursionError for JSON that is nested deeply.

XML with a document type is refused: its entities could make a small answer a large one, and no service sends one.
"""

from __future__ import annotations

import json as json_module
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from xml.etree import ElementTree as ET

from s3dlio.errors import S3dlioError


def xml(body: bytes | str) -> ET.Element:
    """The root element of a document.

    Raises:
        ET.ParseError: it is no XML.
    """
    if (b"<!DOCTYPE" if isinstance(body, bytes) else "<!DOCTYPE") in body:  # type: ignore[operator]
        raise ET.ParseError("it has a document type")
    try:
        return ET.fromstring(body)
    except (LookupError, RecursionError, ValueError) as error:
        raise ET.ParseError(str(error)) from None


def json(body: bytes | str) -> Any:
    """The value that a document holds.

    Raises:
        ValueError: it is no JSON.
    """
    try:
        return json_module.loads(body)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


@contextmanager
def reading(uri: str, endpoint: str) -> Iterator[None]:
    """Read facts from a document: where it is not of the form that is expected, raise S3dlioError.

    Args:
        uri: what the request was about.
        endpoint: the server that sent it.
    """
    try:
        yield
    except S3dlioError:
        raise
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise S3dlioError(
            f"{uri} at {endpoint}: the answer does not have the form that is expected ({type(error).__name__});"
            " check that the endpoint is the right kind of service",
            uri=uri,
            endpoint=endpoint,
        ) from error
