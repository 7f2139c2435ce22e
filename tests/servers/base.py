# SPDX-License-Identifier: Apache-2.0
"""The parts that all servers share: free ports, processes that are certain to end, readiness, addresses.

The processes of a server run in separate sessions, so that Ctrl-C in a terminal reaches only the tests, and so that
their own child processes end with them. `Processes.stop` ends them, at the latest when the interpreter exits. If the
interpreter is killed, the kernel ends them (`setpriv --pdeathsig`). They are killed without warning, because their
data is not needed.
"""

from __future__ import annotations

import atexit
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

# Ports are taken from below the range from which the kernel serves outgoing connections (32768 and up):
# thousands of those come and go during the tests.
_PORTS = range(10_240, 22_000)
_ATTEMPTS = 3


class ServerFailed(Exception):
    """A server did not start; the message ends with the last lines of its log."""


@dataclass(frozen=True)
class S3Server:
    """An S3 service that checks signatures.

    Attributes:
        url: The endpoint, for path-style requests, such as http://127.0.0.1:12345.
        ca_file: The certificate authority to trust, if the endpoint is https.
        pids: Its processes, for measuring what they use.
        logs: The folder of its logs.
    """

    name: str
    url: str
    access_key: str
    secret_key: str = field(repr=False)
    pids: tuple[int, ...]
    logs: Path
    region: str = "us-east-1"
    ca_file: Path | None = None

    def environment(self) -> dict[str, str]:
        """The environment variables by which a program finds and uses this server."""
        variables = {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": self.region,
        }
        if self.ca_file:
            variables["AWS_CA_BUNDLE"] = str(self.ca_file)
        return variables


@dataclass(frozen=True)
class AzureServer:
    """A Blob service that checks Shared Key signatures.

    Attributes:
        url: The endpoint with the account's name as its path, such as http://127.0.0.1:12345/account.
        key: The account's key, base64.
    """

    name: str
    url: str
    account: str
    key: str = field(repr=False)
    pids: tuple[int, ...]
    logs: Path

    @property
    def connection_string(self) -> str:
        """The connection string, as the vendor's SDK takes it."""
        return (
            f"DefaultEndpointsProtocol=http;AccountName={self.account};AccountKey={self.key};BlobEndpoint={self.url};"
        )

    def environment(self) -> dict[str, str]:
        """The environment variables by which a program finds and uses this server."""
        return {
            "AZURE_STORAGE_ACCOUNT_NAME": self.account,
            "AZURE_STORAGE_ACCOUNT_KEY": self.key,
            "AZURE_STORAGE_ENDPOINT": self.url,
        }


@dataclass(frozen=True)
class GcsServer:
    """A Cloud Storage service, JSON and XML; it checks no credentials."""

    name: str
    url: str
    project: str
    pids: tuple[int, ...]
    logs: Path

    def environment(self) -> dict[str, str]:
        """The environment variables by which a program finds and uses this server."""
        return {"STORAGE_EMULATOR_HOST": self.url, "GOOGLE_CLOUD_PROJECT": self.project}


@dataclass(frozen=True)
class StaticServer:
    """A plain web server that serves and takes (PUT, DELETE) the files of one folder, and checks nothing.

    Attributes:
        url, tls_url: The endpoints for the files, by http and by https.
        ca_file: The certificate authority to trust for `tls_url`.
        root: The folder; /bucket/key is the file root/bucket/key.
    """

    name: str
    url: str
    tls_url: str
    ca_file: Path
    root: Path
    pids: tuple[int, ...]
    logs: Path

    def environment(self) -> dict[str, str]:
        """The environment variables by which an S3 client uses it; any keys will do."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "any",
            "AWS_SECRET_ACCESS_KEY": "any",
            "AWS_REGION": "us-east-1",
        }


def free_ports(count: int, also: int = 0) -> list[int]:
    """Ports of 127.0.0.1 that nothing listens on.

    Args:
        count: How many.
        also: If not 0, each port plus this number is free as well.
    """
    ports: list[int] = []
    for port in random.sample(_PORTS, len(_PORTS)):
        wanted = {port, port + also}
        if not wanted & {taken + offset for taken in ports for offset in (0, also)} and all(map(_is_free, wanted)):
            ports.append(port)
        if len(ports) == count:
            return ports
    raise ServerFailed(f"there are no {count} free ports between {_PORTS.start} and {_PORTS.stop}")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # as servers do, or a port whose last connections are in TIME_WAIT would count as taken
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


class Processes:
    """The processes of one server, with a scratch folder for their data and their logs."""

    def __init__(self, name: str) -> None:
        self.name = name
        _sweep()
        # not below pytest's own folders: the path of a Unix socket has 107 bytes at most
        self.folder = Path(tempfile.mkdtemp(prefix=f"s3dlio-{name}-{os.getpid()}-"))
        self.logs = self.folder / "logs"
        self.logs.mkdir()
        self._running: list[tuple[str, subprocess.Popen[bytes]]] = []
        self._owner = os.getpid()
        atexit.register(self.stop, keep_logs=False)

    @property
    def pids(self) -> tuple[int, ...]:
        """The process ids, in the order in which they were started."""
        return tuple(process.pid for _, process in self._running)

    def start(self, command: Sequence[str | Path], environment: Mapping[str, str] | None = None, log: str = "") -> None:
        """Starts a process that runs until `stop`.

        Args:
            command: Program and arguments.
            environment: Variables in addition to PATH and a HOME in the scratch folder; it inherits no others.
            log: What its output goes to, without the suffix; by default the server's name.
        """
        log = log or self.name
        # only for the main thread: the kernel's "parent" is the thread that started the process
        guard = ["setpriv", "--pdeathsig", "TERM"] if shutil.which("setpriv") else []
        with (self.logs / f"{log}.log").open("ab") as output:
            process = subprocess.Popen(
                [*guard, *command],
                env=self._environment(environment),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._running.append((log, process))

    def run(self, command: Sequence[str | Path], environment: Mapping[str, str] | None = None) -> None:
        """Runs a process to its end; fails unless its status is 0."""
        with (self.logs / "setup.log").open("ab") as output:
            try:
                subprocess.run(
                    command,
                    env=self._environment(environment),
                    cwd=self.folder,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    timeout=30,
                    check=True,
                )
            except subprocess.SubprocessError as error:
                tails = [self._tail(log) for log in ("setup", *(log for log, _ in self._running))]
                raise ServerFailed("\n".join([str(error), *tails])) from None

    def wait_until(self, ready: Callable[[], bool], seconds: float = 30) -> None:
        """Waits until `ready` says so; an OSError in it counts as not yet.

        Raises:
            ServerFailed: a process ended, or the time is up.
        """
        deadline = time.monotonic() + seconds
        while True:
            for log, process in self._running:
                if process.poll() is not None:
                    raise ServerFailed(f"{log} ended with status {process.returncode}\n{self._tail(log)}")
            with suppress(OSError):
                if ready():
                    return
            if time.monotonic() > deadline:
                tails = "\n".join(self._tail(log) for log, _ in self._running)
                raise ServerFailed(f"{self.name} was not ready after {seconds:.0f} s\n{tails}")
            time.sleep(0.02)

    def stop(self, keep_logs: bool) -> None:
        """Ends all processes and removes the scratch folder, but for the logs if they are to be kept."""
        if os.getpid() != self._owner:  # in a forked child that exits they are the parent's
            return
        atexit.unregister(self.stop)
        for _, process in self._running:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        for _, process in self._running:
            process.wait()
        self._running.clear()
        if not keep_logs:
            shutil.rmtree(self.folder, ignore_errors=True)
            return
        for entry in self.folder.iterdir():
            if entry != self.logs:
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()

    def _environment(self, variables: Mapping[str, str] | None) -> dict[str, str]:
        return {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(self.folder), **(variables or {})}

    def _tail(self, log: str) -> str:
        lines = (self.logs / f"{log}.log").read_text(errors="replace").splitlines()
        return "\n".join([f"--- {log}.log:", *lines[-20:]])


def _sweep() -> None:
    """Removes the data of servers whose program was killed, which may be gigabytes; logs that were kept stay."""
    for folder in Path(tempfile.gettempdir()).glob("s3dlio-*-*-*"):
        owner = folder.name.split("-")[2]
        if owner.isdigit() and not Path("/proc", owner).exists() and len(list(folder.glob("*"))) > 1:
            shutil.rmtree(folder, ignore_errors=True)


def accepts(port: int) -> bool:
    """Whether something accepts connections on this port of 127.0.0.1."""
    with socket.create_connection(("127.0.0.1", port), timeout=1):
        return True


_Address = TypeVar("_Address")


@contextmanager
def running(
    name: str, start: Callable[[Processes], _Address], keep_logs: Callable[[], bool] = lambda: False
) -> Iterator[_Address]:
    """Starts a server for the duration of a `with` block.

    Args:
        start: The `start` of the server's module.
        keep_logs: Asked at the end whether the logs are to stay.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        processes = Processes(name)
        try:
            address = start(processes)
            break
        except ServerFailed:
            # another program may have taken a port since it was found free
            processes.stop(keep_logs=False)
            if attempt == _ATTEMPTS:
                raise
        except BaseException:
            processes.stop(keep_logs=False)
            raise
    try:
        yield address
    finally:
        processes.stop(keep_logs=keep_logs())
