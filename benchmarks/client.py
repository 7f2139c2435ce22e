"""One client reading one set of objects: the part of a benchmark that runs in the client's own process.

Usage: python client.py CLIENT, with a job as JSON on standard input; prints its figures as JSON. It runs in the virtual
environment of that client and imports nothing else but the standard library. Every client does the same: read each
object once to warm up and to check its CRC-32, then, timed, all of them `repeat` times, letting go of each object as
soon as it has come. CPU time is the whole process's, threads of a runtime included.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
import time
import zlib
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

# Reads the objects of these keys and calls the function with each one's key and bytes.
Reader = Callable[[list[str], Callable[[str, Any], None]], None]


def s3dlio_get_many(job: dict[str, Any]) -> Reader:
    """This project: `get_many`, as many objects in a call as there may be in memory."""
    import s3dlio

    def read(keys: list[str], take: Callable[[str, Any], None]) -> None:
        uris = [f"{job['scheme']}://{job['bucket']}/{key}" for key in keys]
        for start in range(0, len(uris), job["at_once"]):
            for uri, data in s3dlio.get_many(uris[start : start + job["at_once"]], job["in_flight"]):
                take(uri.rpartition("/")[2], data)

    return read


def s3dlio_get_many_iter(job: dict[str, Any]) -> Reader:
    """This project: `get_many_iter`."""
    import s3dlio

    def read(keys: list[str], take: Callable[[str, Any], None]) -> None:
        uris = (f"s3://{job['bucket']}/{key}" for key in keys)
        for uri, data in s3dlio.get_many_iter(uris, job["in_flight"], ordered=False):
            take(uri.rpartition("/")[2], data)
            del data

    return read


def s3dlio_get(job: dict[str, Any]) -> Reader:
    """`get` in threads; this project, or the Rust library of the same name in an environment of its own."""
    import s3dlio

    return _in_threads(job, lambda key: s3dlio.get(f"s3://{job['bucket']}/{key}"))


def s3dlio_010_get_many(job: dict[str, Any]) -> Reader:
    """PyPI's s3dlio 0.10, the Rust library: `get_many`."""
    import s3dlio

    def read(keys: list[str], take: Callable[[str, Any], None]) -> None:
        uris = [f"s3://{job['bucket']}/{key}" for key in keys]
        for start in range(0, len(uris), job["at_once"]):
            found = s3dlio.get_many(uris[start : start + job["at_once"]], max_in_flight=job["in_flight"])
            for uri, data in found:
                take(uri.rpartition("/")[2], data)

    return read


def _obstore(job: dict[str, Any]) -> Any:
    from obstore.store import AzureStore, GCSStore, S3Store

    options = {"allow_http": True}
    if job["scheme"] == "az":
        return AzureStore(
            job["bucket"],
            account_name=os.environ["AZURE_STORAGE_ACCOUNT_NAME"],
            account_key=os.environ["AZURE_STORAGE_ACCOUNT_KEY"],
            endpoint=os.environ["AZURE_STORAGE_ENDPOINT"],
            client_options=options,
        )
    if job["scheme"] == "gs":
        emulator = {"gcs_base_url": job["endpoint"], "disable_oauth": True, "client_email": "", "private_key": ""}
        return GCSStore(
            job["bucket"],
            service_account_key=json.dumps({**emulator, "private_key_id": ""}),
            client_options=options,
        )
    return S3Store(
        job["bucket"],
        endpoint=job["endpoint"],
        region="us-east-1",
        access_key_id=os.environ["AWS_ACCESS_KEY_ID"],
        secret_access_key=os.environ["AWS_SECRET_ACCESS_KEY"],
        client_options=options,
        virtual_hosted_style_request=False,
    )


def obstore_threads(job: dict[str, Any]) -> Reader:
    """obstore (Rust, object_store) in threads."""
    store = _obstore(job)
    return _in_threads(job, lambda key: store.get(key).bytes())


def obstore_asyncio(job: dict[str, Any]) -> Reader:
    """obstore with asyncio."""
    store = _obstore(job)

    async def one(key: str) -> Any:
        return await (await store.get_async(key)).bytes_async()

    return _with_asyncio(job, one)


def opendal_threads(job: dict[str, Any]) -> Reader:
    """opendal (Rust) in threads."""
    import opendal

    operator = opendal.Operator(
        "s3",
        bucket=job["bucket"],
        endpoint=job["endpoint"],
        region="us-east-1",
        access_key_id=os.environ["AWS_ACCESS_KEY_ID"],
        secret_access_key=os.environ["AWS_SECRET_ACCESS_KEY"],
        disable_config_load="true",
        disable_ec2_metadata="true",
    )
    return _in_threads(job, operator.read)


def s3torchconnector_threads(job: dict[str, Any]) -> Reader:
    """s3torchconnector (AWS CRT) in threads."""
    from s3torchconnector import S3ClientConfig
    from s3torchconnector._s3client import S3Client

    client = S3Client(
        region="us-east-1", endpoint=job["endpoint"], s3client_config=S3ClientConfig(force_path_style=True)
    )
    return _in_threads(job, lambda key: client.get_object(job["bucket"], key).read())


def _in_threads(job: dict[str, Any], get: Callable[[str], Any]) -> Reader:
    def read(keys: list[str], take: Callable[[str, Any], None]) -> None:
        with ThreadPoolExecutor(job["in_flight"]) as threads:
            for _ in threads.map(lambda key: take(key, get(key)), keys):
                pass

    return read


def _with_asyncio(job: dict[str, Any], get: Callable[[str], Any]) -> Reader:
    def read(keys: list[str], take: Callable[[str, Any], None]) -> None:
        async def work(left: Iterable[str]) -> None:
            for key in left:
                take(key, await get(key))

        async def all_of_them() -> None:
            left = iter(keys)
            await asyncio.gather(*(work(left) for _ in range(job["in_flight"])))

        asyncio.run(all_of_them())

    return read


CLIENTS: dict[str, Callable[[dict[str, Any]], Reader]] = {
    "s3dlio get_many": s3dlio_get_many,
    "s3dlio get_many_iter": s3dlio_get_many_iter,
    "s3dlio get, threads": s3dlio_get,
    "s3dlio 0.10 get_many": s3dlio_010_get_many,
    "s3dlio 0.10 get, threads": s3dlio_get,
    "obstore, threads": obstore_threads,
    "obstore, asyncio": obstore_asyncio,
    "opendal, threads": opendal_threads,
    "s3torchconnector, threads": s3torchconnector_threads,
}


def measure(job: dict[str, Any], read: Reader) -> dict[str, float]:
    """Check every object, then read them all `repeat` times and measure that."""
    checked: dict[str, int] = {}
    read(list(job["objects"]), lambda key, data: checked.__setitem__(key, zlib.crc32(data)))
    if checked != job["objects"]:
        wrong = [key for key, value in job["objects"].items() if checked.get(key) != value]
        raise SystemExit(f"wrong bytes in {len(wrong)} objects, the first {wrong[0]}")
    keys = list(job["objects"]) * job["repeat"]
    seen: list[int] = []
    before = resource.getrusage(resource.RUSAGE_SELF)
    began = time.perf_counter()
    read(keys, lambda _, data: seen.append(len(data)))
    seconds = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_SELF)
    if len(seen) != len(keys):
        raise SystemExit(f"{len(seen)} objects came where {len(keys)} were asked for")
    return {
        "seconds": seconds,
        "user": after.ru_utime - before.ru_utime,
        "system": after.ru_stime - before.ru_stime,
        "bytes": sum(seen),
        "objects": len(seen),
        "peak_mib": after.ru_maxrss / 1024,
    }


def in_child(job: dict[str, Any], make: Callable[[dict[str, Any]], Reader]) -> dict[str, float]:
    """Use the client, fork, and measure in the child: what a DataLoader worker gets."""
    make(job)(list(job["objects"])[:8], lambda _key, _data: None)
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        figures = measure(job, make(job))
        os.write(writer, json.dumps(figures).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        text = answer.read()
    os.waitpid(child, 0)
    if not text:
        raise SystemExit("the forked child ended without an answer")
    figures = json.loads(text)
    assert isinstance(figures, dict)
    return figures


def main() -> None:
    """Do the job and print its figures."""
    job = json.load(sys.stdin)
    make = CLIENTS[sys.argv[1]]
    figures = in_child(job, make) if job.get("fork") else measure(job, make(job))
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
