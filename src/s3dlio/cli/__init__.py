# SPDX-License-Identifier: Apache-2.0
"""The command `s3dlio`.

`app` lists the commands; each is one function in a module named after what it does, made of calls to the public API.
A command returns nothing and raises when it fails; `main` is the one place that turns what it raised into one line on
standard error and an exit status. Modules are imported inside `main` so that Ctrl-C at start-up is quiet too, and so
that what only one command needs (rich, for the progress bar) is loaded by that command alone.
"""

from __future__ import annotations

import os
import sys

_FAILED = 1
_USAGE = 2
_INTERRUPTED = 130  # what a shell reports for a program that SIGINT ended
_PIPE_CLOSED = 141  # the same for SIGPIPE


def main() -> int:
    """Run the command line of this process.

    Returns:
        The exit status: 0; 1 if the operation failed; 2 if the command line is wrong; 130 after Ctrl-C; 141 if the
        reader of standard output went away.
    """
    try:
        from s3dlio.cli import output

        # A width that is none would make rich and click draw nothing, or fail.
        columns = os.environ.get("COLUMNS", "")
        if columns and not (columns.isdecimal() and int(columns) > 0):
            del os.environ["COLUMNS"]
        try:
            status = _run()
            output.flush()
        except output.OutputError as error:
            output.give_up()
            if error.reader_gone:
                return _PIPE_CLOSED
            return _fail(_FAILED, str(error))
        return status
    except KeyboardInterrupt:
        return _INTERRUPTED


def _run() -> int:
    import logging

    from s3dlio.cli import app, output
    from s3dlio.errors import S3dlioError

    # What the library warns of looks like what the command says. This handler serves loggers that have none.
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(logging.Formatter("%(name)s: %(message)s"))
    try:
        # Click returns the status of `typer.Exit`, or what the command returned: None.
        return app.command().main(prog_name="s3dlio", standalone_mode=False) or 0
    except app.UsageError as error:
        hint = f" (see '{error.ctx.command_path} --help')" if error.ctx else ""
        return _fail(_USAGE, error.format_message() + hint)
    except app.Abort:
        return _INTERRUPTED
    except output.OutputError:
        raise
    except S3dlioError as error:
        return _fail(_FAILED, str(error))
    except OSError as error:
        name = f": {os.fsdecode(error.filename)}" if isinstance(error.filename, str | bytes) else ""
        return _fail(_FAILED, (error.strerror or str(error)) + name)
    except Exception as error:
        return _fail(_FAILED, f"{type(error).__name__}: {error}")


def _fail(status: int, message: str) -> int:
    """Write one line to standard error; returns the status."""
    from s3dlio import redaction

    try:
        if sys.stderr is not None:
            sys.stderr.write(f"s3dlio: {redaction.message(message)}\n")
            sys.stderr.flush()
    except OSError:
        pass  # there is nowhere left to say so
    return status
