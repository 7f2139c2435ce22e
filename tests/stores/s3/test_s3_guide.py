# SPDX-License-Identifier: Apache-2.0
"""The snippets of the integration guide for S3 run as they are printed, against a server on this machine.

Only hosts, credentials and the files to read are replaced, by the table `substitutions`.
"""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

import s3dlio
from s3dlio.runtime.run import run
from s3dlio.transfer.stores import store_for
from s3dlio.uri import parse
from tests.faults.proxy import FaultProxy
from tests.servers.base import S3Server
from tests.test_integration_snippet import SNIPPET as TESTING

ENVIRONMENT = """
export AWS_ACCESS_KEY_ID=your_key
export AWS_SECRET_ACCESS_KEY=your_secret
export AWS_REGION=us-east-1
export AWS_ENDPOINT_URL=http://minio:9000  # For custom endpoints
"""

ENDPOINTS = """
# Configure multiple endpoints via environment
import os
os.environ['S3_ENDPOINT_URIS'] = 'http://node1:9000,http://node2:9000,http://node3:9000'
os.environ['S3_LOAD_BALANCE_STRATEGY'] = 'round_robin'  # or 'least_connections'
"""

TUNING = """
import s3dlio

# Configure logging level (reduce noise in production)
s3dlio.init_logging("warn")  # Options: trace, debug, info, warn, error

# For maximum throughput, use async APIs
import asyncio

async def read_batch(uris):
    return await s3dlio.get_many_async(uris)

# Run async code
data = asyncio.run(read_batch(file_uris))
"""

TESTED = """\
Data shape: (100, 100)
Files: ['s3://my-bucket/test.npy']
Exists: True
Size: 80128 bytes
"""


def substitutions(server: S3Server, *nodes: str) -> dict[str, str]:
    """What the guide prints -> what is run."""
    return {
        "your_key": server.access_key,
        "your_secret": server.secret_key,
        "http://minio:9000": server.url,
        "(file_uris)": '(s3dlio.list("s3://my-bucket/files"))',
        **{f"http://node{number}:9000": url for number, url in enumerate(nodes, 1)},
    }


@pytest.fixture(params=["seaweedfs", "ceph"])
def server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """A server with an empty bucket `my-bucket`."""
    found: S3Server = request.getfixturevalue(request.param)
    for name, value in found.environment().items():
        monkeypatch.setenv(name, value)
    store, bucket = store_for("s3"), parse("s3://my-bucket")
    run(store.make_bucket(bucket))
    s3dlio.delete(bucket.text, recursive=True)
    run(store.remove_bucket(bucket))  # SeaweedFS would still list the empty folders
    run(store.make_bucket(bucket))
    for name in found.environment():
        monkeypatch.delenv(name)
    return found


def _written(folder: Path, table: dict[str, str], *programs: str) -> str:
    """What Python snippets, one after the other in one program, write with the environment of the guide."""
    program, environment = "".join(programs), ENVIRONMENT
    for printed, here in table.items():
        program, environment = program.replace(printed, here), environment.replace(printed, here)
    (folder / "program.py").write_text(program)
    done = subprocess.run(
        ["bash", "-euc", f'{environment}exec "$0" program.py', sys.executable],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    return done.stdout


def test_the_installation_is_tested(server: S3Server, tmp_path: Path) -> None:
    assert _written(tmp_path, substitutions(server), TESTING) == TESTED


def test_a_batch_is_read_with_the_async_api(server: S3Server, tmp_path: Path) -> None:
    files = 's3dlio.put_many((f"s3://my-bucket/files/{n}", b"x" * n) for n in range(100))\n'
    report = "print(len(data), sum(len(content) for _, content in data))\n"
    written = _written(tmp_path, substitutions(server), "import s3dlio\n", files, TUNING, report)
    assert written == "100 4950\n"


@pytest.mark.parametrize("strategy", ["round_robin", "least_connections"])
def test_several_endpoints_share_the_work(server: S3Server, tmp_path: Path, strategy: str) -> None:
    with ExitStack() as stack:
        nodes = [stack.enter_context(FaultProxy(server.url)) for _ in range(3)]
        endpoints = ENDPOINTS.replace("'round_robin'", f"'{strategy}'")
        table = substitutions(server, *(node.url for node in nodes))
        assert _written(tmp_path, table, endpoints, TESTING) == TESTED
        counts = [sum(node.requests.values()) for node in nodes]
    assert sum(counts) == 6  # put, get, list, exists, stat, delete
    assert min(counts) >= 1
