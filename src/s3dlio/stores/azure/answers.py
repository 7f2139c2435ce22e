# SPDX-License-Identifier: Apache-2.0
"""Read the answers of Azure Blob Storage: the error in an answer, and whether it proves that a write was carried out.

Put Blob and Put Block List answer 201 with the new ETag; Copy Blob From URL answers 202 and
`x-ms-copy-status: success`. An answer that lacks these does not come from the service. The write is then sent again,
which is harmless, since the names of the blocks belong to one upload; after a copy without a proof the object is read
and written by this machine. The checksum in an answer must be the one that was sent. Put Block needs no proof: the list
of blocks is refused if one is missing.

What the service says about failed authentication quotes signatures. Only the part that is known to be harmless is
repeated.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from xml.etree import ElementTree as ET

from s3dlio.http.framing import ResponseHead
from s3dlio.http.response import Response
from s3dlio.objects import documents

_SAFE_DETAIL = re.compile(
    r"(Request date header too old|Signature not valid in the specified time frame|Lifetime validation failed|"
    r"Audience validation failed|Issuer validation failed)[^?&=]*"
)


class AzureError(NamedTuple):
    """The error in an answer. Fields are empty where the answer does not tell, as after a HEAD.

    Attributes:
        code: names the error.
        message: describes the error, without the number of the request.
        detail: what the service adds about failed authentication.
    """

    code: str
    message: str
    detail: str


def error_of(response: Response) -> AzureError:
    """Read the error in the fields and the body of an answer."""
    code = response.head.headers.get("x-ms-error-code", "")
    message = detail = ""
    body = bytes(response.body[:65536])
    if b"<Error" in body:
        try:
            root = documents.xml(body)
        except ET.ParseError:
            return AzureError(code, "", "")
        code = code or root.findtext("Code") or ""
        message = (root.findtext("Message") or "").partition("\n")[0].strip().rstrip(".")
        if found := _SAFE_DETAIL.search(root.findtext("AuthenticationErrorDetail") or ""):
            detail = found[0].strip()
            message = f"{message} {detail}"
    return AzureError(code, message, detail)


def says_not_there(response: Response) -> bool:
    """Tell whether the answer to a request for a blob says that the blob does not exist."""
    return response.head.status == 404 and error_of(response).code != "ResourceNotFound"


def is_directory(head: ResponseHead) -> bool:
    """Tell whether an answer is about a folder.

    A hierarchical namespace has folders; elsewhere Hadoop's drivers write a blob that marks one.
    """
    marked = head.headers.get("x-ms-meta-hdi_isfolder", "").strip().lower() == "true"
    return marked or head.headers.get("x-ms-resource-type", "").lower() == "directory"
