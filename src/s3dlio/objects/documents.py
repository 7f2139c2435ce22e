# SPDX-License-Identifier: Apache-2.0
"""XML and JSON that servers send: every document that cannot be read raises one exception, whatever its bytes are.

Python's parsers raise other exceptions beside their own: LookupError and ValueError for an encoding that XML names, and
RecursionError for JSON that is nested deeply.

XML with a document type is refused: its entities can turn a small answer into a large one, and no service sends one.
"""

from __future__ import annotations

import json as json_module
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from xml.etree import ElementTree as ET

from s3dlio.errors import S3dlioError
from s3dlio.http.response import Response


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


def tag(element: ET.Element) -> str:
    """Return the name of an element without its namespace."""
    return element.tag.rpartition("}")[2]


def children(element: ET.Element, name: str) -> list[ET.Element]:
    """Return the children of that name, in any namespace."""
    return element.findall(f"{{*}}{name}")


def child_text(element: ET.Element, name: str) -> str:
    """Return the text of the first child of that name, in any namespace; "" without one."""
    return element.findtext(f"{{*}}{name}") or ""


def lacks(response: Response, name: str, fields: Sequence[str] = ()) -> str:
    """Name what an answer lacks to be a result: the root element `name`, or a child of it without a text; "" if
    nothing.
    """
    try:
        root = xml(bytes(response.body).lstrip())
    except ET.ParseError:
        return f"<{name}>"
    if tag(root) != name:
        return f"<{name}>"
    return next((f"<{field}>" for field in fields if not child_text(root, field).strip()), "")


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
    """Raise S3dlioError if the code inside meets a document that does not have the form it expects."""
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
