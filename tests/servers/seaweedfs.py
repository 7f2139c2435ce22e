# SPDX-License-Identifier: Apache-2.0
"""SeaweedFS, the S3 server of most tests: `weed mini`, one process with plain and TLS endpoints.

It checks signatures, checksum headers and trailers, and If-None-Match; it does not check the payload's hash. It
takes a//b for a/b, orders lists by path component, refuses path components above 255 bytes, and drops the body
of a key that ends in a slash.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import replace
from typing import NamedTuple

from tests.servers import certificates, install, signed
from tests.servers.base import Processes, S3Server, free_ports


class Endpoints(NamedTuple):
    """The two ways to one and the same store."""

    plain: S3Server
    tls: S3Server


def start(processes: Processes) -> Endpoints:
    """Starts it and waits until an object can be stored."""
    program = install.locate("seaweedfs") / "bin" / "weed"
    folder = processes.folder
    data = folder / "data"
    data.mkdir()
    # gRPC is served on each port plus 10,000
    master, volume, filer, s3, s3_tls = free_ports(5, also=10_000)
    access_key, secret_key = "seaweedfs-key", secrets.token_urlsafe(24)
    identity = {
        "name": "tests",
        "credentials": [{"accessKey": access_key, "secretKey": secret_key}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    certificate = certificates.make(folder)
    processes.start(
        [
            program,
            "-logtostderr",
            "mini",
            f"-dir={data}",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            f"-master.port={master}",
            f"-volume.port={volume}",
            f"-filer.port={filer}",
            f"-s3.port={s3}",
            f"-s3.port.https={s3_tls}",
            f"-s3.cert.file={certificate.chain}",
            f"-s3.key.file={certificate.key}",
            f"-s3.config={folder / 's3.json'}",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            "-s3.iam=false",
            "-webdav=false",
            "-admin.ui=false",
            "-master.telemetry=false",
            "-filer.maxMB=1",
            # each bucket takes some volumes; by default their number ends with the free space of the disk
            "-volume.max=20000",
            f"-filer.localSocket={folder / 'filer.sock'}",
            f"-s3.localSocket={folder / 's3.sock'}",
        ]
    )
    url = f"http://127.0.0.1:{s3}"
    plain = S3Server("seaweedfs", url, access_key, secret_key, processes.pids, processes.logs)
    tls = replace(plain, name="seaweedfs_tls", url=f"https://127.0.0.1:{s3_tls}", ca_file=certificate.ca)

    def call(method: str, path: str, body: bytes = b"") -> int:
        answer = signed.request(f"{url}/{path}", method, access_key=access_key, secret_key=secret_key, body=body)
        return answer[0]

    def stores() -> bool:
        # listening is not enough: its parts have to find each other before the first volume can be made
        return call("PUT", "ready") in (200, 409) and call("PUT", "ready/object", b"x") == 200

    processes.wait_until(stores)
    call("DELETE", "ready/object")
    call("DELETE", "ready")
    return Endpoints(plain, tls)
