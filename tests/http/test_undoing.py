# SPDX-License-Identifier: Apache-2.0
"""A stopped upload in parts is aborted: after Ctrl-C, when its task is canceled, and at the end of the program.

After Ctrl-C a call ends within two seconds, in which it only aborts the upload, on a connection that is open already. A
second Ctrl-C ends the call immediately.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import socket
import ssl
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import trustme

import s3dlio
from tests.processes import SECONDS, start
from tests.replay import Received, Replay, answer

PARTS = 12 << 20


class Service(Replay):
    """Takes parts for S3 and for Cloud Storage. It holds some requests, and answers others meanwhile.

    Args:
        hold: whether a request has to wait for `release`.
    """

    def __init__(self, hold: Callable[[Received], bool] = lambda _: False) -> None:
        super().__init__(lambda _: b"")
        self.hold = hold
        self.release = threading.Event()
        self.held = threading.Event()
        self.refused = False  # whether the XML API of Cloud Storage is missing

    def __enter__(self) -> Service:
        super().__enter__()
        return self

    def _reply(self, request: Received) -> bytes:
        self.requests.append(request)
        if self.hold(request):
            self.held.set()
            self.release.wait(20)
        if "uploadType=resumable" in request.target:
            if request.method == "DELETE":
                return answer(499)
            return answer(200, headers={"Location": f"{self.url}{request.path}?uploadType=resumable&upload_id=1"})
        if request.method == "POST" and self.refused:
            return answer(501)
        if request.method == "POST":
            name = "Initiate" if "uploads" in request.target else "Complete"
            return answer(200, f"<{name}MultipartUploadResult><UploadId>u</UploadId></{name}MultipartUploadResult>")
        return answer(204 if request.method == "DELETE" else 200, headers={"ETag": '"1"'})

    def use(self, scheme: str) -> str:
        """Make this service the endpoint. Returns the URI of an object."""
        os.environ.update(S3DLIO_PUT_PART_MB="5", S3DLIO_MULTIPART_THRESHOLD_MB="5", S3DLIO_PARTS_IN_FLIGHT="4")
        if scheme == "s3":
            os.environ.update(AWS_ENDPOINT_URL=self.url, AWS_ACCESS_KEY_ID="key", AWS_SECRET_ACCESS_KEY="secret")
        else:
            os.environ.update(GCS_ENDPOINT_URL=self.url, S3DLIO_NO_SIGN="1")
        return f"{scheme}://bucket/key"

    def release_after(self, seconds: float) -> None:
        """Answer the held requests some seconds after the first was held."""
        assert self.held.wait(SECONDS)
        time.sleep(seconds)
        self.release.set()

    def aborted(self) -> int:
        """The number of uploads that were aborted."""
        return len([request for request in self.requests if request.method == "DELETE"])

    def wait_until_aborted(self) -> None:
        deadline = time.monotonic() + 5
        while not self.aborted():
            assert time.monotonic() < deadline, "the upload was not aborted"
            time.sleep(0.01)


def _is_creation(request: Received) -> bool:
    return request.method == "POST"


def _is_part(request: Received) -> bool:
    return request.method == "PUT" and len(request.body) > 10


def _is_abort(request: Received) -> bool:
    return request.method == "DELETE"


def _is_part_or_abort(request: Received) -> bool:
    return _is_part(request) or _is_abort(request)


_PROGRAM = """
    import os, signal, sys, time
    import s3dlio

    times = []

    def on_signal(number, frame):
        times.append(time.monotonic())
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, on_signal)
    call, uri, path = sys.argv[1:4]
    data = bytes(12 << 20)
    try:
        if call == "put_bytes":
            s3dlio.put_bytes(uri, data)
        elif call == "upload":
            s3dlio.upload(path, uri)
        elif call == "tree":
            s3dlio.upload(path + ".tree", uri, recursive=True)
        elif call == "close":
            with s3dlio.MultipartUploadWriter.from_uri(uri) as writer:
                writer.write(data[: 9 << 20])
        else:
            with s3dlio.MultipartUploadWriter.from_uri(uri) as writer:
                writer.write(data)
    except KeyboardInterrupt:
        print(time.monotonic() - times[-1], flush=True)
"""

CALLS = ["put_bytes", "upload", "write", "close"]
SEVERAL = [*CALLS, "tree"]


def _interrupted(service: Service, call: str, uri: str, folder: Path, again: float | None = None) -> float:
    """Interrupt a call while the service holds it. Returns the seconds from the last Ctrl-C to its end.

    Args:
        again: seconds after which a second Ctrl-C follows.
    """
    path = folder / "file"
    path.write_bytes(bytes(PARTS))
    tree = folder / "file.tree"
    tree.mkdir()
    for number in range(30):  # after a few small files several threads are at work
        (tree / f"{number}").write_bytes(bytes(PARTS if number >= 20 else 10))
    program = start(_PROGRAM, call, uri, str(path))
    assert service.held.wait(SECONDS)
    time.sleep(0.2)
    program.send_signal(signal.SIGINT)
    if again is not None:
        time.sleep(again)
        program.send_signal(signal.SIGINT)
    output, errors = program.communicate(timeout=SECONDS)
    assert errors == ""
    return float(output)


@pytest.mark.parametrize(("scheme", "call"), [*itertools.product(["s3"], SEVERAL), *itertools.product(["gs"], CALLS)])
def test_ctrl_c_while_parts_are_sent_aborts_the_upload(scheme: str, call: str, tmp_path: Path) -> None:
    with Service(_is_part) as service:
        assert _interrupted(service, call, service.use(scheme), tmp_path) < 0.5
        service.wait_until_aborted()
        service.release.set()


@pytest.mark.parametrize(
    ("scheme", "refused", "call"),
    [
        *itertools.product(["s3", "gs"], [False], CALLS),
        *itertools.product(["gs"], [True], ["upload", "write", "close"]),  # where put_bytes is one request
    ],
)
def test_ctrl_c_while_an_upload_is_created_waits_for_its_id_and_aborts_it(
    scheme: str, refused: bool, call: str, tmp_path: Path
) -> None:
    with Service(lambda request: _is_creation(request) and (not refused or "resumable" in request.target)) as service:
        service.refused = refused
        uri = service.use(scheme)
        with ThreadPoolExecutor(1) as executor:
            releasing = executor.submit(service.release_after, 0.7)
            assert 0.2 < _interrupted(service, call, uri, tmp_path) < 2
            releasing.result()
        service.wait_until_aborted()
    assert [request.method for request in service.requests if request.method == "PUT"] == []


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("hold", [_is_creation, _is_part_or_abort])
def test_ctrl_c_waits_at_most_two_seconds_for_a_silent_service(
    hold: Callable[[Received], bool], call: str, tmp_path: Path
) -> None:
    with Service(hold) as service:
        assert 1.8 < _interrupted(service, call, service.use("s3"), tmp_path) < 2.5
        service.release.set()


@pytest.mark.parametrize("call", SEVERAL)
def test_a_second_ctrl_c_ends_the_call_immediately(call: str, tmp_path: Path) -> None:
    with Service(_is_part_or_abort) as service:
        assert _interrupted(service, call, service.use("s3"), tmp_path, again=0.5) < 0.3
        service.release.set()


class Slow(Service):
    """The service over https. Once a part is on its way, new connections take long to open."""

    def __init__(self, folder: Path) -> None:
        super().__init__(_is_part)
        authority = trustme.CA()
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("127.0.0.1").configure_cert(self._context)
        authority.cert_pem.write_to_path(folder / "ca.pem")
        os.environ["AWS_CA_BUNDLE"] = str(folder / "ca.pem")
        self.url = self.url.replace("http:", "https:")

    def __enter__(self) -> Slow:
        super().__enter__()
        return self

    def _serve(self, connection: socket.socket) -> None:
        if self.held.is_set():
            self.release.wait(20)
        try:
            secure = self._context.wrap_socket(connection, server_side=True)
        except OSError:
            return
        super()._serve(secure)


@pytest.mark.parametrize("call", CALLS)
def test_an_upload_is_aborted_on_an_open_connection(call: str, tmp_path: Path) -> None:
    with Slow(tmp_path) as service:
        uri = service.use("s3")
        assert _interrupted(service, call, uri, tmp_path) < 0.5
        service.wait_until_aborted()
        service.release.set()


@pytest.mark.parametrize(
    ("scheme", "refused", "verb"),
    [*itertools.product(["s3", "gs"], [False], ["put", "upload"]), ("gs", True, "upload")],
)
def test_a_task_that_is_canceled_while_an_upload_is_created_aborts_it(
    scheme: str, refused: bool, verb: str, tmp_path: Path
) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(PARTS))

    async def work() -> None:
        call = s3dlio.put_bytes_async(uri, bytes(PARTS)) if verb == "put" else s3dlio.upload_async(path, uri)
        task = asyncio.create_task(call)
        assert await asyncio.to_thread(service.held.wait, SECONDS)
        task.cancel()
        asyncio.get_running_loop().call_later(0.3, service.release.set)
        with pytest.raises(asyncio.CancelledError):
            await task
        service.wait_until_aborted()

    with Service(lambda request: _is_creation(request) and (not refused or "resumable" in request.target)) as service:
        service.refused = refused
        uri = service.use(scheme)
        asyncio.run(work())
    assert [request.method for request in service.requests if request.method == "PUT"] == []


_LEFT_OPEN = {
    "in a global": "writer = open_writer()",
    "unreferenced": "gc.disable()\nnode = [open_writer()]\nnode.append(node)\ndel node",
    "in a module": "import types\nkept = sys.modules['kept'] = types.ModuleType('kept')\nkept.writer = open_writer()",
    "in a function that exits": "def work():\n    writer = open_writer()\n    sys.exit(0)\nwork()",
    "in a default argument": "def work(writer=open_writer()): pass",
    "several": "writers = [open_writer() for _ in range(5)]",
}


@pytest.mark.parametrize("left", _LEFT_OPEN.values(), ids=_LEFT_OPEN.keys())
@pytest.mark.parametrize("scheme", ["s3", "gs", "file", "direct"])
def test_a_writer_that_is_open_at_the_end_of_the_program_is_aborted(scheme: str, left: str, tmp_path: Path) -> None:
    with Service() as service:
        uri = service.use(scheme) if scheme in ("s3", "gs") else f"{scheme}://{tmp_path}/object"
        program = start(
            "import gc, sys\nimport s3dlio\n"
            "def open_writer():\n"
            f"    writer = s3dlio.MultipartUploadWriter.from_uri({uri!r})\n"
            f"    writer.write(bytes({PARTS}))\n"
            "    return writer\n" + left
        )
        output, errors = program.communicate(timeout=SECONDS)
        assert (output, errors, program.returncode) == ("", "", 0)
        if scheme in ("s3", "gs"):
            assert service.aborted() == (5 if "range(5)" in left else 1)
    assert list(tmp_path.iterdir()) == []


def test_the_end_of_a_program_waits_at_most_two_seconds_for_a_silent_service() -> None:
    with Service(_is_abort) as service:
        uri = service.use("s3")
        program = start(
            "import time, s3dlio\n"
            f"writers = [s3dlio.MultipartUploadWriter.from_uri({uri!r}) for _ in range(3)]\n"
            f"for writer in writers: writer.write(bytes({PARTS}))\n"
            "print(time.monotonic(), flush=True)\n"
        )
        output, errors = program.communicate(timeout=SECONDS)
        assert time.monotonic() - float(output) < 3
        assert "cannot remove what was written" in errors
        assert "Traceback" not in errors
        service.release.set()
