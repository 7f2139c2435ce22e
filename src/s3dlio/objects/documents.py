# SPDX-License-Identifier: Apache-2.0
"""XML and JSON that servers send: every document that cannot be read raises one exception, whatever its bytes are.

Python's parsers raise other exceptions beside their own: LookupError and ValueError for an encoding that XML names, and
RecursionError for JSON that is nested deeply.

XML with a document type is refused: its entities can turn a small answer into a large one, and no service sends one.
"""

from __future__ import annotations

import json as json_module
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from xml.etree import ElementTree as ET

from s3dlio.errors import S3dlioError


def xml(body: bytes | str) -> ET.Element:
    """Parse an XML document and return its root element.

    Raises:
        ET.ParseError: the body is not XML, or has a document type.
    """
    if (b"<!DOCTYPE" if isinstance(body, bytes) else "<!DOCTYPE") in body:  # type: ignore[operator]
        raise ET.ParseError("it has a document type")
    try:
        return ET.fromstring(body)
    except (LookupError, RecursionError, ValueError) as error:
        raise ET.ParseError(str(error)) from None


def json(body: bytes | str) -> Any:
    """Parse a JSON document and return its value.

    Raises:
        ValueError: the body is not JSON, or is nested too deeply.
    """
    try:
        return json_module.loads(body)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


@contextmanager
def reading(uri: str, endpoint: str) -> Iterator[None]:
    """Raise S3dlioError if the code inside meets a document that does not have the form it expects.

    Args:
        uri: what the request was about.
        endpoint: the server that sent the document.
    """
    try:
        yield
    except S3dlioError:
        raise
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise S3dlioError(
            f"{uri} at {endpoint}: the answer does not have the expected form ({type(error).__name__});"
            " check that the endpoint is the right kind of service",
            uri=uri,
            endpoint=endpoint,
        ) from error
