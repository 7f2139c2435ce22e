# SPDX-License-Identifier: Apache-2.0
"""The table of scenarios: what is measured, which clients take part, and which bars the figures are compared with.

A bar is a limit of a figure, or of its ratio to another figure of the same run. The report says which bars are met; no
run fails because of a bar.
"""

from __future__ import annotations

from typing import NamedTuple

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30

MANY = "s3dlio get_many, put_many"
ITER = "s3dlio get_many_iter"
FLOOR = "floor"
PLAIN = "plain Python"
PEERS = (
    "obstore, threads",
    "obstore, asyncio",
    "opendal, threads",
    "s3torchconnector, threads",
    "s3dlio 0.10 get_many",
    "s3dlio 0.10, threads",
    "boto3, threads",
    "obstore, DataLoader",
    "s3torchconnector, DataLoader",
)
# The peers of scenarios that do not look for the best one.
FASTEST = ("obstore, threads", "opendal, threads")
# The other clients of a quick run.
QUICK = (*FASTEST, "s3dlio 0.10 get_many", FLOOR, PLAIN, "fio")


class Bar(NamedTuple):
    """A limit for a figure of s3dlio, or for its ratio to another figure.

    Attributes:
        measure: a name in `report.MEASURES`.
        beside: whose figure to divide by: "peers" for the best peer, the name of a client, or "" for none.
        limit: of the ratio, or of the figure itself.
        scenario: if given, the figure to divide by is that of s3dlio in this scenario.
    """

    measure: str
    beside: str
    limit: float
    scenario: str = ""


class Scenario(NamedTuple):
    """One row of the table: an operation on some objects, and the clients that are measured at it.

    Attributes:
        name: the heading in the report.
        sizes: bytes of the objects: one size for all, or one for each.
        objects: number of objects; clients go through them repeatedly.
        in_flight: objects at a time, in each process.
        at_once: objects in one call of `get_many` or `put_many`, or in a batch of a DataLoader.
        clients: the clients that take part; s3dlio is the first.
        bars: limits for the figures of s3dlio.
        operation: get, range, put, list, write (in pieces), stat or dlio.
        timed: number of objects, or calls, that are timed; 0 for as many as fit into `seconds`.
        range_size: bytes of each range, for "range".
        server: nginx, sink (receives objects into memory), seaweedfs, ceph, throttled (nginx behind a slow link) or
            none.
        checked: the server sends the CRC32C of each object, and s3dlio verifies it; for PUT, s3dlio sends it.
        tls: clients use https.
        fork: the client is used, then forked, and measured in the child.
        best_of: the figure is the best of many tries; for calls that take microseconds.
        processes: number of processes of a client that run at the same time.
        scheme: of the URIs; az and gs use the paths of their services, on the same nginx.
        seconds: length of the timed part.
        rounds: the largest number of rounds.
        quick: the scenario is part of a quick run.
    """

    name: str
    sizes: tuple[int, ...]
    objects: int
    in_flight: int
    at_once: int
    clients: tuple[str, ...]
    bars: tuple[Bar, ...] = ()
    operation: str = "get"
    timed: int = 0
    range_size: int = 0
    server: str = "nginx"
    checked: bool = False
    tls: bool = False
    fork: bool = False
    best_of: bool = False
    processes: int = 1
    scheme: str = "s3"
    seconds: float = 1.2
    rounds: int = 99
    quick: bool = False


def all_scenarios() -> list[Scenario]:
    """All scenarios, in the order in which they are measured."""
    return [
        *_reads(),
        *_variants(),
        *_in_flight(),
        *_processes(),
        *_ranges(),
        *_writes(),
        *_listings(),
        *_streams(),
        *_throttled(),
        *_checkpoints(),
        *_files(),
        *_dlio(),
    ]


# GET...

# Rounds of scenarios without bars.
_NO_BAR = 3
_NETWORK = ("obstore, threads", "obstore, asyncio", "opendal, threads", "s3torchconnector, threads", "boto3, threads")
_READERS = (MANY, ITER, "s3dlio, threads", *_NETWORK, "s3dlio 0.10 get_many", "s3dlio 0.10, threads", FLOOR)
_OURS_IN_CHILD = (MANY, "boto3, threads", FLOOR)

_SMALL_BARS = (Bar("cpu_us", "peers", 0.35), Bar("objects", "peers", 1.6))
_TLS_BARS = (Bar("per_cpu", "peers", 1.5), Bar("rate", "peers", 1.25))
_LARGE_BARS = (
    Bar("per_cpu", "peers", 1.7),
    Bar("rate", "peers", 1.25),
    Bar("per_cpu", FLOOR, 0.9),
    Bar("rate", FLOOR, 0.9),
)

_IN_FLIGHT = 64  # small objects at a time: the default of `get_many` and `put_many`
_BATCH = 256  # small objects in one call, as a batch of a training job
_4K = Scenario("GET 4 KiB", (4 * KIB,), 1000, _IN_FLIGHT, _BATCH, _READERS, _SMALL_BARS)
_64K = Scenario("GET 64 KiB", (64 * KIB,), 1000, _IN_FLIGHT, _BATCH, _READERS, _SMALL_BARS, quick=True)
_114K = Scenario("GET 114 KiB", (114 * KIB,), 1000, _IN_FLIGHT, _BATCH, _READERS, _SMALL_BARS)
_1M = Scenario("GET 1 MiB", (MIB,), 128, 16, 128, _READERS, rounds=_NO_BAR)
_8M = Scenario("GET 8 MiB", (8 * MIB,), 32, 16, 32, _READERS, _LARGE_BARS, quick=True)
_146M = Scenario("GET 146 MiB", (146 * MIB,), 4, 4, 4, _READERS, _LARGE_BARS)
# Sizes of 146.6 ± 68 MB, as DLIO draws them for unet3d.
UNET3D = (82_112_004, 129_734_871, 214_942_436, 43_570_118, 160_209_775, 191_118_342, 98_400_561, 252_716_917)
_UNET3D = Scenario("GET 146.6 ± 68 MB (unet3d)", UNET3D, 8, 4, 4, _READERS, _LARGE_BARS)
_1G = Scenario("GET 1 GiB", (GIB,), 1, 1, 1, _READERS, rounds=_NO_BAR)


def _reads() -> list[Scenario]:
    return [_4K, _64K, _114K, _1M, _8M, _146M, _UNET3D, _1G]


def _variants() -> list[Scenario]:
    """The main GET scenarios with checksums, with TLS, in a forked child, and with other services."""
    headline = (_64K, _8M, _UNET3D)
    services = (MANY, "obstore, threads", "obstore, asyncio", FLOOR)
    return [
        *(one._replace(name=f"{one.name}, CRC32C verified", checked=True) for one in headline),
        *(
            one._replace(name=f"{one.name}, forked child", fork=True, clients=_OURS_IN_CHILD, bars=())
            for one in headline
        ),
        _64K._replace(name="GET 64 KiB, TLS", tls=True),
        _8M._replace(name="GET 8 MiB, TLS", tls=True, bars=_TLS_BARS),
        _146M._replace(name="GET 146 MiB, TLS", tls=True, bars=_TLS_BARS, quick=False),
        *(
            one._replace(
                name=f"{scheme}:// {one.name}", scheme=scheme, clients=services[:3], bars=one.bars[:2], quick=False
            )
            for scheme in ("az", "gs")
            for one in (_64K, _8M)
        ),
    ]


def _in_flight() -> list[Scenario]:
    """The main GET scenarios with 1 to 64 objects in flight and 100,000 in a call, at the same cost per object."""
    clients = (MANY, *FASTEST, FLOOR)
    found = []
    for one in (_64K, _8M):
        for number in (1, 8, 16, 32, 64):
            bars = (Bar("cpu_us", "", 1.1, f"{one.name}, 8 in flight"),) if number == 64 else ()
            found.append(
                one._replace(
                    name=f"{one.name}, {number} in flight",
                    # At least as many as one call holds, so that the checked pass maps all memory.
                    objects=max(one.objects, number),
                    in_flight=number,
                    at_once=max(one.at_once, number),
                    clients=clients,
                    bars=bars,
                    rounds=one.rounds if number in (8, 64) else _NO_BAR,
                    quick=False,
                )
            )
    thousand = _4K._replace(name="GET 4 KiB, 1,000 in a call", timed=1000, at_once=1000, clients=(MANY, ITER))
    more = Bar("cpu_us", "", 1.1, thousand.name)
    return [
        *found,
        thousand._replace(timed=100_000, bars=()),
        thousand._replace(name="GET 4 KiB, 100,000 in a call", timed=100_000, at_once=100_000, bars=(more,)),
    ]


def _processes() -> list[Scenario]:
    clients = (MANY, *FASTEST, FLOOR)
    loaders = ("s3dlio, DataLoader", "obstore, DataLoader", "s3torchconnector, DataLoader")
    return [
        *(
            one._replace(
                name=f"{one.name}, two processes",
                processes=2,
                clients=clients,
                bars=(Bar("cpu_us", "", 1.1, one.name),),
                quick=False,
            )
            for one in (_64K, _8M)
        ),
        *(
            one._replace(
                name=f"{one.name}, DataLoader with 4 workers",
                clients=loaders,
                bars=(Bar("objects", "peers", 1.0),),
                quick=False,
            )
            for one in (_114K._replace(in_flight=16, at_once=100), _8M._replace(objects=128, at_once=8))
        ),
    ]


def _ranges() -> list[Scenario]:
    clients = ("s3dlio, asyncio", "s3dlio, threads", *_NETWORK, "s3dlio 0.10, threads", FLOOR)
    return [
        _146M._replace(
            name=f"GET ranges of {text}",
            operation="range",
            range_size=size,
            objects=4,
            in_flight=16,
            at_once=32,
            clients=clients,
            bars=(),
            rounds=_NO_BAR,
            quick=size == MIB,
        )
        for size, text in ((64 * KIB, "64 KiB"), (MIB, "1 MiB"))
    ]


# PUT...


def _writes() -> list[Scenario]:
    clients = (
        MANY,
        "s3dlio, threads",
        "obstore, threads",
        "obstore, asyncio",
        "opendal, threads",
        "s3torchconnector, threads",
        "boto3, threads",
        "s3dlio 0.10, threads",
        FLOOR,
    )
    small = (Bar("cpu_us", "peers", 0.5),)
    large = (Bar("per_cpu", "peers", 1.2),)
    rows = [
        Scenario("PUT 4 KiB", (4 * KIB,), 256, _IN_FLIGHT, 256, clients, small),
        Scenario("PUT 64 KiB", (64 * KIB,), 256, _IN_FLIGHT, 256, clients, small, quick=True),
        Scenario("PUT 114 KiB", (114 * KIB,), 256, _IN_FLIGHT, 256, clients, small),
        Scenario("PUT 1 MiB", (MIB,), 64, 16, 64, clients, rounds=_NO_BAR),
        Scenario("PUT 8 MiB", (8 * MIB,), 32, 16, 32, clients, large, quick=True),
        Scenario("PUT 146 MiB", (146 * MIB,), 4, 4, 4, clients, large),
        Scenario("PUT 1 GiB", (GIB,), 1, 1, 1, clients, large),
    ]
    return [one._replace(operation="put", server="sink", checked=True) for one in rows]


# Listings...


def _listings() -> list[Scenario]:
    """Listings from prepared pages on nginx: SeaweedFS takes longer to make a page than any client to read it."""
    clients = ("s3dlio, threads", ITER, *_NETWORK, "s3dlio 0.10, threads", FLOOR)
    thousand = Scenario("LIST 1,000 keys", (0,), 1000, 1, 1, clients, operation="list")
    bars = (Bar("cpu_us", "peers", 0.5), Bar("objects", "peers", 1.0))
    return [
        thousand._replace(rounds=_NO_BAR),
        thousand._replace(name="LIST 100,000 keys", objects=100_000, bars=bars, quick=True),
    ]


# Others...


def _streams() -> list[Scenario]:
    clients = (ITER, "obstore, threads", "opendal, threads", "s3torchconnector, threads", "s3dlio 0.10, threads")
    sizes = tuple(MIB + (number * 7_919 * KIB) % (15 * MIB) for number in range(64))
    average = sum(sizes) / len(sizes)
    return [
        Scenario(
            "10 GiB of 1 to 16 MiB, streamed",
            sizes,
            64,
            16,
            16,
            clients,
            (Bar("peak", "", 300), Bar("peak", "peers", 1.0)),
            timed=round(10 * GIB / average),
        )
    ]


def _throttled() -> list[Scenario]:
    clients = (MANY, ITER, "obstore, threads", "opendal, threads", "s3torchconnector, threads", FLOOR)
    bars = (Bar("rate", "peers", 1.0),)
    small = Scenario("GET 64 KiB, 400 Mbit/s and 10 ms", (64 * KIB,), 256, 16, 256, clients, bars)
    small = small._replace(server="throttled", seconds=3)
    return [
        small,
        small._replace(name="GET 8 MiB, 400 Mbit/s and 10 ms", sizes=(8 * MIB,), objects=8, in_flight=8, at_once=8),
    ]


def _checkpoints() -> list[Scenario]:
    clients = ("s3dlio writer", "obstore, threads", "s3torchconnector, threads", "boto3, threads")
    s3 = Scenario(
        "checkpoint of 4 GiB, written to SeaweedFS", (4 * GIB,), 1, 1, 1, clients, operation="write", timed=1
    )._replace(server="seaweedfs", quick=True, rounds=_NO_BAR)
    file = s3._replace(
        name="checkpoint of 4 GiB, written to a file", server="none", scheme="file", clients=("s3dlio writer", PLAIN)
    )
    return [
        s3,
        s3._replace(name="checkpoint of 4 GiB, read from SeaweedFS", operation="get"),
        file,
        file._replace(name="checkpoint of 4 GiB, read from a file", operation="get"),
    ]


def _files() -> list[Scenario]:
    small = Scenario("file:// get 4 KiB", (4 * KIB,), 1, 1, 1, ("s3dlio", PLAIN), best_of=True, timed=500)._replace(
        server="none", scheme="file", seconds=0.6, bars=(Bar("best_us", PLAIN, 1.3),), quick=True
    )
    large = small._replace(name="file:// get 64 MiB", sizes=(64 * MIB,), timed=1, bars=(Bar("best_us", PLAIN, 0.25),))
    return [
        small,
        small._replace(name="file:// get 256 KiB", sizes=(256 * KIB,), timed=50, bars=(), quick=False),
        large,
        small._replace(name="file:// stat", operation="stat", timed=500, bars=(), quick=False),
        small._replace(name="file:// put 64 KiB", sizes=(64 * KIB,), operation="put", timed=20, bars=(), quick=False),
        small._replace(name="file:// list 100,000", operation="list", sizes=(0,), objects=100_000, timed=1),
        small._replace(
            name="direct:// get 256 MiB",
            sizes=(256 * MIB,),
            timed=0,
            best_of=False,
            seconds=1.5,
            scheme="direct",
            clients=("s3dlio", "fio"),
            bars=(Bar("rate", "fio", 0.9),),
        ),
    ]


def _dlio() -> list[Scenario]:
    """DLIO on files and on Ceph: DLIO's main branch uses keys that contain "//", which SeaweedFS changes."""
    local = ("DLIO on s3dlio, file://", "DLIO on its local storage")
    remote = ("DLIO on s3dlio, s3://", "DLIO main on s3torchconnector")
    unet3d = Scenario(
        "DLIO unet3d, files", (32 * MIB,), 16, 1, 1, local, (Bar("objects", local[1], 1.0),), operation="dlio"
    )._replace(server="none")
    on_s3 = unet3d._replace(
        name="DLIO unet3d, S3", clients=remote, bars=(Bar("objects", remote[1], 1.0),), server="ceph"
    )
    # On files, enough samples that an epoch takes longer than the start of its workers. Ceph serves about 80 per
    # second.
    return [
        unet3d,
        on_s3,
        unet3d._replace(name="DLIO resnet50, files", sizes=(114_660,), objects=2048),
        on_s3._replace(name="DLIO resnet50, S3", sizes=(114_660,), objects=512),
    ]
