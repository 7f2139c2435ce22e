# SPDX-License-Identifier: Apache-2.0
"""The servers of the benchmarks: nginx, also behind a slow link; a sink; SeaweedFS and Ceph.

nginx costs less per object than any client, so that the figures are those of the client. It accepts any signature.
"""

from __future__ import annotations

import base64
import ctypes
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import s3dlio
from benchmarks.objects import Objects
from tests.servers import ceph, nginx, seaweedfs
from tests.servers.base import Processes, S3Server, accepts, free_ports, running

ACCOUNT = "benchmark"
RATE, DELAY = "400mbit", 0.010

_MAPS = """\
map_hash_max_size 65536;
map_hash_bucket_size 128;
map $args $page {{ default 0; "~continuation-token=(?<token>[0-9]+)" $token; }}
map $uri $crc32c {{ default ""; {checksums} }}
"""
# A header without a value is not sent.
_LOCATIONS = """\
location /checked- { add_header ETag $stored; add_header x-amz-checksum-crc32c $crc32c; }
location ~ ^/(?<listing>listing-[0-9]+)/?$ {
    default_type application/xml;
    try_files /$listing/page-$page.xml =404;
}
"""


class World(NamedTuple):
    """A server with the objects of all scenarios.

    Attributes:
        url: the endpoint by http.
        tls_url: the endpoint by https, with the same objects; "" if the server has no TLS.
        ca_file: the certificate of the CA for `tls_url`.
        pids: the processes of the server.
        environment: the variables by which clients find the server.
    """

    url: str
    tls_url: str
    ca_file: str
    pids: tuple[int, ...]
    environment: dict[str, str]


class NotHere(Exception):
    """The machine lacks something that a scenario needs; the message says what."""


@contextmanager
def static(root: Path, all_objects: list[Objects], more: str = "") -> Iterator[World]:
    """Start nginx, serving these objects.

    Args:
        root: the folder that holds the buckets.
        all_objects: the objects of every scenario; nginx sends their checksums.
        more: further configuration.
    """
    checksums = " ".join(f'"/{one.bucket}/{key}" "{text}";' for one in all_objects for key, text in one.crc32c.items())
    start = partial(nginx.start, more=_LOCATIONS + more, http=_MAPS.format(checksums=checksums))
    with running("nginx", start) as server:
        for one in all_objects:
            _show(server.root, root / one.bucket)
        yield World(server.url, server.tls_url, str(server.ca_file), server.pids, _environment(server.url))


@contextmanager
def sink() -> Iterator[World]:
    """Start the server that receives objects into memory."""
    (port,) = free_ports(1)

    def start(processes: Processes) -> tuple[int, ...]:
        processes.start([sys.executable, Path(__file__).with_name("sink.py"), str(port)])
        processes.wait_until(lambda: accepts(port))
        return processes.pids

    with running("sink", start) as pids:
        url = f"http://127.0.0.1:{port}"
        yield World(url, "", "", pids, _environment(url))


def _show(served: Path, folder: Path) -> None:
    """Link a bucket to its paths in S3, in Azure, and in the JSON API of Google Cloud Storage."""
    for link in (
        served / folder.name,
        served / ACCOUNT / folder.name,
        served / "storage" / "v1" / "b" / folder.name / "o",
    ):
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.exists():
            link.symlink_to(folder)


def _environment(url: str) -> dict[str, str]:
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "benchmark",
        "AWS_SECRET_ACCESS_KEY": "benchmark-secret",
        "AWS_REGION": "us-east-1",
        "AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT,
        "AZURE_STORAGE_ACCOUNT_KEY": base64.b64encode(b"benchmark-secret").decode(),
        "AZURE_STORAGE_ENDPOINT": f"{url}/{ACCOUNT}",
        "STORAGE_EMULATOR_HOST": url,
    }


@contextmanager
def store(name: str, bucket: str) -> Iterator[World]:
    """Start SeaweedFS or Ceph with an empty bucket."""
    start: Callable[[Processes], S3Server] = ceph.start
    if name == "seaweedfs":
        start = lambda processes: seaweedfs.start(processes).plain  # noqa: E731
    with running(name, start) as server:
        before = dict(os.environ)
        os.environ.update(server.environment())
        try:
            s3dlio.make_bucket(f"s3://{bucket}")
        finally:
            for name in server.environment():
                os.environ.pop(name)
            os.environ.update(before)
        yield World(server.url, "", "", server.pids, server.environment())


@contextmanager
def throttled(root: Path, all_objects: list[Objects]) -> Iterator[World]:
    """Start nginx behind a link of `RATE` with a round trip of `DELAY`, in its own network namespace.

    The link is the loopback of the namespace with a token bucket. A proxy adds the delay. It reaches nginx by a Unix
    socket, because every byte on the loopback counts toward the rate.

    Raises:
        NotHere: the process has no right to create such a namespace.
    """
    with _own_network(), tempfile.TemporaryDirectory(prefix=f"s3dlio-slow-{os.getpid()}-") as folder:
        path = Path(folder, "nginx")
        with static(root, all_objects, f"listen unix:{path};") as world, running("delay", partial(_delay, path)) as url:
            yield world._replace(url=url, tls_url="", environment=_environment(url))


def _delay(path: Path, processes: Processes) -> str:
    (port,) = free_ports(1)
    program = Path(__file__).with_name("delay.py")
    processes.start([sys.executable, program, str(port), path, str(DELAY)])
    processes.wait_until(lambda: accepts(port))
    return f"http://127.0.0.1:{port}"


@contextmanager
def _own_network() -> Iterator[None]:
    """Move this thread, and the processes that it starts, into a network namespace with a slow loopback."""
    new_network = 0x40000000  # CLONE_NEWNET
    libc = ctypes.CDLL(None, use_errno=True)
    with open("/proc/self/ns/net") as before:
        if libc.unshare(new_network):
            raise NotHere(f"cannot create a network namespace: {os.strerror(ctypes.get_errno())} (needs CAP_SYS_ADMIN)")
        try:
            shape = ["tc", "qdisc", "add", "dev", "lo", "root", "tbf"]
            shape += ["rate", RATE, "burst", "256kb", "latency", "100ms"]
            for command in (["ip", "link", "set", "lo", "up"], shape):
                try:
                    subprocess.run(command, check=True, capture_output=True)
                except (OSError, subprocess.CalledProcessError) as error:
                    raise NotHere(f"cannot create a slow link: {' '.join(command)}: {error} (needs iproute2)") from None
            yield
        finally:
            if libc.setns(before.fileno(), new_network):
                raise OSError(ctypes.get_errno(), "cannot return to the network namespace of the machine")
