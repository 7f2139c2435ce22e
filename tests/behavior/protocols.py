# SPDX-License-Identifier: Apache-2.0
"""The protocols against which the table of behavior is run.

A protocol is one entry in `PROTOCOLS`: a name, a function that returns the URI of a new, empty folder, and the cases
that the protocol cannot pass, each with the reason. Such a case is run, too, and must fail: a deviation that no longer
exists must be removed from the table.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import s3dlio
from tests.servers.base import AzureServer, GcsServer, S3Server


@dataclass(frozen=True)
class Protocol:
    """An implementation of the contract.

    Attributes:
        name: its name in the names of the tests.
        root: returns the URI, without a final "/", of an empty folder that no other test uses. Called once per case
            with the request of a fixture, by which it may start servers.
        deviations: name of a case, with its other parameters as pytest shows them or without any -> why this protocol
            cannot pass it.
    """

    name: str
    root: Callable[[pytest.FixtureRequest], str]
    deviations: Mapping[str, str] = field(default_factory=dict)


def _folder(scheme: str) -> Callable[[pytest.FixtureRequest], str]:
    def root(request: pytest.FixtureRequest) -> str:
        folder: Path = request.getfixturevalue("tmp_path")
        return f"{scheme}://{folder}/root"

    return root


_numbers = itertools.count()


def _s3(server: str) -> Callable[[pytest.FixtureRequest], str]:
    def root(request: pytest.FixtureRequest) -> str:
        found: S3Server = request.getfixturevalue(server)
        os.environ.update(found.environment())
        s3dlio.make_bucket("s3://behavior")
        return f"s3://behavior/{next(_numbers)}"

    return root


def _az(request: pytest.FixtureRequest) -> str:
    found: AzureServer = request.getfixturevalue("azurite")
    os.environ.update(found.environment())
    s3dlio.make_bucket("az://behavior")
    return f"az://behavior/{next(_numbers)}"


def _gs(request: pytest.FixtureRequest) -> str:
    found: GcsServer = request.getfixturevalue("fake_gcs")
    os.environ.update(found.environment())
    s3dlio.make_bucket("gs://behavior")
    return f"gs://behavior/{next(_numbers)}"


_READERS = (
    "get",
    "get_range",
    "get_range-to-end",
    "get_chunks",
    "get_chunks-of-one",
    "stat",
    "get_many",
    "get_many_iter",
)
_FOLDER_AS_OBJECT = "SeaweedFS has real folders, and answers for folder/ as for an object"

_NO_BUCKETS = dict.fromkeys(
    (
        "test_a_bucket_is_made_listed_and_removed",
        "test_a_bucket_that_holds_an_object_is_not_removed",
        "test_removing_a_missing_bucket_is_not_found",
    ),
    "files have no buckets",
)

PROTOCOLS = [
    Protocol("file", _folder("file"), _NO_BUCKETS),
    Protocol("direct", _folder("direct"), _NO_BUCKETS),
    Protocol(
        "s3 on SeaweedFS",
        _s3("seaweedfs"),
        {
            r"test_a_key_is_taken_verbatim[back\\slash]": "SeaweedFS takes a backslash for a slash",
            "test_odd_names_are_listed_unchanged": "one has a backslash; stores/s3/test_s3_keys.py has the others",
            "test_a_folder_is_a_prefix_and_does_not_exist": _FOLDER_AS_OBJECT,
            **{f"test_anything_but_an_object_is_not_found[folder/-{name}]": _FOLDER_AS_OBJECT for name in _READERS},
        },
    ),
    Protocol("s3 on Ceph", _s3("ceph")),
    Protocol(
        "az on Azurite",
        _az,
        {
            r"test_a_key_is_taken_verbatim[back\\slash]": "Azure takes a backslash for a slash, so it is refused",
            "test_odd_names_are_listed_unchanged": "one has a backslash; stores/azure/test_azure.py has the others",
            **{
                f"test_chunks_make_up_the_range[0-0-{chunk_size}-0]": "Azurite answers bytes=0-0 of an empty blob with"
                " 206 and Content-Range: bytes 0--1/0"
                for chunk_size in (1000, 4096, 100_002, 1 << 20)
            },
        },
    ),
    Protocol("gs on fake-gcs-server", _gs),
]
