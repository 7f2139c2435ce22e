# SPDX-License-Identifier: Apache-2.0
"""What all commands have in common: statuses, errors, names of any bytes, terminals, pipes, and Ctrl-C."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import s3dlio
from tests.cli.command import COMMAND, environment, run, run_on_terminal

# Errors...

# Arguments (with {folder} for a folder that holds `object` and `sub/`), exit status, a part of the message.
ERRORS = [
    ((), 2, "Missing command"),
    (("nonsense",), 2, "No such command"),
    (("ls",), 2, "Missing argument"),
    (("ls", "--nonsense", "file:///"), 2, "No such option"),
    (("ls", "file:///", "file:///"), 2, "unexpected extra argument"),
    (("ls", "{folder}"), 2, "for a local path write file://"),
    (("ls", "FILE:///tmp"), 2, "lower case"),
    (("ls", "--pattern", "(", "file://{folder}"), 2, "not a regular expression"),
    (("ls", "file://{folder}/missing"), 1, "neither an object nor a folder"),
    (("stat", "http://host/key"), 2, "unknown scheme"),
    (("stat", "direct://{folder}/missing"), 1, "no such object"),
    (("cat", "file://{folder}/object", "nothing"), 2, "has no scheme"),
    (("cat", "--offset=-1", "file://{folder}/object"), 2, "--offset"),
    (("cat", "file://{folder}/sub"), 1, "it is a folder"),
    (("get", "file://{folder}/object", "{folder}/object/below"), 1, "{folder}/object/below"),
    (("put", "{folder}/missing", "file://{folder}/new"), 1, "no such object"),
    (("put", "{folder}/sub", "file://{folder}/new"), 1, "use 's3dlio cp -r'"),
    (("put", "-", "file://{folder}/sub"), 1, "it is a folder"),
    (("cp", "file://{folder}", "file://{folder}2"), 1, "use 's3dlio cp -r'"),
    (("cp", "-r", "file://{folder}", "{folder}/sub"), 1, "into itself"),
    (("rm", "file://{folder}/object", "direct://{folder}/sub"), 1, "use 's3dlio rm -r'"),
    (("mkdir", "file://{folder}/object"), 1, "an object of that name exists"),
    (("dlio",), 2, "Missing command"),
]


@pytest.mark.parametrize(("arguments", "status", "part"), ERRORS, ids=[" ".join(row[0]) or "nothing" for row in ERRORS])
def test_an_error_is_one_line_and_a_status(arguments: tuple[str, ...], status: int, part: str, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "object").write_bytes(b"")
    result = run(*(argument.format(folder=tmp_path) for argument in arguments))
    assert result.status == status
    assert result.out == b""
    assert result.err.startswith("s3dlio: ")
    assert part.format(folder=tmp_path) in result.err
    assert result.err.count("\n") == 1


def test_a_malformed_uri_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    (tmp_path / "object").write_bytes(b"")
    assert run("rm", f"file://{tmp_path}/object", "nothing").status == 2
    assert (tmp_path / "object").exists()


def test_an_error_about_a_name_with_a_newline_is_still_one_line(tmp_path: Path) -> None:
    result = run("stat", f"file://{tmp_path}/a\nb")
    assert (result.status, result.err.count("\n")) == (1, 1)
    assert "a\\nb" in result.err


def test_a_warning_of_the_library_is_one_line() -> None:
    result = run("cat", "direct:///proc/version")  # a file system that does not support O_DIRECT
    assert result.status == 0
    assert re.fullmatch("s3dlio: the file system of direct:///proc/version does not support O_DIRECT: .*\n", result.err)


# Names...

ODD = b"a\xffb\nc \x1b[31m"


def test_names_are_written_as_the_bytes_they_are(tmp_path: Path) -> None:
    uri = b"file://" + os.fsencode(tmp_path) + b"/" + ODD
    assert run("put", "-", uri, stdin=b"content").status == 0
    for locale in ("C", "C.UTF-8"):
        assert run("ls", f"file://{tmp_path}", LC_ALL=locale).out == uri + b"\n"
    assert run("cat", uri).out == b"content"
    (entry,) = json.loads(run("ls", "--json", f"file://{tmp_path}").out)
    assert os.fsencode(entry["uri"]) == uri
    assert run("stat", uri + b"x").status == 1
    assert run("rm", uri).status == 0
    assert os.listdir(tmp_path) == []


def test_control_characters_in_names_are_escaped_on_a_terminal(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(ODD)).write_bytes(b"")
    shown = run_on_terminal("ls", f"file://{tmp_path}").out
    assert shown.count(b"\n") == 1
    assert b"\x1b" not in shown
    assert b"b\\nc \\x1b[31m" in shown


# Terminals...


@pytest.fixture
def large(tmp_path: Path) -> Path:
    path = tmp_path / "large"
    path.write_bytes(bytes(8 << 20))
    return path


def test_a_copy_shows_bytes_rate_and_time_on_a_terminal(large: Path) -> None:
    result = run_on_terminal("cp", large, large.with_name("copy"))
    assert result.status == 0
    shown = re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b"", result.out).decode()
    assert "8.4/8.4 MB" in shown
    assert re.search(r"[0-9.]+ [kMG]B/s", shown)
    assert re.search(r"0:00:0\d", shown)


@pytest.mark.parametrize("columns", [0, 20, 45, 200])
def test_the_bar_fits_terminals_of_any_width(large: Path, columns: int) -> None:
    result = run_on_terminal("cp", large, large.with_name("copy"), columns=columns)
    assert result.status == 0
    for line in re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b"", result.out).decode().replace("\r", "\n").splitlines():
        assert len(line) <= (columns or 80)
    assert b"/s" in result.out


@pytest.mark.parametrize("columns", ["", "0", "-1", "\u00b2", "20"])
def test_a_malformed_COLUMNS_is_ignored(large: Path, columns: str) -> None:  # noqa: N802
    assert run_on_terminal("cp", large, large.with_name("copy"), COLUMNS=columns).status == 0
    result = run("--help", COLUMNS=columns)
    assert result.status == 0
    assert "Commands:" in result.lines


def test_no_color_removes_the_colors(large: Path) -> None:
    copy = large.with_name("copy")
    colored = re.compile(rb"\x1b\[[0-9;]*3[0-9][;0-9]*m")
    assert colored.search(run_on_terminal("cp", large, copy, NO_COLOR=None).out)
    assert not colored.search(run_on_terminal("cp", large, copy, NO_COLOR="1").out)


def test_a_dumb_terminal_gets_no_bar(large: Path) -> None:
    assert run_on_terminal("cp", large, large.with_name("copy"), TERM="dumb").out == b""


def test_no_bar_is_shown_while_content_goes_to_the_terminal(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(b"text")
    assert run_on_terminal("get", f"file://{tmp_path}/text", "-").out == b"text"
    assert b"/s" in run_on_terminal("get", f"file://{tmp_path}/text", "-", only_stderr=True).out


def test_an_error_on_a_terminal_is_one_line(tmp_path: Path) -> None:
    result = run_on_terminal("cp", tmp_path / "missing", tmp_path / "copy")
    assert result.status == 1
    assert re.fullmatch(rb"s3dlio: cannot stat [^\x1b]*\r\n", result.out)


# Pipes...


def test_a_closed_pipe_ends_a_listing_quietly(tmp_path: Path) -> None:
    for number in range(3000):
        (tmp_path / f"{number:05}-{'x' * 60}").touch()
    line = f"{' '.join(COMMAND)} ls file://{tmp_path} | head -n 1; echo ${{PIPESTATUS[@]}}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, check=True)
    listed, statuses = done.stdout.splitlines()
    assert listed.startswith(b"file://")
    assert statuses == b"141 0"
    assert done.stderr == b""


def test_a_closed_pipe_ends_cat_quietly(large: Path) -> None:
    line = f"{' '.join(COMMAND)} cat file://{large} file://{large} | head -c 1; echo ${{PIPESTATUS[@]}}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, check=True)
    assert (done.stdout, done.stderr) == (b"\x00141 0\n", b"")


@pytest.mark.parametrize("redirection", [">/dev/full", ">&-"])
def test_a_failed_write_to_standard_output_is_an_error(tmp_path: Path, redirection: str) -> None:
    (tmp_path / "object").write_bytes(b"x")
    line = f"{' '.join(COMMAND)} cat file://{tmp_path}/object {redirection}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert re.fullmatch(r"s3dlio: cannot write to standard output: .*\n", done.stderr)


def test_closed_standard_input_is_an_error_and_writes_no_object(tmp_path: Path) -> None:
    line = f"{' '.join(COMMAND)} put - file://{tmp_path}/object <&-"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "s3dlio: cannot read standard input: it is closed\n")
    assert os.listdir(tmp_path) == []


# Ctrl-C...


def is_large(path: Path) -> bool:
    try:
        return path.stat().st_size > 1 << 20
    except FileNotFoundError:  # the temporary of a small file, renamed by now
        return False


def interrupt(process: subprocess.Popen[bytes], ready: Callable[[], object]) -> tuple[int, bytes, float]:
    """Send SIGINT when `ready` is true. Returns the status, standard error, and the seconds until the command ended."""
    deadline = time.monotonic() + 20
    while not ready():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    sent = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    return process.returncode, err, time.monotonic() - sent


def start(*arguments: str | Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*COMMAND, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def test_ctrl_c_while_put_waits_for_input_leaves_no_object(tmp_path: Path) -> None:
    process = start("put", "-", f"file://{tmp_path}/object")
    assert process.stdin is not None
    process.stdin.write(bytes(32 << 20))
    process.stdin.flush()
    started = time.monotonic()
    # Wait until the command waits for input: Python would handle an earlier signal only after that wait.
    status, err, _ = interrupt(process, lambda: os.listdir(tmp_path) and time.monotonic() - started > 0.5)
    assert (status, err) == (130, b"")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("scheme", ["file", "direct"])
def test_ctrl_c_ends_the_copies_of_all_threads_and_leaves_no_partial_object(tmp_path: Path, scheme: str) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    target.mkdir()
    for number in range(8):
        (source / f"small-{number}").write_bytes(b"small")
    for number in range(4):
        with (source / f"large-{number}").open("wb") as file:
            file.truncate(4 << 30)  # a sparse file, which takes no space
    process = start("cp", "-r", f"{scheme}://{source}", f"{scheme}://{target}")
    status, err, seconds = interrupt(process, lambda: any(map(is_large, target.iterdir())))
    assert (status, err) == (130, b"")
    assert seconds < 10  # copying the rest would take much longer
    left = os.listdir(target)
    assert not [name for name in left if name.startswith((".s3dlio", "large"))]
    assert all((target / name).read_bytes() == b"small" for name in left)


def test_sigint_that_the_parent_ignores_stays_ignored(large: Path) -> None:
    line = f"trap '' INT; {' '.join(COMMAND)} cp {large} {large}2 & kill -INT $!; wait $!"
    assert subprocess.run(["bash", "-c", line], check=False).returncode == 0
    assert large.with_name("large2").stat().st_size == large.stat().st_size


# Start...


def test_the_installed_command_runs_this_package() -> None:
    script = shutil.which("s3dlio", path=os.path.dirname(sys.executable))
    assert script is not None
    for arguments in ([script, "version"], [script, "--version"]):
        assert subprocess.check_output(arguments, text=True) == s3dlio.version() + "\n"


def test_ls_imports_no_heavy_module(tmp_path: Path) -> None:
    program = f"""
import sys
from s3dlio.cli import main

sys.argv[1:] = ["ls", "file://{tmp_path}"]
status = main()
heavy = {{"asyncio", "botocore", "google", "numpy", "s3dlio.cli.bar", "s3dlio.cli.measuring", "ssl", "torch"}}
found = heavy & set(sys.modules)
sys.exit(str(found) if found else status)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_completes_commands(shell: str) -> None:
    script = run(_S3DLIO_COMPLETE=f"source_{shell}")
    assert script.status == 0
    assert b"_S3DLIO_COMPLETE" in script.out
    completed = run(
        _S3DLIO_COMPLETE=f"complete_{shell}",
        COMP_WORDS="s3dlio m",
        COMP_CWORD="1",
        _TYPER_COMPLETE_ARGS="s3dlio m",
        _TYPER_COMPLETE_FISH_ACTION="get-args",
    )
    assert b"mkdir" in completed.out


def test_install_completion_writes_the_script_for_the_calling_shell(tmp_path: Path) -> None:
    line = f"{' '.join(COMMAND)} --install-completion; true"
    done = subprocess.run(
        ["bash", "-c", line], env=environment({"HOME": str(tmp_path)}), capture_output=True, text=True, check=True
    )
    assert "bash completion installed" in done.stdout
    assert (tmp_path / ".bash_completions" / "s3dlio.sh").exists()


# DLIO...


def test_dlio_run_passes_all_arguments_on_unchanged() -> None:
    """A stand-in replaces DLIO's launcher: the test is about the command line, not about DLIO."""
    program = (
        "import sys, s3dlio.integrations.dlio as dlio; dlio.run = lambda arguments: print(arguments) or 7;"
        "from s3dlio.cli import main; sys.exit(main())"
    )
    arguments = ["workload=unet3d_h100", "++workload.a=[1,2]", "--help", "-h", "-cn", "x", "--multirun", "--cfg=job"]
    done = subprocess.run([sys.executable, "-c", program, "dlio", "run", *arguments], capture_output=True, check=False)
    assert done.stdout.decode() == f"{arguments}\n"
    assert done.returncode == 7
