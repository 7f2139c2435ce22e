# SPDX-License-Identifier: Apache-2.0
"""The servers of the benchmark: nginx with everything in place, also behind a slow link, a sink, and real stores.

nginx costs less per object than any client, so that the client is what is measured; it takes any signature.
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
        url, tls_url: the same objects by http and by https; "" where there is no TLS.
        ca_file: for `tls_url`.
        pids: of the server.
        environment: the variables by which clients find it.
    """

    url: str
    tls_url: str
    ca_file: str
    pids: tuple[int, ...]
    environment: dict[str, str]


class NotHere(Exception):
    """This machine does not allow what a scenario needs; the message says what."""


@contextmanager
def static(root: Path, all_objects: list[Objects], more: str = "") -> Iterator[World]:
    """nginx over these objects.

    Args:
        root: the folder below which they are.
        all_objects: of every scenario, for the checksums that go out with them.
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
    """The server that takes objects into memory."""
    (port,) = free_ports(1)

    def start(processes: Processes) -> tuple[int, ...]:
        processes.start([sys.executable, Path(__file__).with_name("sink.py"), str(port)])
        processes.wait_until(lambda: accepts(port))
        return processes.pids

    with running("sink", start) as pids:
        url = f"http://127.0.0.1:{port}"
        yield World(url, "", "", pids, _environment(url))


def _show(served: Path, folder: Path) -> None:
    """Let a bucket be found at the paths of S3, of Azure, and of the JSON API of Google Cloud Storage."""
    for place in (
        served / folder.name,
        served / ACCOUNT / folder.name,
        served / "storage" / "v1" / "b" / folder.name / "o",
    ):
        place.parent.mkdir(parents=True, exist_ok=True)
        if not place.exists():
            place.symlink_to(folder)


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
    """SeaweedFS or Ceph with an empty bucket."""
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
    """nginx behind a link of `RATE` with a delay of `DELAY` there and back, in a network of its own.

    The link is the loopback of a network namespace with a token bucket; the delay comes from a proxy, which reaches
    nginx by a Unix socket, since every byte on the loopback counts.

    Raises:
        NotHere: no rights to make such a network.
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
    """This thread, and what it starts, in a network namespace whose loopback is slow."""
    new_network = 0x40000000  # CLONE_NEWNET
    libc = ctypes.CDLL(None, use_errno=True)
    with open("/proc/self/ns/net") as before:
        if libc.unshare(new_network):
            raise NotHere(f"no network of its own: {os.strerror(ctypes.get_errno())} (it takes CAP_SYS_ADMIN)")
        try:
            shape = ["tc", "qdisc", "add", "dev", "lo", "root", "tbf"]
            shape += ["rate", RATE, "burst", "256kb", "latency", "100ms"]
            for command in (["ip", "link", "set", "lo", "up"], shape):
                try:
                    subprocess.run(command, check=True, capture_output=True)
                except (OSError, subprocess.CalledProcessError) as error:
                    raise NotHere(f"no slow link: {' '.join(command)}: {error} (it takes iproute2)") from None
            yield
        finally:
            if libc.setns(before.fileno(), new_network):
                raise OSError(ctypes.get_errno(), "cannot go back to the network of the machine")
