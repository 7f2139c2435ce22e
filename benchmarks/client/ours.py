# SPDX-License-Identifier: Apache-2.0
"""s3dlio, used by its public API."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from benchmarks.client.work import Item, Job, Runner, Take, in_threads, operation, with_asyncio


def many(job: Job) -> Runner:
    """`get_many` and `put_many`, with as many objects in a call as may be in memory; `list` for listings."""
    import s3dlio

    root = f"{job['scheme']}://{job['bucket']}/"
    data = content(job)

    def get(items: Iterator[Item], take: Take) -> None:
        while keys := list(islice(items, job["at_once"])):
            for key, (_, body) in zip(
                keys, s3dlio.get_many([root + key for key in keys], job["in_flight"]), strict=True
            ):
                take(key, body)
            del body  # otherwise the last object would be held until the next call has returned

    def put(items: Iterator[Item], take: Take) -> None:
        while keys := list(islice(items, job["at_once"])):
            s3dlio.put_many(((root + key, data) for key in keys), job["in_flight"])
            for key in keys:
                take(key, data)

    def listing(items: Iterator[Item], take: Take) -> None:
        for key in items:
            take(key, s3dlio.list(root, recursive=True))

    return operation(job, get=get, put=put, list=listing)


def streaming(job: Job) -> Runner:
    """`get_many_iter`, dropping each object before the next; `list_iter` for listings."""
    import s3dlio

    root = f"{job['scheme']}://{job['bucket']}/"

    def get(items: Iterator[Item], take: Take) -> None:
        for uri, body in s3dlio.get_many_iter((root + key for key in items), job["in_flight"], ordered=False):
            take(uri.removeprefix(root), body)
            del body

    def listing(items: Iterator[Item], take: Take) -> None:
        for key in items:
            take(key, s3dlio.list_iter(root, recursive=True))

    return operation(job, get=get, list=listing)


def threads(job: Job) -> Runner:
    """One call per object, in threads. Also used for the Rust library, which has the same name and API."""
    import s3dlio

    root = f"{job['scheme']}://{job['bucket']}/"
    data = content(job)
    return in_threads(
        job,
        operation(
            job,
            get=lambda key: s3dlio.get(root + key),
            range=lambda item: s3dlio.get_range(root + item[0], item[1], item[2]),
            put=lambda key: s3dlio.put_bytes(root + key, data),
            stat=lambda key: s3dlio.stat(root + key),
            list=lambda _: s3dlio.list(root, recursive=True),
        ),
    )


def tasks(job: Job) -> Runner:
    """One call per object, in asyncio tasks."""
    import s3dlio

    root = f"{job['scheme']}://{job['bucket']}/"
    return with_asyncio(
        job,
        operation(
            job,
            get=lambda key: s3dlio.get_async(root + key),
            range=lambda item: s3dlio.get_range_async(root + item[0], item[1], item[2]),
        ),
    )


def old_many(job: Job) -> Runner:
    """`get_many` of s3dlio 0.10 on PyPI, the Rust library."""
    import s3dlio

    root = f"{job['scheme']}://{job['bucket']}/"

    def get(items: Iterator[Item], take: Take) -> None:
        while keys := list(islice(items, job["at_once"])):
            for uri, body in s3dlio.get_many([root + key for key in keys], max_in_flight=job["in_flight"]):
                take(uri.removeprefix(root), body)

    return operation(job, get=get)


def checkpoint(job: Job) -> Runner:
    """A checkpoint: `MultipartUploadWriter` to write it in pieces, `get` to read it whole."""
    import s3dlio

    root = f"{job['scheme']}://{job['bucket']}/"
    data = memoryview(content(job))
    piece = job["piece"]

    def write(key: str) -> memoryview:
        with s3dlio.MultipartUploadWriter.from_uri(root + key) as writer:
            for start in range(0, len(data), piece):
                writer.write(data[start : start + piece])
        return data

    return in_threads(job, operation(job, write=write, get=lambda key: s3dlio.get(root + key)))


def content(job: Job) -> bytes:
    """The content of the objects to write: that of a file that the harness has created."""
    if "content" not in job:
        return b""
    with open(job["content"], "rb") as file:
        return file.read()
