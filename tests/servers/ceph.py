# SPDX-License-Identifier: Apache-2.0
"""Ceph RGW, the strict second S3 server: a monitor, one OSD in memory, and the gateway.

It lists in byte order, accepts every odd key unchanged, checks the payload's hash and refuses small parts. It ignores
CRC32C headers, refuses unsigned trailers, and does not do If-None-Match on CompleteMultipartUpload.

The cluster's keys and its first map are written before anything runs, so no administration command has to
wait for it (and none of Ceph's Python tools is needed): the OSD's key goes into the keyring that the
monitor is made from, and an OSD map with one OSD takes the place of `ceph osd new`.
"""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Iterable
from pathlib import Path

from tests.servers import install
from tests.servers.base import Processes, S3Server, accepts, free_ports

# One OSD, one placement group per pool, one copy; the monitor commits at once instead of gathering changes.
_CONFIGURATION = """\
[global]
fsid = {fsid}
mon host = [v2:127.0.0.1:{mon_port}/0]
mon initial members = a
public addr = 127.0.0.1
ms bind msgr1 = false
run dir = {folder}
admin socket =
log file = {logs}/$name.log
pid file =
keyring = {folder}/keyring
mon data = {folder}/mon
osd data = {folder}/osd
rgw data = {folder}/rgw
plugin dir = {libraries}/rados-classes
osd class dir = {libraries}/rados-classes
erasure code dir = {libraries}/ceph/erasure-code
compressor zlib isal = false
osd objectstore = memstore
memstore device bytes = 4294967296
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pgp num = 1
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon max pg per osd = 1000
mon cluster log to file = false
mon data avail warn = 1
mon data avail crit = 0
mon warn on insecure global id reclaim allowed = false
mon warn on pool no redundancy = false
paxos propose interval = 0.02
paxos min wait = 0.01
rgw frontends = beast endpoint=127.0.0.1:{rgw_port}
rgw enable usage log = false
rgw enable ops log = false
rgw dynamic resharding = false
rgw override bucket index max shards = 1
debug ms = 0
"""


def start(processes: Processes) -> S3Server:
    """Starts the three processes and waits until the gateway listens."""
    root = install.locate("ceph")
    programs = root / "usr" / "bin"
    folder = processes.folder
    mon_port, rgw_port = free_ports(2)
    fsid = str(uuid.uuid4())
    for name in ("mon", "osd", "rgw"):
        (folder / name).mkdir()
    (folder / "ceph.conf").write_text(
        _CONFIGURATION.format(
            fsid=fsid,
            mon_port=mon_port,
            rgw_port=rgw_port,
            folder=folder,
            logs=processes.logs,
            libraries=_only(root.glob("usr/lib/*-linux-gnu*/rados-classes")).parent,
        )
    )
    environment = {
        "CEPH_CONF": str(folder / "ceph.conf"),
        "LD_LIBRARY_PATH": ":".join(
            str(path) for pattern in ("lib/*-linux-gnu*", "usr/lib/*-linux-gnu*") for path in root.glob(pattern)
        )
        + f":{_only(root.glob('usr/lib/*-linux-gnu*/ceph'))}:{root / 'usr' / 'lib' / 'ceph'}",
    }

    def run(program: str, *arguments: str) -> None:
        processes.run([programs / program, *arguments], environment)

    run("ceph-authtool", "keyring", "--create-keyring", "--gen-key", "-n", "mon.", "--cap", "mon", "allow *")
    for name, mon, osd in (("client.admin", "allow *", "allow *"), ("osd.0", "allow profile osd", "allow *")):
        run("ceph-authtool", "keyring", "--gen-key", "-n", name, "--cap", "mon", mon, "--cap", "osd", osd)
    run("monmaptool", "--create", "--addv", "a", f"[v2:127.0.0.1:{mon_port}]", "--fsid", fsid, "monmap")
    run("osdmaptool", "--createsimple", "1", "osdmap")
    run("ceph-mon", "-i", "a", "--mkfs", "--monmap", "monmap", "--osdmap", "osdmap", "--keyring", "keyring")
    processes.start([programs / "ceph-mon", "-i", "a", "-f"], environment, log="ceph-mon")
    run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", str(uuid.uuid4()))
    processes.start([programs / "ceph-osd", "-i", "0", "-f"], environment, log="ceph-osd")
    access_key, secret_key = "ceph-key", secrets.token_urlsafe(24)
    # waits until the OSD is up, and checks that at every tick (5 s by default)
    run(
        "radosgw-admin", "user", "create", "--uid=tests", "--display-name=tests", "--max-buckets=0",
        f"--access-key={access_key}", f"--secret-key={secret_key}", "--objecter-tick-interval=0.1",
    )  # fmt: skip
    processes.start([programs / "radosgw", "-n", "client.admin", "-f"], environment, log="radosgw")
    processes.wait_until(lambda: accepts(rgw_port))
    return S3Server("ceph", f"http://127.0.0.1:{rgw_port}", access_key, secret_key, processes.pids, processes.logs)


def _only(paths: Iterable[Path]) -> Path:
    (path,) = paths
    return path
