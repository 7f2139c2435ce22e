# SPDX-License-Identifier: Apache-2.0
"""The protocols that the table of faults is run against.

A store joins with one entry in `PROTOCOLS`: which fixture starts its server, and what makes the store use that server
by way of a proxy's URL. Everything else holds for all of them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import s3dlio
from s3dlio.stores.azure import listing


class Protocol(NamedTuple):
    """A store and its server.

    Attributes:
        name: as it is to appear in the names of the tests.
        fixture: of the server; it has a `url`.
        root: given the server and the URL of a proxy in front of it, sets the environment so that the proxy is what
            the store talks to, and returns the URI of a container, without a final "/".
        deviations: a verb and a fault, as in "get: delay" -> why they are left out with this server.
    """

    name: str
    fixture: str
    root: Callable[[Any, str], str]
    deviations: Mapping[str, str] = MappingProxyType({})


def s3_root(server: Any, url: str) -> str:
    """A bucket, reached through a proxy."""
    os.environ.update({**server.environment(), "AWS_ENDPOINT_URL": url})
    s3dlio.make_bucket("s3://faults")
    return "s3://faults"


def gs_root(server: Any, url: str) -> str:
    """A bucket, reached through a proxy."""
    os.environ.update({**server.environment(), "STORAGE_EMULATOR_HOST": url})
    s3dlio.make_bucket("gs://faults")
    return "gs://faults"


def az_root(server: Any, url: str) -> str:
    """A container, reached through a proxy. Pages as short as elsewhere make a second one without 5,000 blobs."""
    listing.NAMES_PER_PAGE = 1000
    os.environ.update({**server.environment(), "AZURE_STORAGE_ENDPOINT": url})
    s3dlio.make_bucket("az://faults")
    return "az://faults"


_APPENDS = "fake-gcs-server appends a chunk that comes again, where the service passes over what it has"
_CHUNKED = "fake-gcs-server tells no length of a long listing"

PROTOCOLS = [
    Protocol("s3", "seaweedfs", s3_root),
    Protocol("az", "azurite", az_root, {"list: shorter length": "Azurite tells no length of a listing"}),
    Protocol(
        "gs",
        "fake_gcs",
        gs_root,
        {
            **{f"writer: {kind}": _APPENDS for kind in ("lost answer", "longer length", "reset in head")},
            "list: shorter length": _CHUNKED,
        },
    ),
]
