# SPDX-License-Identifier: Apache-2.0
"""Plain Python on files, without s3dlio, one call at a time."""

from __future__ import annotations

import os

from benchmarks.client.ours import content
from benchmarks.client.work import Job, Runner, in_threads, operation


def plain(job: Job) -> Runner:
    """`read`, `write` and a rename, `os.stat`, and a walk with `os.scandir`."""
    root = f"{job['bucket']}/"
    data = memoryview(content(job))

    def get(key: str) -> bytes:
        with open(root + key, "rb") as file:
            return file.read()

    def put(key: str) -> memoryview:
        temporary = f"{root}{key}.tmp"
        with open(temporary, "wb") as file:
            file.write(data)
        os.replace(temporary, root + key)
        return data

    def write(key: str) -> memoryview:
        with open(root + key, "wb") as file:
            file.writelines(data[start : start + job["piece"]] for start in range(0, len(data), job["piece"]))
        return data

    known = operation(
        job, get=get, put=put, write=write, stat=lambda key: os.stat(root + key), list=lambda _: walk(root)
    )
    return in_threads(job, known)


def walk(folder: str) -> list[str]:
    """Every file below a folder, sorted: a walk as one would write it by hand."""
    found: list[str] = []
    folders = [folder.rstrip("/")]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir():
                    folders.append(entry.path)
                else:
                    found.append("file://" + entry.path)
    found.sort()
    return found
