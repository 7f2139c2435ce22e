# SPDX-License-Identifier: Apache-2.0
"""The objects of a scenario, created once, and the checksums with which the harness finds wrong reads and writes.

All small objects differ from each other, so that a mix-up is noticed. Large objects share a few contents by hard links,
so that all of them take little more than a gigabyte of disk. The CRC32C comes from google-crc32c, and not from the code
that is measured.
"""

from __future__ import annotations

import base64
import os
import random
import zlib
from pathlib import Path
from typing import NamedTuple

import google_crc32c

from benchmarks.scenarios import MIB, Scenario

_DIFFERENT = 256 * MIB  # bytes of all different contents of one size, at most
_PIECE = 16 * MIB  # read or written at once
PAGE = 1000  # keys in a page of a listing


class Objects(NamedTuple):
    """The objects that a scenario reads or writes.

    Attributes:
        bucket: the name of the bucket, and of the folder that holds the objects.
        checksums: key -> CRC-32; for ranges key@offset -> CRC-32; for listings "" -> CRC-32 of all names.
        crc32c: key -> CRC32C, as the header of the answer has it.
        ranges: for "range": key, offset and length of each.
    """

    bucket: str
    checksums: dict[str, int]
    crc32c: dict[str, str]
    ranges: list[tuple[str, int, int]]


def make(root: Path, scenario: Scenario) -> Objects:
    """Create the objects of a scenario below a folder, unless they exist, and describe them."""
    if scenario.operation == "list":
        return _listing(root, scenario)
    if scenario.operation in ("put", "write"):
        return _to_write(root, scenario)
    kind = "x".join(map(str, sorted(set(scenario.sizes)))) if len(scenario.sizes) < 4 else f"mixed{len(scenario.sizes)}"
    bucket = f"{'checked' if scenario.checked else 'get'}-{scenario.objects}-{kind}"
    folder = root / bucket
    folder.mkdir(parents=True, exist_ok=True)
    checksums: dict[str, int] = {}
    castagnoli: dict[str, str] = {}
    ranges: list[tuple[str, int, int]] = []
    summed: dict[Path, tuple[int, str]] = {}
    draw = random.Random(scenario.range_size)
    for number in range(scenario.objects):
        size = scenario.sizes[number % len(scenario.sizes)]
        key = f"{number:05d}"
        original = _content(root, size, number % max(1, _DIFFERENT // max(size, 1)) if len(scenario.sizes) == 1 else 0)
        if not (folder / key).exists():
            os.link(original, folder / key)
        if scenario.operation == "range":
            ranges += _ranges(draw, original, key, size, scenario, checksums)
            continue
        if original not in summed:
            summed[original] = _sums(original, scenario.checked)
        checksums[key], castagnoli[key] = summed[original]
    return Objects(bucket, checksums, castagnoli if scenario.checked else {}, ranges)


def _sums(path: Path, checked: bool) -> tuple[int, str]:
    """The CRC-32 of a file and, if `checked`, its CRC32C as a header has it: base64 of four bytes, big-endian."""
    checksum = castagnoli = 0
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            checksum = zlib.crc32(piece, checksum)
            if checked:
                castagnoli = google_crc32c.extend(castagnoli, piece)
    return checksum, base64.b64encode(castagnoli.to_bytes(4, "big")).decode() if checked else ""


def _content(root: Path, size: int, number: int) -> Path:
    path = root / "contents" / f"{size}-{number}"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        source = random.Random(size * 1009 + number)
        with path.with_suffix(".part").open("wb") as file:
            for start in range(0, size, _PIECE):
                file.write(source.randbytes(min(_PIECE, size - start)))
        path.with_suffix(".part").rename(path)
    return path


def _ranges(
    draw: random.Random, original: Path, key: str, size: int, scenario: Scenario, checksums: dict[str, int]
) -> list[tuple[str, int, int]]:
    found = []
    with original.open("rb") as file:
        for _ in range(64):
            offset = draw.randrange(0, size - scenario.range_size)
            if f"{key}@{offset}" in checksums:
                continue
            found.append((key, offset, scenario.range_size))
            checksums[f"{key}@{offset}"] = zlib.crc32(os.pread(file.fileno(), scenario.range_size, offset))
    return found


def _to_write(root: Path, scenario: Scenario) -> Objects:
    (size,) = scenario.sizes
    checksum, _ = _sums(_content(root, size, 0), False)
    keys = {f"{number:05d}": checksum for number in range(scenario.objects)}
    return Objects(f"put-{size}", keys, {}, [])


def content_of(root: Path, scenario: Scenario) -> Path:
    """The file whose content the scenario writes."""
    return _content(root, scenario.sizes[0], 0)


def _listing(root: Path, scenario: Scenario) -> Objects:
    """Create the pages of a listing for nginx, or a tree of empty files."""
    names = [f"sample-{number:08d}.npz" for number in range(scenario.objects)]
    bucket = f"{'tree' if scenario.scheme == 'file' else 'listing'}-{scenario.objects}"
    folder = root / bucket
    if not folder.exists():
        folder.mkdir(parents=True)
        if scenario.scheme == "file":
            _tree(folder, names)
        else:
            for start in range(0, len(names), PAGE):
                last = start + PAGE >= len(names)
                content = page(bucket, names[start : start + PAGE], "" if last else str(start + PAGE))
                (folder / f"page-{start}.xml").write_text(content)
    return Objects(bucket, {"": zlib.crc32("\n".join(names).encode())}, {}, [])


def _tree(folder: Path, names: list[str]) -> None:
    """Create half of the files in one folder, and half in a hundred folders."""
    for number, name in enumerate(names):
        parent = folder / ("flat" if number % 2 else f"deep/{number % 200}")
        if number < 200:
            parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(parent / name, os.O_CREAT | os.O_WRONLY))


def page(bucket: str, names: list[str], token: str) -> str:
    """An answer to ListObjectsV2: https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html."""
    more = f"<NextContinuationToken>{token}</NextContinuationToken>" if token else ""
    entries = "".join(
        f"<Contents><Key>data/train/{name}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
        f"<ETag>&quot;9a0364b9e99bb480dd25e1f0284c8555&quot;</ETag><Size>146600628</Size>"
        f"<StorageClass>STANDARD</StorageClass></Contents>"
        for name in names
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<Name>{bucket}</Name><Prefix></Prefix>{more}<KeyCount>{len(names)}</KeyCount><MaxKeys>1000</MaxKeys>"
        f"<IsTruncated>{'true' if token else 'false'}</IsTruncated>{entries}</ListBucketResult>"
    )


def wrong_writes(folder: Path, objects: Objects) -> list[str]:
    """Remove the objects that a client wrote, and return the keys of those with wrong bytes."""
    wrong = []
    for key, expected in objects.checksums.items():
        path = folder / key
        if not path.exists() or not path.stat().st_size or _sums(path, False)[0] != expected:
            wrong.append(key)
        path.unlink(missing_ok=True)
    return wrong
