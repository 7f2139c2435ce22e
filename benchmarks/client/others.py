# SPDX-License-Identifier: Apache-2.0
"""The peers: obstore, opendal, s3torchconnector and boto3, each used as its documentation recommends."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

from benchmarks.client.ours import content
from benchmarks.client.work import Job, Runner, in_threads, operation, with_asyncio


def obstore_store(job: Job) -> Any:
    """The obstore store for the bucket of a job, on S3, Azure or Google Cloud Storage."""
    from obstore.store import AzureStore, GCSStore, S3Store

    options: dict[str, Any] = {"allow_http": True, "timeout": "300s"}
    if job["ca_file"]:
        options["root_certificate"] = Path(job["ca_file"]).read_bytes()
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
        account = json.dumps({**emulator, "private_key_id": ""})
        return GCSStore(job["bucket"], service_account_key=account, client_options=options)
    return S3Store(
        job["bucket"],
        endpoint=job["endpoint"],
        region="us-east-1",
        access_key_id=os.environ["AWS_ACCESS_KEY_ID"],
        secret_access_key=os.environ["AWS_SECRET_ACCESS_KEY"],
        client_options=options,
        virtual_hosted_style_request=False,
    )


def obstore_threads(job: Job) -> Runner:
    """obstore (Rust, object_store) in threads."""
    store = obstore_store(job)
    data = content(job)

    def write(key: str) -> bytes:
        store.put(key, data)  # in parts of 5 MiB, 12 at a time
        return data

    return in_threads(
        job,
        operation(
            job,
            get=lambda key: store.get(key).bytes(),
            range=lambda item: store.get_range(item[0], start=item[1], length=item[2]),
            put=lambda key: store.put(key, data),
            write=write,
            list=lambda _: [entry["path"] for page in store.list(chunk_size=1000) for entry in page],
        ),
    )


def obstore_asyncio(job: Job) -> Runner:
    """obstore with asyncio."""
    store = obstore_store(job)
    data = content(job)

    async def get(key: str) -> Any:
        return await (await store.get_async(key)).bytes_async()

    async def listing(_: str) -> list[str]:
        return [entry["path"] async for page in store.list(chunk_size=1000) for entry in page]

    return with_asyncio(
        job,
        operation(
            job,
            get=get,
            range=lambda item: store.get_range_async(item[0], start=item[1], length=item[2]),
            put=lambda key: store.put_async(key, data),
            list=listing,
        ),
    )


def opendal_threads(job: Job) -> Runner:
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
    data = content(job)
    return in_threads(
        job,
        operation(
            job,
            get=operator.read,
            range=lambda item: operator.read(item[0], offset=item[1], size=item[2]),
            put=lambda key: operator.write(key, data),
            list=lambda _: [entry.path for entry in operator.list("", recursive=True)],
        ),
    )


def s3torchconnector_threads(job: Job) -> Runner:
    """s3torchconnector (AWS CRT) in threads."""
    from s3torchconnector import S3ClientConfig, S3ReaderConstructor
    from s3torchconnector._s3client import S3Client

    config = S3ClientConfig(force_path_style=True)
    client = S3Client(region="us-east-1", endpoint=job["endpoint"], s3client_config=config)
    data = memoryview(content(job))
    # The default reader reads the whole object up to the range; this reader requests only the range.
    ranged = S3ReaderConstructor.range_based(buffer_size=0)

    def read_range(item: Any) -> bytes:
        reader = client.get_object(job["bucket"], item[0], reader_constructor=ranged)
        reader.seek(item[1])
        piece: bytes = reader.read(item[2])
        return piece

    def write(key: str) -> memoryview:
        writer = client.put_object(job["bucket"], key)
        for start in range(0, len(data), job["piece"]):
            writer.write(data[start : start + job["piece"]])
        writer.close()
        return data

    return in_threads(
        job,
        operation(
            job,
            get=lambda key: client.get_object(job["bucket"], key).read(),
            range=read_range,
            put=write,
            write=write,
            list=lambda _: [entry.key for page in client.list_objects(job["bucket"]) for entry in page.object_info],
        ),
    )


def boto3_threads(job: Job) -> Runner:
    """boto3: its low-level client in threads, and its transfer manager for objects in parts."""
    import boto3
    from boto3.s3.transfer import TransferConfig
    from botocore.config import Config

    # By default boto3 sends a body over TLS in chunks with a trailer, which a web server would store as it is.
    config = Config(
        max_pool_connections=job["in_flight"],
        request_checksum_calculation="when_required",
        s3={"addressing_style": "path", "payload_signing_enabled": False},
    )
    client = boto3.client("s3", endpoint_url=job["endpoint"], region_name="us-east-1", config=config)
    bucket, data = job["bucket"], content(job)

    def read_range(item: Any) -> bytes:
        asked = f"bytes={item[1]}-{item[1] + item[2] - 1}"
        body: bytes = client.get_object(Bucket=bucket, Key=item[0], Range=asked)["Body"].read()
        return body

    def write(key: str) -> bytes:
        client.upload_fileobj(io.BytesIO(data), bucket, key, Config=TransferConfig(multipart_chunksize=job["piece"]))
        return data

    def listing(_: str) -> list[str]:
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
        return [entry["Key"] for page in pages for entry in page["Contents"]]

    return in_threads(
        job,
        operation(
            job,
            get=lambda key: client.get_object(Bucket=bucket, Key=key)["Body"].read(),
            range=read_range,
            put=lambda key: client.put_object(Bucket=bucket, Key=key, Body=data),
            write=write,
            list=listing,
        ),
    )
