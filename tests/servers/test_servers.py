# SPDX-License-Identifier: Apache-2.0
"""Each server starts, serves the vendor's own SDK, and refuses a wrong secret where it looks at signatures.

The SDKs are what the rest of the tests compare with, so this also shows that they work against these servers.
"""

from __future__ import annotations

import base64
import ssl
import urllib.error
import urllib.request
from dataclasses import replace
from typing import Any

import botocore.exceptions
import botocore.session
import pytest
from azure.core.exceptions import HttpResponseError
from azure.storage.blob import BlobServiceClient
from botocore.config import Config
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from tests.servers.base import AzureServer, GcsServer, S3Server, StaticServer

_BODY = bytes(range(256)) * 1000


def _s3_client(server: S3Server) -> Any:
    return botocore.session.get_session().create_client(
        "s3",
        endpoint_url=server.url,
        region_name=server.region,
        aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret_key,
        verify=str(server.ca_file) if server.ca_file else None,
        config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}),
    )


@pytest.fixture(params=["seaweedfs", "seaweedfs_tls", "ceph"])
def s3_server(request: pytest.FixtureRequest) -> S3Server:
    server = request.getfixturevalue(request.param)
    assert isinstance(server, S3Server)
    return server


def test_s3_server_stores_lists_and_returns_an_object(s3_server: S3Server) -> None:
    client = _s3_client(s3_server)
    bucket = f"smoke-{s3_server.name.replace('_', '-')}"
    client.create_bucket(Bucket=bucket)
    client.put_object(Bucket=bucket, Key="folder/object", Body=_BODY)

    assert client.get_object(Bucket=bucket, Key="folder/object")["Body"].read() == _BODY
    assert [entry["Key"] for entry in client.list_objects_v2(Bucket=bucket)["Contents"]] == ["folder/object"]

    client.delete_object(Bucket=bucket, Key="folder/object")
    client.delete_bucket(Bucket=bucket)


def test_s3_server_refuses_a_wrong_secret(s3_server: S3Server) -> None:
    client = _s3_client(replace(s3_server, secret_key="not the secret"))

    with pytest.raises(botocore.exceptions.ClientError) as refused:
        client.list_buckets()

    assert refused.value.response["Error"]["Code"] == "SignatureDoesNotMatch"


def test_tls_endpoint_is_refused_without_its_authority(seaweedfs_tls: S3Server) -> None:
    with pytest.raises(botocore.exceptions.SSLError):
        _s3_client(replace(seaweedfs_tls, ca_file=None)).list_buckets()


@pytest.mark.parametrize("name", ["seaweedfs_tls", "nginx"])
def test_certificates_satisfy_the_strict_checks_of_python_3_13(name: str, request: pytest.FixtureRequest) -> None:
    server = request.getfixturevalue(name)
    context = ssl.create_default_context(cafile=server.ca_file)
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    url = server.tls_url if isinstance(server, StaticServer) else server.url

    with pytest.raises(urllib.error.HTTPError) as answer:
        urllib.request.urlopen(url, context=context, timeout=5)

    assert answer.value.code == 403  # an answer of the server: the handshake was accepted
    answer.value.close()


def test_azurite_stores_lists_and_returns_a_blob(azurite: AzureServer) -> None:
    with BlobServiceClient.from_connection_string(azurite.connection_string) as service:
        container = service.create_container("smoke")
        container.upload_blob("folder/object", _BODY)

        assert container.download_blob("folder/object").readall() == _BODY
        assert [blob.name for blob in container.list_blobs()] == ["folder/object"]

        container.delete_container()


def test_azurite_refuses_a_wrong_key(azurite: AzureServer) -> None:
    wrong = replace(azurite, key=base64.b64encode(b"not the key").decode())

    with (
        BlobServiceClient.from_connection_string(wrong.connection_string, retry_total=0) as service,
        pytest.raises(HttpResponseError) as refused,
    ):
        service.get_account_information()

    assert refused.value.status_code == 403


def test_fake_gcs_stores_lists_and_returns_an_object(fake_gcs: GcsServer) -> None:
    client = storage.Client(
        project=fake_gcs.project,
        credentials=AnonymousCredentials(),
        client_options={"api_endpoint": fake_gcs.url},
    )
    bucket = client.create_bucket("smoke")
    bucket.blob("folder/object").upload_from_string(_BODY)

    assert bucket.blob("folder/object").download_as_bytes() == _BODY
    assert [blob.name for blob in client.list_blobs("smoke")] == ["folder/object"]

    bucket.delete(force=True)
    client.close()


def test_nginx_stores_and_returns_a_file_by_http_and_https(nginx: StaticServer) -> None:
    put = urllib.request.Request(f"{nginx.url}/bucket/folder/object", data=_BODY, method="PUT")
    with urllib.request.urlopen(put, timeout=5) as answer:
        assert answer.status == 201
        assert answer.headers["ETag"]
    assert (nginx.root / "bucket" / "folder" / "object").read_bytes() == _BODY

    context = ssl.create_default_context(cafile=nginx.ca_file)
    for url, tls in ((nginx.url, None), (nginx.tls_url, context)):
        with urllib.request.urlopen(f"{url}/bucket/folder/object", timeout=5, context=tls) as answer:
            assert answer.read() == _BODY
