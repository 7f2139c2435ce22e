"""file:// beside plain Python, as ratios of one run.

    python benchmarks/files.py [--folder DIR] [--rounds N]

The two sides of a ratio are measured in turns, round after round, each as the best of a few tries, since what else the
machine does only adds; then the medians of the rounds are compared. Everything comes from the page cache, so that the
software is measured and not a disk. Exit status 1 if a bar is missed.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import NamedTuple

import s3dlio

KIB, MIB = 1 << 10, 1 << 20
OBJECTS = 100_000
TRIES = 5  # in each round

Side = Callable[[], object]


class Ratio(NamedTuple):
    """A comparison: seconds of one call of ours and of plain Python, and the bar their ratio must hold."""

    name: str
    ours: float
    plain: float
    faster: bool  # the ratio is how many times faster we are, otherwise how many times slower
    bar: float | None

    @property
    def value(self) -> float:
        return self.plain / self.ours if self.faster else self.ours / self.plain

    @property
    def met(self) -> bool:
        return self.bar is None or (self.value >= self.bar if self.faster else self.value <= self.bar)


def compare(name: str, ours: Side, plain: Side, calls: int, rounds: int, *, faster: bool, bar: float | None) -> Ratio:
    """Time both sides in turns; each try is so many calls."""
    times: dict[Side, list[float]] = {ours: [], plain: []}
    for side in times:
        side()  # modules, caches and buffers
    for number in range(rounds):
        for side in (ours, plain) if number % 2 else (plain, ours):
            times[side].append(min(seconds(side, calls) for _ in range(TRIES)))
    return Ratio(name, median(times[ours]), median(times[plain]), faster, bar)


def seconds(side: Side, calls: int) -> float:
    """How long a call takes."""
    started = perf_counter()
    for _ in range(calls):
        side()
    return (perf_counter() - started) / calls


def file_of(folder: Path, size: int) -> tuple[str, str]:
    """Path and URI of a file of random bytes."""
    path = folder / str(size)
    path.write_bytes(os.urandom(size))
    return str(path), f"file://{path}"


def plain_read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def walk(folder: str) -> list[str]:
    """The walk one would write by hand: every file below a folder, sorted."""
    found: list[str] = []
    folders = [folder]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir():
                    folders.append(entry.path)
                else:
                    found.append("file://" + entry.path)
    found.sort()
    return found


def many_files(folder: Path) -> Path:
    """A tree of empty files: half in one folder, half in a hundred."""
    for number in range(OBJECTS):
        parent = folder / ("flat" if number % 2 else f"deep/{number % 200}")
        if number < 200:
            parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(parent / f"sample-{number:06}.npz", os.O_CREAT | os.O_WRONLY))
    return folder


def measure(folder: Path, rounds: int) -> list[Ratio]:
    """All comparisons, in a folder to be thrown away."""
    small, small_uri = file_of(folder, 4 * KIB)
    middle, middle_uri = file_of(folder, 256 * KIB)
    large, large_uri = file_of(folder, 64 * MIB)
    tree = many_files(folder / "tree")
    tree_uri = f"file://{tree}"
    if walk(str(tree)) != s3dlio.list(tree_uri, recursive=True):
        raise AssertionError("the two listings differ")
    npz = re.compile(r"\.npz$")

    def plain_put() -> None:
        temporary = f"{folder}/put.tmp"
        with open(temporary, "wb") as file:
            file.write(data)
        os.replace(temporary, f"{folder}/put")

    data = os.urandom(64 * KIB)
    few = max(3, rounds // 8)
    return [
        compare(
            "get 4 KiB", lambda: s3dlio.get(small_uri), lambda: plain_read(small), 100, rounds, faster=False, bar=1.5
        ),
        compare("stat", lambda: s3dlio.stat(small_uri), lambda: os.stat(small), 200, rounds, faster=False, bar=4),
        compare(
            "get 64 MiB, each dropped",
            lambda: s3dlio.get(large_uri),
            lambda: plain_read(large),
            1,
            rounds,
            faster=True,
            bar=3,
        ),
        compare(
            "get 256 KiB", lambda: s3dlio.get(middle_uri), lambda: plain_read(middle), 50, rounds, faster=True, bar=None
        ),
        compare(
            "put 64 KiB",
            lambda: s3dlio.put_bytes(f"file://{folder}/put", data),
            plain_put,
            20,
            rounds,
            faster=False,
            bar=None,
        ),
        compare(
            "list 100,000",
            lambda: s3dlio.list(tree_uri, recursive=True),
            lambda: walk(str(tree)),
            1,
            few,
            faster=False,
            bar=None,
        ),
        compare(
            "list 100,000, pattern",
            lambda: s3dlio.list(tree_uri, recursive=True, pattern=r"\.npz$"),
            lambda: [uri for uri in walk(str(tree)) if npz.search(uri)],
            1,
            few,
            faster=False,
            bar=None,
        ),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description="file:// beside plain Python, as ratios of one run")
    parser.add_argument("--folder", help="where to put the files (default: the folder for temporary files)")
    parser.add_argument("--rounds", type=int, default=25, help="rounds of each comparison (default: %(default)s)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder, prefix="s3dlio-bench-") as folder:
        ratios = measure(Path(folder), arguments.rounds)
    print(f"{'':24} {'s3dlio':>12} {'plain':>12}   ratio")
    for ratio in ratios:
        verdict = ""
        if ratio.bar is not None:
            verdict = f"(bar: {'≥' if ratio.faster else '≤'} {ratio.bar:g}{'' if ratio.met else ', MISSED'})"
        kind = "times faster" if ratio.faster else "times the time"
        ours, plain = f"{ratio.ours * 1e6:.1f} µs", f"{ratio.plain * 1e6:.1f} µs"
        print(f"{ratio.name:24} {ours:>12} {plain:>12}   {ratio.value:.2f} {kind} {verdict}".rstrip())
    return 0 if all(ratio.met for ratio in ratios) else 1


if __name__ == "__main__":
    sys.exit(main())
