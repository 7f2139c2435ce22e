# SPDX-License-Identifier: Apache-2.0
"""A new private certificate authority for each server that uses TLS.

trustme makes it. trustme is maintained by the developers of Trio and made for tests, and its certificates contain the
key usage and the authority key identifier without which Python 3.13 and later refuse a private authority.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import trustme


@dataclass(frozen=True)
class Certificate:
    """Paths of PEM files: the server's chain and key, and the authority that a client has to trust."""

    chain: Path
    key: Path
    ca: Path


def make(folder: Path) -> Certificate:
    """A certificate for localhost and 127.0.0.1, in files below `folder`."""
    made = Certificate(folder / "server.pem", folder / "server.key", folder / "ca.pem")
    authority = trustme.CA()
    leaf = authority.issue_cert("localhost", "127.0.0.1")
    authority.cert_pem.write_to_path(made.ca)
    leaf.private_key_pem.write_to_path(made.key)
    for pem in leaf.cert_chain_pems:
        pem.write_to_path(made.chain, append=True)
    return made
