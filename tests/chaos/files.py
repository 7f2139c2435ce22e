# SPDX-License-Identifier: Apache-2.0
"""Files whose system calls fail: each composition is a verb and a fault, which strace makes in a separate process.

A seed chooses the verb, the protocol, the system calls that fail, the error, and which of the calls: one, or all from
there on. The process is forked from one that has called every verb before, so nothing is imported or cached while calls
fail. It starts after strace is attached to it (`strace -p`), and reports through shared memory, which needs no system
call. The oracle expects that a verb returns the right result, or raises an S3dlioError that names the URI; that every
object is the complete old or new one, with its old mode; that nothing else changes; that no temporary file stays,
unless the call that removes it failed; and that the call ends in limited time.

    python -m tests.chaos.files SEED [COUNT]
"""

from __future__ import annotations

import ctypes
import logging
import mmap
import os
import pickle
import random
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import s3dlio
from s3dlio.stores.files.names import RESERVED
from tests.servers.install import strace_command

SECONDS = 20.0  # for one composition
_ANSWER = 1 << 16  # bytes of shared memory
_PR_SET_PTRACER = 0x59616D61
_OLD = random.Random(1).randbytes(70_000)
_NEW = random.Random(2).randbytes(90_000)
_MODE = 0o640
_NAMES = ["a", "b", "sub/c", "sub/deep/d"]

# Groups of system calls that a verb may make, named as strace does; with "?" where an architecture lacks one.
_STAT = "?newfstatat,?fstat,?stat,?lstat,statx"
_READ = ["openat", _STAT, "read,pread64,preadv,preadv2", "close"]
_FOLDERS = ["openat", _STAT, "getdents64", "close", "fcntl,dup"]
_WRITE = [
    *_FOLDERS,
    "write,pwrite64,pwritev,pwritev2",
    "?rename,renameat,renameat2",
    "flock",
    "fsync,fdatasync",
    "fchmod,fchown",
    "listxattr,flistxattr,getxattr,fsetxattr,fremovexattr",
]
_MKDIR = "?mkdir,mkdirat"
_UNLINK = "?unlink,unlinkat,?rmdir"
_DIRECT = ["ftruncate", "fcntl"]
CALLS = {
    "get": _READ,
    "get_range": _READ,
    "get_many": _READ,
    "get_many_iter": _READ,
    "put_bytes": _WRITE,
    "put_bytes new": [*_WRITE, _MKDIR],
    "put_many": _WRITE,
    "writer": _WRITE,
    "copy": [*_READ, *_WRITE],
    "copy -r": [*_READ, *_WRITE, _MKDIR],
    "list": _FOLDERS,
    "list -r": _FOLDERS,
    "stat": [_STAT],
    "exists": [_STAT],
    "is_prefix": [_STAT],
    "delete": [_STAT, _UNLINK],
    "delete -r": [*_FOLDERS, _UNLINK],
    "mkdir": [_STAT, _MKDIR],
}
ERRORS = [
    "EIO",
    "ENOSPC",
    "EDQUOT",
    "EINTR",
    "ESTALE",
    "EACCES",
    "EPERM",
    "EROFS",
    "ENOENT",
    "EMFILE",
    "ENFILE",
    "ENOMEM",
    "EAGAIN",
    "EBUSY",
    "ELOOP",
    "ENAMETOOLONG",
    "ENOTDIR",
    "EISDIR",
    "EINVAL",
    "EOPNOTSUPP",
    "ENOLCK",
    "ENOSYS",
    "ETIMEDOUT",
    "EBADF",
    "EXDEV",
    "ENXIO",
    "EEXIST",
    "ENOTEMPTY",
    "EPIPE",
    "EFBIG",
    "EOVERFLOW",
]
# These say that something does not exist, or is of another kind, so it counts as that.
_TOLD = {"ENOENT", "ENOTDIR", "ELOOP", "EISDIR", "ENOTEMPTY", "EEXIST", "EBUSY"}


class Fault(NamedTuple):
    """What fails: strace's words for the calls, the error, and when."""

    calls: str
    error: str
    when: str


class Outcome(NamedTuple):
    """What a verb gave."""

    value: Any
    error: str | None  # of an S3dlioError
    foreign: str | None  # of any other exception


Verb = Callable[[str], Any]


def _uris(base: str) -> list[str]:
    return [f"{base}/{name}" for name in _NAMES]


def _write(uri: str) -> None:
    with s3dlio.MultipartUploadWriter.from_uri(uri) as writer:
        for begin in range(0, len(_NEW), 40_000):
            writer.write(_NEW[begin : begin + 40_000])


VERBS: dict[str, Verb] = {
    "get": lambda base: bytes(s3dlio.get(f"{base}/a")),
    "get_range": lambda base: bytes(s3dlio.get_range(f"{base}/a", 5000, 20_000)),
    "get_many": lambda base: [bytes(data) for _, data in s3dlio.get_many([f"{base}/{name}" for name in _NAMES])],
    "get_many_iter": lambda base: [
        bytes(data) for _, data in s3dlio.get_many_iter([f"{base}/{name}" for name in _NAMES])
    ],
    "put_bytes": lambda base: s3dlio.put_bytes(f"{base}/a", _NEW),
    "put_bytes new": lambda base: s3dlio.put_bytes(f"{base}/new/folder/a", _NEW),
    "put_many": lambda base: s3dlio.put_many([(uri, _NEW) for uri in _uris(base)]),
    "writer": lambda base: _write(f"{base}/a"),
    "copy": lambda base: s3dlio.copy(f"{base}/a", f"{base}/b2"),
    "copy -r": lambda base: s3dlio.copy(f"{base}/sub", f"{base}/copied", recursive=True),
    "list": s3dlio.list,
    "list -r": lambda base: s3dlio.list(base, recursive=True),
    "stat": lambda base: s3dlio.stat(f"{base}/a")["size"],
    "exists": lambda base: s3dlio.exists(f"{base}/a"),
    "is_prefix": lambda base: s3dlio.is_prefix(f"{base}/sub"),
    "delete": lambda base: s3dlio.delete(f"{base}/a"),
    "delete -r": lambda base: s3dlio.delete(f"{base}/sub", recursive=True),
    "mkdir": lambda base: s3dlio.mkdir(f"{base}/made/folder"),
}
_WRITES = {"put_bytes", "put_bytes new", "put_many", "writer", "copy", "copy -r"}


class Composition(NamedTuple):
    """What a seed chooses."""

    seed: int
    verb: str
    scheme: str
    sync: bool
    fault: Fault

    def __str__(self) -> str:
        fault = self.fault
        return (
            f"seed {self.seed}: {self.verb} on {self.scheme}://, sync {int(self.sync)}, {fault.calls}: {fault.error},"
            f" when {fault.when}"
        )


def composed(seed: int) -> Composition:
    """The composition of a seed."""
    chosen = random.Random(seed)
    verb = chosen.choice(list(VERBS))
    scheme = chosen.choice(["file", "direct"])
    calls = chosen.choice([*CALLS[verb], *(_DIRECT if scheme == "direct" and verb in _WRITES else [])])
    error = chosen.choice(ERRORS)
    when = str(chosen.choices(range(1, 9), (16, 8, 4, 4, 2, 1, 1, 1))[0])
    if chosen.random() < 0.5 and error != "EINTR":  # Python tries again after EINTR, for ever
        when += "+"
    return Composition(seed, verb, scheme, chosen.random() < 0.5, Fault(calls, error, when))


def prepare() -> None:
    """Call every verb once in this process, so that everything is loaded before the first fork."""
    logging.getLogger("s3dlio").addHandler(logging.NullHandler())  # a warning would make system calls that fail, too
    with tempfile.TemporaryDirectory(prefix="s3dlio-chaos-") as name:
        for scheme in ("file", "direct"):
            for verb in VERBS.values():
                _fill(Path(name))
                verb(f"{scheme}://{name}/in")
                try:
                    s3dlio.get(f"{scheme}://{name}/missing")
                except s3dlio.S3dlioError as error:
                    pickle.dumps(str(error))
                _empty(Path(name))


class Verdict(NamedTuple):
    """The outcome of a composition: the findings, and whether the verb failed."""

    wrong: list[str]
    failed: bool


def play(composition: Composition) -> Verdict:
    """Play a composition."""
    folder = Path(tempfile.mkdtemp(prefix="s3dlio-chaos-"))
    try:
        _fill(folder)
        began = time.monotonic()
        outcome = _run(composition, f"{composition.scheme}://{folder}/in")
        if outcome is None:
            return Verdict([f"it did not end within {SECONDS:g} s"], True)
        found = _judged(composition, outcome, folder)
        if time.monotonic() - began > SECONDS:
            found.append("it took too long")
        return Verdict(found, outcome.error is not None)
    finally:
        shutil.rmtree(folder)


def _fill(folder: Path) -> None:
    for name in _NAMES:
        path = folder / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_OLD)
        path.chmod(_MODE)
    (folder / "outside").mkdir(exist_ok=True)
    (folder / "outside" / "file").write_bytes(_OLD)


def _empty(folder: Path) -> None:
    for name in ("in", "outside"):
        shutil.rmtree(folder / name)


def _run(composition: Composition, base: str) -> Outcome | None:
    shared = mmap.mmap(-1, _ANSWER)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    child = os.fork()
    if child == 0:
        _verb_in_child(composition, base, shared)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    fault = composition.fault
    inject = f"inject={fault.calls}:error={fault.error}:when={fault.when}"
    tracer = subprocess.Popen(
        [
            *strace_command(),
            "-f",
            "-qq",
            "-o",
            os.devnull,
            "-e",
            "trace=" + fault.calls,
            "-e",
            inject,
            "-p",
            str(child),
        ],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        _wait_until_traced(child, tracer)
        os.kill(child, signal.SIGUSR1)
        deadline = time.monotonic() + SECONDS
        while not os.waitpid(child, os.WNOHANG)[0]:
            if time.monotonic() > deadline:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                return None
            time.sleep(0.002)
    finally:
        tracer.kill()
        tracer.communicate()
    size = int.from_bytes(shared[:8], "little")
    assert size, "the process ended without an answer"
    outcome: Outcome = Outcome(*pickle.loads(shared[8 : 8 + size]))
    return outcome


def _wait_until_traced(child: int, tracer: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + SECONDS
    while f"TracerPid:\t{0}\n" in Path(f"/proc/{child}/status").read_text():
        if tracer.poll() is not None or time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            assert tracer.stderr is not None
            raise AssertionError(f"strace: {tracer.stderr.read().decode()}")
        time.sleep(0.002)


def _verb_in_child(composition: Composition, base: str, shared: mmap.mmap) -> None:
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PTRACER, ctypes.c_ulong(-1), 0, 0, 0)
        s3dlio.configure(file_sync=composition.sync)
        signal.sigwait({signal.SIGUSR1})
        value, error, foreign = None, None, None
        try:
            value = VERBS[composition.verb](base)
        except s3dlio.S3dlioError as caught:
            error = str(caught)
        except BaseException as caught:
            foreign = f"{type(caught).__name__}: {caught}"
        answer = pickle.dumps((_short(value), error, foreign))
        shared[8 : 8 + len(answer)] = answer
        shared[:8] = len(answer).to_bytes(8, "little")
    finally:
        os.kill(os.getpid(), signal.SIGKILL)  # os._exit would end the process, too, but might wait for threads


def _short(value: Any) -> Any:
    """The value, contents by their names."""
    if isinstance(value, list):
        return [_short(item) for item in value]
    if isinstance(value, bytes):
        return {_OLD: "old", _OLD[5000:25_000]: "part"}.get(value, f"{len(value)} other bytes")
    return value


def _judged(composition: Composition, outcome: Outcome, folder: Path) -> list[str]:
    wrong = []
    verb, fault = composition.verb, composition.fault
    base = f"{composition.scheme}://{folder}/in"
    told = fault.error in _TOLD
    if outcome.foreign is not None:
        wrong.append(f"it raised {outcome.foreign}")
    elif outcome.error is not None:
        if base not in outcome.error:
            wrong.append(f"the error names no URI: {outcome.error}")
    elif not told:
        expected: dict[str, Any] = {
            "get": "old",
            "get_range": "part",
            "get_many": ["old"] * len(_NAMES),
            "get_many_iter": ["old"] * len(_NAMES),
            "list": [f"{base}/a", f"{base}/b", f"{base}/sub/"],
            "list -r": sorted(f"{base}/{name}" for name in _NAMES),
            "stat": len(_OLD),
            "exists": True,
            "is_prefix": True,
        }
        if outcome.value != expected.get(verb):
            wrong.append(f"it gave {outcome.value!r}")
    elif verb.startswith("get") and "other" in str(outcome.value):
        wrong.append(f"it gave {outcome.value!r}")
    contents = {
        str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }
    if contents.pop("outside/file", None) != _OLD:
        wrong.append("a file outside was touched")
    done = outcome.error is None and outcome.foreign is None
    temporaries = [name for name in contents if RESERVED in name]
    if temporaries and not ("unlink" in fault.calls or (fault.calls, told) == ("openat", True)):
        wrong.append(f"temporaries stay: {temporaries}")
    for name in temporaries:
        del contents[name]
    written = {
        "put_bytes": ["in/a"],
        "writer": ["in/a"],
        "put_many": [f"in/{name}" for name in _NAMES],
        "put_bytes new": ["in/new/folder/a"],
        "copy": ["in/b2"],
        "copy -r": ["in/copied/c", "in/copied/deep/d"],
    }.get(verb, [])
    deleted = {"delete": ["in/a"], "delete -r": ["in/sub/c", "in/sub/deep/d"]}.get(verb, [])
    result = _OLD if verb.startswith("copy") else _NEW
    for name in sorted({*contents, *written, *(f"in/{name}" for name in _NAMES)}):
        before = _OLD if name.removeprefix("in/") in _NAMES else None
        allowed = [before]
        if name in written:
            allowed = [result] if done and not (told and verb == "copy -r") else [before, result]
        elif name in deleted:
            allowed = [None] if done and not told else [before, None]
        if contents.get(name) not in allowed:
            wrong.append(f"{name} has {len(contents.get(name) or b'')} bytes, not {[len(a or b'') for a in allowed]}")
        elif name in contents and before is not None:
            mode = stat.S_IMODE((folder / name).stat().st_mode)
            if mode != _MODE and not (mode == 0o600 and "attr" in fault.calls):
                wrong.append(f"{name} has the mode {mode:o}")
    return wrong


def main() -> int:
    """Play the compositions that the command line names; returns how many went wrong."""
    first = int(sys.argv[1])
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    prepare()
    failed = wrong = 0
    for seed in range(first, first + count):
        composition = composed(seed)
        verdict = play(composition)
        failed += verdict.failed
        if verdict.wrong:
            wrong += 1
            sys.stdout.write(f"{composition}: {'; '.join(verdict.wrong)}\n")
            sys.stdout.flush()
    sys.stdout.write(f"{count} compositions, {failed} verbs failed, {wrong} wrong\n")
    return wrong


if __name__ == "__main__":
    sys.exit(bool(main()))
