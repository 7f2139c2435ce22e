# SPDX-License-Identifier: Apache-2.0
"""Processes are surely ended, and a server that does not start says why."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.required import lacking
from tests.servers import install
from tests.servers.base import Processes, S3Server, ServerFailed, free_ports, running

_CHECKOUT = Path(__file__).resolve().parents[2]

# A server that starts a child process and writes both process ids to a file.
_PARENT_AND_CHILD = """
child=; sleep 1000 & child=$!
echo $$ $child > pids.new; mv pids.new pids
wait
"""


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def _wait_until_ended(pids: list[int]) -> None:
    deadline = time.monotonic() + 5
    while any(map(_alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert [pid for pid in pids if _alive(pid)] == []


def _start_parent_and_child(processes: Processes) -> list[int]:
    processes.start(["sh", "-c", _PARENT_AND_CHILD])
    pids = processes.folder / "pids"
    processes.wait_until(pids.is_file)
    return [int(pid) for pid in pids.read_text().split()]


def test_a_server_and_what_it_started_end_with_the_block() -> None:
    with running("parent", _start_parent_and_child) as pids:
        assert all(map(_alive, pids))

    _wait_until_ended(pids)


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_server_ends_when_the_program_that_started_it_is_killed(ending: signal.Signals) -> None:
    if shutil.which("setpriv") is None:
        lacking("setpriv of util-linux is not installed")
    program = (
        "import time\n"
        "from tests.servers.base import running\n"
        "def start(processes):\n"
        "    (processes.folder / 'data').mkdir()\n"
        "    processes.start(['sleep', '1000'])\n"
        "    return processes.pids\n"
        "with running('sleeper', start) as pids:\n"
        "    print(*pids, flush=True)\n"
        # a signal that is caught just before a sleep does not end it, so none is long
        "    while True:\n"
        "        time.sleep(0.1)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=_CHECKOUT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as runner:
        assert runner.stdout is not None
        pids = [int(pid) for pid in runner.stdout.readline().split()]
        assert len(pids) == 1
        # setpriv must have become sleep, because the guard works only then
        while Path(f"/proc/{pids[0]}/cmdline").read_bytes()[:6] != b"sleep\0":
            time.sleep(0.01)

        runner.send_signal(ending)
        runner.wait(10)

    _wait_until_ended(pids)
    with running("next", lambda processes: processes.folder.parent) as temporary:
        assert [*temporary.glob(f"s3dlio-sleeper-{runner.pid}-*")] == []


def test_a_forked_child_that_exits_does_not_end_the_servers() -> None:
    program = (
        "import os, sys\n"
        "from tests.servers.base import running\n"
        "def start(processes):\n"
        "    processes.start(['sleep', '1000'])\n"
        "    return processes\n"
        "with running('sleeper', start) as processes:\n"
        "    child = os.fork()\n"
        "    if not child:\n"
        "        sys.exit()\n"
        "    os.waitpid(child, 0)\n"
        "    os.kill(*processes.pids, 0)\n"
        "    assert processes.folder.is_dir()\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=_CHECKOUT, check=True, timeout=30)


def test_a_server_that_ends_immediately_is_reported_with_its_log() -> None:
    def start(processes: Processes) -> None:
        processes.start(["sh", "-c", "echo the port is taken; exit 3"])
        processes.wait_until(lambda: False)

    with (
        pytest.raises(ServerFailed, match=r"(?s)broken ended with status 3.*the port is taken"),
        running("broken", start),
    ):
        pass


def test_a_server_that_is_never_ready_is_reported_with_its_log() -> None:
    def start(processes: Processes) -> None:
        processes.start(["sh", "-c", "echo still waiting; sleep 1000"])
        processes.wait_until(lambda: False, seconds=0.3)

    with pytest.raises(ServerFailed, match=r"(?s)slow was not ready.*still waiting"), running("slow", start):
        pass


@pytest.mark.parametrize("keep", [True, False])
def test_logs_stay_only_on_request(keep: bool) -> None:
    def start(processes: Processes) -> Path:
        _start_parent_and_child(processes)
        return processes.folder

    with running("parent", start, lambda: keep) as folder:
        assert folder.is_dir()

    assert folder.exists() == keep
    if keep:
        assert [entry.name for entry in folder.iterdir()] == ["logs"]
        shutil.rmtree(folder)


def test_a_server_does_not_inherit_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of the user")

    def start(processes: Processes) -> str:
        processes.run(["sh", "-c", "env > seen"], {"EXTRA": "1"})
        return (processes.folder / "seen").read_text()

    with running("environment", start) as seen:
        assert "EXTRA=1" in seen
        assert "AWS_" not in seen


def test_free_ports_avoids_ports_in_use_and_their_companions() -> None:
    (port,) = free_ports(1, also=10_000)
    with socket.create_server(("127.0.0.1", port + 10_000)):
        assert port not in free_ports(500, also=10_000)


def test_secrets_do_not_show_in_the_representation(tmp_path: Path) -> None:
    server = S3Server("name", "http://127.0.0.1:1", "key", "the secret", (), tmp_path)

    assert "the secret" not in repr(server)
    assert server.environment()["AWS_SECRET_ACCESS_KEY"] == "the secret"


def test_a_server_that_is_not_installed_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install, "ROOT", tmp_path)

    with pytest.raises(install.ServerMissing, match=r"nginx is not installed: `make servers` has not been run"):
        install.locate("nginx")


def test_a_failed_installation_leaves_its_reason_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(install, "ROOT", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))  # so there is no apt-get

    reasons = install.install(["nginx"])

    assert "there is no apt-get on this machine" in reasons["nginx"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["nginx.missing"]
    with pytest.raises(install.ServerMissing, match="there is no apt-get on this machine"):
        install.locate("nginx")
    assert "is there" not in capsys.readouterr().out
