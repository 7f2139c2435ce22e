# SPDX-License-Identifier: Apache-2.0
"""Counts what the hot paths cost, object by object: instructions by callgrind, system calls by strace.

    python -m tests.guard.counting

prints both, in the form of the table in test_costs.py. Neither depends on how busy the machine is. Only the client is
counted: `program.py` runs in a separate process, reads from nginx, and writes to a server that keeps bodies in memory.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

from benchmarks import objects, servers
from tests.guard import program
from tests.servers import install, nginx
from tests.servers.base import running

_CHECKOUT = Path(__file__).parents[2]
# Head and body in one piece: whether a head comes alone is the server's doing, and would be counted.
_ONE_PIECE = "tcp_nopush on;"
_LOCATION = "location ~ ^/listing/?$ {{ root {folder}; try_files /page.xml =404; }}"


class Place(NamedTuple):
    """What the program works on: a folder, and the endpoints that it reads from and writes to."""

    folder: Path
    gets: str
    puts: str


@contextmanager
def place() -> Iterator[Place]:
    """The servers, with everything that the program reads."""
    with tempfile.TemporaryDirectory(prefix=f"s3dlio-guard-{os.getpid()}-") as name:
        folder = Path(name)
        (folder / "small").write_bytes(bytes(program.SMALL))
        keys = [f"sample-{number:08}" for number in range(program.KEYS)]
        (folder / "page.xml").write_text(objects.page("listing", keys, ""))
        start = partial(nginx.start, more=_ONE_PIECE + _LOCATION.format(folder=folder))
        with running("nginx", start) as server, servers.sink() as sink:
            (server.root / "bucket").mkdir()
            for number in range(2 * program.COUNT):
                (server.root / "bucket" / f"{number:03}").write_bytes(bytes(program.SMALL))
            yield Place(folder, server.url, sink.url)


def instructions(where: Place) -> dict[str, float]:
    """Path -> instructions for an object.

    Raises:
        ServerMissing: valgrind is not installed.
    """
    folder = install.locate("valgrind")
    output = where.folder / "callgrind"
    tool = [str(folder / "usr" / "bin" / "valgrind"), "--tool=callgrind", f"--callgrind-out-file={output}"]
    tool.append("--dump-before=getloadavg")
    _run(tool, where, VALGRIND_LIB=str(folder / "usr" / "libexec" / "valgrind"))
    # A file for each part that ended with a mark, numbered.
    dumps = sorted(where.folder.glob("callgrind.*"), key=lambda path: int(path.suffix[1:]))
    totals = []
    for dump in dumps:
        found = re.search(r"^totals: (\d+)", dump.read_text(), re.MULTILINE)
        assert found, dump
        totals.append(int(found[1]))
        dump.unlink()
    return _differences(totals)


# With the pauses that the program makes before them.
_POLLS = ("epoll_wait", "epoll_pwait", "poll", "ppoll", "clock_nanosleep")


def system_calls(where: Place) -> dict[str, float]:
    """Path -> system calls for an object, but for the polling: how many answers a poll finds is the server's doing.

    Raises:
        ServerMissing: strace is not installed.
    """
    return _differences([sum(part.values()) for part in _traced(where)])


def _traced(where: Place) -> list[Counter[str]]:
    """The system calls by name, part by part."""
    output = where.folder / "strace"
    _run([*install.strace_command(), "-f", "-o", str(output)], where)
    parts: list[Counter[str]] = [Counter()]
    for name in re.findall(r"^\d+ +(\w+)\(", output.read_text(errors="replace"), re.MULTILINE):
        if name == program.MARK:
            parts.append(Counter())
        elif name not in _POLLS:
            parts[-1][name] += 1
    return parts[:-1]


def _run(tool: list[str], where: Place, **more: str) -> None:
    environment = {
        **os.environ,
        **more,
        "AWS_ACCESS_KEY_ID": "any",
        "AWS_SECRET_ACCESS_KEY": "any",
        "AWS_REGION": "us-east-1",
        "PYTHONHASHSEED": "0",
    }
    command = [*tool, sys.executable, "-m", "tests.guard.program", str(where.folder), where.gets, where.puts]
    done = subprocess.run(command, cwd=_CHECKOUT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


def _differences(parts: list[int]) -> dict[str, float]:
    """For each path there are three parts: with what came before it, so many objects, and twice as many."""
    assert len(parts) == 3 * len(program.PATHS), f"{len(parts)} parts"
    return {
        name: (parts[3 * place + 2] - parts[3 * place + 1]) / units
        for place, (name, units) in enumerate(program.PATHS.items())
    }


def main() -> None:
    """Print the table."""
    with place() as where:
        counted, called = instructions(where), system_calls(where)
    for name in program.PATHS:
        sys.stdout.write(f'    "{name}": Cost({round(counted[name], -2):_.0f}, {called[name]:.2f}),\n')


if __name__ == "__main__":
    main()
