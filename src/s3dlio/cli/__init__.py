# SPDX-License-Identifier: Apache-2.0
"""The command `s3dlio`.

`app` lists the commands. Each command is a function in the module of its name and calls the public API. A command
returns nothing; if it fails, it raises, and `main` alone turns the exception into one line on standard error and an
exit status. `main` imports all other modules, so that Ctrl-C during start-up is quiet, too. A module that only one
command needs, such as rich for the progress bar, is imported by that command.

Other modules: `arguments` checks arguments, `output` writes to standard output, `progress` and `bar` show the progress
bar, `measuring` and `mpi` do the work of `bench`.
"""

from __future__ import annotations

import os
import sys

_FAILED = 1
_USAGE = 2
_INTERRUPTED = 130  # what a shell reports for a program that SIGINT ended
_PIPE_CLOSED = 141  # what a shell reports for a program that SIGPIPE ended


def main() -> int:
    """Run the command line of this process.

    Returns:
        The exit status: 0; 1 if the command failed; 2 if the command line is wrong; 130 after Ctrl-C; 141 if the
        program that reads standard output has closed the pipe.
    """
    try:
        from s3dlio.cli import output

        # With a value that is not a width, rich and click would draw nothing, or fail.
        columns = os.environ.get("COLUMNS", "")
        if columns and not (columns.isdecimal() and int(columns) > 0):
            del os.environ["COLUMNS"]
        try:
            status = _run()
            output.flush()
        except output.OutputError as error:
            output.give_up()
            if error.pipe_closed:
                return _PIPE_CLOSED
            return _fail(_FAILED, str(error))
        return status
    except KeyboardInterrupt:
        return _INTERRUPTED


def _run() -> int:
    import logging

    from s3dlio.cli import app, output
    from s3dlio.errors import S3dlioError

    # Warnings of the library look like messages of the command. `lastResort` handles loggers without a handler.
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
    """Write one line to standard error, and return the status."""
    from s3dlio import redaction

    try:
        if sys.stderr is not None:
            sys.stderr.write(f"s3dlio: {redaction.message(message)}\n")
            sys.stderr.flush()
    except OSError:
        pass  # there is no other place for the message
    return status
