# SPDX-License-Identifier: Apache-2.0
"""Runs scenarios: each client in its own process, in turns, round by round.

If a client fails, or lacks the operation of a scenario, the report shows its message, and the client takes no further
part in that scenario. The run fails, at its end, only if s3dlio failed.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from benchmarks import dlio, fio, machine, objects, peers, servers
from benchmarks.objects import Objects
from benchmarks.scenarios import MIB, Scenario
from benchmarks.servers import NotHere, World
from benchmarks.state import Figures, State

_PIECE = 32 * MIB  # the pieces in which a checkpoint is written
_LONGEST = 300  # seconds after which a client is killed
_STARTS: dict[str, Callable[[Path, list[Objects]], AbstractContextManager[World]]] = {
    "nginx": servers.static,
    "throttled": servers.throttled,
    "sink": lambda _root, _objects: servers.sink(),
}
# Seconds for starting a client and for its checked pass, roughly; for the estimate of the time left.
_OVERHEAD = 1.2


class ClientFailed(Exception):
    """A client failed or transferred wrong bytes. The message ends with what the client wrote."""


class Runner:
    """The scenarios of one run.

    Attributes:
        failures: a line for each failure of s3dlio.
    """

    def __init__(self, scenarios: list[Scenario], rounds: int, state: State, source: Path | None) -> None:
        """
        Args:
            scenarios: the scenarios to run, in this order.
            rounds: rounds of each scenario.
            state: keeps the figures.
            source: a checkout of DLIO's main branch, or None.
        """
        self._scenarios = scenarios
        self._rounds = rounds
        self._state = state
        self._source = source
        self._began = time.monotonic()
        self._seconds_left = sum(
            expected(one, self._rounds_of(one))
            for one in scenarios
            if any(not self._done(one, client) for client in one.clients)
        )
        self.failures: list[str] = []

    def run(self, finished: Callable[[Scenario], None]) -> None:
        """Run everything for which `state` has no figures.

        Args:
            finished: called with each scenario after its last round.
        """
        with tempfile.TemporaryDirectory(prefix=f"s3dlio-bench-{os.getpid()}-") as folder:
            root = Path(folder)
            for server in ("nginx", "sink", "throttled", "seaweedfs", "ceph", "none"):
                mine = [one for one in self._scenarios if one.server == server]
                for one in mine:
                    if all(self._done(one, client) for client in one.clients):
                        finished(one)
                left = [one for one in mine if not all(self._done(one, client) for client in one.clients)]
                if left:
                    self._with_server(server, left, root, finished)

    def _rounds_of(self, scenario: Scenario) -> int:
        return min(self._rounds, scenario.rounds)

    def _done(self, scenario: Scenario, client: str) -> bool:
        first = self._state.get(scenario.name, client, 0)
        if first is not None and "failed" in first:
            return True
        return self._state.get(scenario.name, client, self._rounds_of(scenario) - 1) is not None

    def _with_server(
        self, server: str, scenarios: list[Scenario], root: Path, finished: Callable[[Scenario], None]
    ) -> None:
        if server in ("seaweedfs", "ceph", "none"):
            for scenario in scenarios:
                self._scenario(scenario, root, None, None)
                finished(scenario)
            return
        self._say(f"making the objects of {len(scenarios)} scenarios")
        made = {one.name: objects.make(root, one) for one in scenarios}
        all_objects = list(made.values())
        try:
            with _STARTS[server](root, all_objects) as world:
                for scenario in scenarios:
                    self._scenario(scenario, root, made[scenario.name], world)
                    finished(scenario)
        except NotHere as error:
            for scenario in scenarios:
                for client in scenario.clients:
                    self._state.add(scenario.name, client, 0, {"failed": str(error)})
                finished(scenario)

    # One scenario...

    def _scenario(self, scenario: Scenario, root: Path, made: Objects | None, world: World | None) -> None:
        rounds = self._rounds_of(scenario)
        with self._prepared(scenario, root, made, world) as run:
            for number in range(rounds):
                for client in _turns(scenario.clients, number):
                    if self._state.get(scenario.name, client, number) or self._failed(scenario, client):
                        continue
                    self._say(f"{scenario.name}: round {number + 1} of {rounds}, {client}")
                    began = time.monotonic()
                    try:
                        figures = run(client)
                    except (ClientFailed, NotHere, RuntimeError, OSError, subprocess.SubprocessError) as error:
                        figures = {"failed": str(error).strip()[-600:]}
                        if client == scenario.clients[0] and not isinstance(error, NotHere):
                            self.failures.append(f"{scenario.name}, {client}: {figures['failed']}")
                    figures["took"] = time.monotonic() - began
                    # A failure in a later round counts as a failure of the client: the median needs all rounds.
                    self._state.add(scenario.name, client, 0 if "failed" in figures else number, figures)
                    self._seconds_left -= expected(scenario, rounds) / rounds / len(scenario.clients)

    def _failed(self, scenario: Scenario, client: str) -> bool:
        first = self._state.get(scenario.name, client, 0)
        return first is not None and "failed" in first

    @contextmanager
    def _prepared(
        self, scenario: Scenario, root: Path, made: Objects | None, world: World | None
    ) -> Iterator[Callable[[str], Figures]]:
        """Prepare what a scenario needs. Yields the function that runs a client."""
        if scenario.operation == "dlio":
            folder = Path(tempfile.mkdtemp(dir=root))
            if scenario.server == "ceph":
                with servers.store("ceph", dlio.BUCKET) as ceph:
                    yield lambda client: dlio.train(client, scenario, ceph, _below(folder, client), self._source)
            else:
                yield lambda client: dlio.train(client, scenario, None, _below(folder, client), self._source)
            shutil.rmtree(folder)
        elif world is not None and made is not None:
            yield lambda client: run_client(client, scenario, root, made, world)
        else:
            with self._without_nginx(scenario, root, objects.make(root, scenario)) as run:
                yield run

    @contextmanager
    def _without_nginx(self, scenario: Scenario, root: Path, made: Objects) -> Iterator[Callable[[str], Figures]]:
        if scenario.server == "none":
            (root / made.bucket).mkdir(exist_ok=True)
            yield lambda client: _on_files(client, scenario, root, made)
            shutil.rmtree(root / made.bucket)
        elif scenario.operation == "write":
            # Each client gets a new server, because SeaweedFS frees the space of deleted objects late.
            yield lambda client: _write_to_weed(client, scenario, root, made)
        else:
            with servers.store("seaweedfs", made.bucket) as weed:
                for key in made.checksums:
                    _s3(weed, "put", f"s3://{made.bucket}/{key}", str(root / made.bucket / key))
                yield lambda client: run_client(client, scenario, root, made, weed)

    def _say(self, text: str) -> None:
        minutes, seconds = divmod(int(time.monotonic() - self._began), 60)
        left = f"about {max(0, self._seconds_left) / 60:.0f} min left"
        print(f"[{minutes:3d}:{seconds:02d}, {left}] {text}", file=sys.stderr, flush=True)


def expected(scenario: Scenario, rounds: int) -> float:
    """The time that a scenario takes, roughly, in seconds."""
    moved = sum(scenario.sizes) * scenario.objects / len(scenario.sizes) * (1 + scenario.timed / scenario.objects)
    rate = {"seaweedfs": 0.25e9, "throttled": 45e6}.get(scenario.server, 1.2e9)
    each = _OVERHEAD + scenario.seconds + (moved / rate if scenario.operation != "dlio" else 25)
    return rounds * len(scenario.clients) * each


def _turns(clients: tuple[str, ...], number: int) -> tuple[str, ...]:
    """The clients in the order of a round. Each round begins with another client."""
    start = number % len(clients)
    return (*clients[start:], *clients[:start])


def _below(folder: Path, client: str) -> Path:
    return folder / "".join(letter if letter.isalnum() else "-" for letter in client)


# One client, once...


def run_client(client: str, scenario: Scenario, root: Path, made: Objects, world: World) -> Figures:
    """Run a client in its own processes. Returns its figures and the server's CPU time during the timed part.

    Raises:
        ClientFailed: the client failed or transferred wrong bytes.
    """
    job = _job(scenario, root, made, world)
    running = [_Process(client, job, _environment(scenario, world)) for _ in range(scenario.processes)]
    try:
        for process in running:
            process.wait_until_ready()
        before = machine.cpu(world.pids)
        for process in running:
            process.go()
        each = [process.figures() for process in running]
        server = machine.cpu(world.pids) - before
    finally:
        for process in running:
            process.end()
    if scenario.server == "sink":
        _check_sink(world, made)
    together = {name: sum(figures[name] for figures in each) for name in each[0]}
    for name in ("seconds", "peak_mib"):
        together[name] = max(figures[name] for figures in each)
    return {**together, "server": server}


def _check_sink(world: World, made: Objects) -> None:
    """Compare the objects that the sink received, and delete them from its memory.

    Raises:
        ClientFailed: an object has wrong bytes.
    """
    connection = http.client.HTTPConnection(world.url.removeprefix("http://"))
    try:
        for key, wanted in made.checksums.items():
            connection.request("GET", f"/{made.bucket}/{key}?crc")
            if connection.getresponse().read() != str(wanted).encode():
                raise ClientFailed(f"wrote wrong bytes: {key}")
    finally:
        connection.request("DELETE", "/")
        connection.getresponse().read()
        connection.close()


class _Process:
    """A process of a client. It waits between its checked pass and the timed part."""

    def __init__(self, client: str, job: dict[str, Any], environment: dict[str, str]) -> None:
        self._client = client
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self._process = subprocess.Popen(
            [peers.interpreter(client), "-m", "benchmarks.client", client],
            cwd=peers.ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        self._watch = threading.Timer(_LONGEST, self._process.kill)
        self._watch.daemon = True
        self._watch.start()
        self._send(json.dumps(job))

    def wait_until_ready(self) -> None:
        """Wait until the client has finished its checked pass."""
        if self._answer() != "ready\n":
            self._fail()

    def go(self) -> None:
        """Start the timed part."""
        self._send("go")

    def figures(self) -> dict[str, float]:
        """Wait for the end of the timed part, and return its figures."""
        line = self._answer()
        if not line:
            self._fail()
        found: dict[str, float] = json.loads(line)
        return found

    def end(self) -> None:
        """Kill the process if it is still running, and clean up."""
        self._watch.cancel()
        self._process.kill()
        self._process.communicate()
        self._errors.close()

    def _send(self, line: str) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # the process has ended: `_answer` finds out why

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def _fail(self) -> None:
        self._process.wait()
        self._errors.seek(0)
        lines = [line for line in self._errors.read().splitlines() if line.strip()]
        what = f"killed after {_LONGEST} s" if self._process.returncode == -9 else "\n".join(lines[-3:])
        raise ClientFailed(what or f"ended with status {self._process.returncode}")


def _job(scenario: Scenario, root: Path, made: Objects, world: World) -> dict[str, Any]:
    sizes = scenario.sizes
    job = {
        "operation": scenario.operation,
        "scheme": scenario.scheme,
        "bucket": made.bucket,
        "endpoint": world.tls_url if scenario.tls else world.url,
        "ca_file": world.ca_file if scenario.tls else "",
        "objects": made.checksums,
        "ranges": made.ranges,
        "sizes": sizes,
        "size": scenario.range_size or max(sizes),
        "keys": scenario.objects,
        "in_flight": scenario.in_flight,
        "at_once": scenario.at_once,
        "count": scenario.timed,
        "seconds": scenario.seconds,
        "fork": scenario.fork,
        "best_of": scenario.best_of,
        "piece": _PIECE,
    }
    if scenario.operation in ("put", "write"):
        job["content"] = str(objects.content_of(root, scenario))
    return job


def _environment(scenario: Scenario, world: World) -> dict[str, str]:
    variables = {
        "PATH": os.environ["PATH"],
        "HOME": "/nonexistent",
        "AWS_EC2_METADATA_DISABLED": "true",
        **world.environment,
        "S3DLIO_VERIFY_GET": "1" if scenario.checked else "0",
    }
    if scenario.tls:
        variables |= {"AWS_ENDPOINT_URL": world.tls_url, "SSL_CERT_FILE": world.ca_file, "AWS_CA_BUNDLE": world.ca_file}
    return variables


def _on_files(client: str, scenario: Scenario, root: Path, made: Objects) -> Figures:
    folder = root / made.bucket
    if client == "fio":
        return fio.read(next(folder.iterdir()), scenario.seconds)
    world = World("", "", "", (), {})
    # The bucket of a scenario on files is an absolute path: the URIs of its objects begin with three slashes.
    figures = run_client(client, scenario, root, made._replace(bucket=str(folder)), world)
    if scenario.operation in ("put", "write") and (wrong := objects.wrong_writes(folder, made)):
        raise ClientFailed(f"wrote wrong bytes: {len(wrong)} objects, the first {wrong[0]}")
    return figures


def _write_to_weed(client: str, scenario: Scenario, root: Path, made: Objects) -> Figures:
    with servers.store("seaweedfs", made.bucket) as weed:
        figures = run_client(client, scenario, root, made, weed)
        for key, expected_checksum in made.checksums.items():
            if _s3(weed, "checksum", f"s3://{made.bucket}/{key}") != str(expected_checksum):
                raise ClientFailed(f"wrote wrong bytes: {key}")
    return figures


# Runs in its own process, so that gigabytes of buffers do not stay in the harness.
_HELPER = """
import sys, zlib, s3dlio
what, uri, *path = sys.argv[1:]
if what == "put":
    s3dlio.upload(path[0], uri)
else:
    checksum = 0
    for chunk in s3dlio.get_chunks(uri, 64 << 20):
        checksum = zlib.crc32(chunk, checksum)
    print(checksum)
"""


def _s3(world: World, *arguments: str) -> str:
    environment = {**os.environ, **world.environment}
    done = subprocess.run(
        [sys.executable, "-c", _HELPER, *arguments], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise ClientFailed(done.stderr[-600:])
    return done.stdout.strip()
