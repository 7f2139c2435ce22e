# SPDX-License-Identifier: Apache-2.0
"""Recognizes that the process or the machine is out of file descriptors, and says so in a message.

The limit belongs to this process or machine, so trying another server does not help.
"""

from __future__ import annotations

import errno

try:
    import resource
except ImportError:  # not on Windows
    resource = None  # type: ignore[assignment]


def are_short(error: OSError) -> bool:
    """Whether an error means that no more descriptors can be opened."""
    return error.errno in (errno.EMFILE, errno.ENFILE)


def shortage(error: OSError) -> str:
    """The cause and the remedy of such an error, for a message."""
    if error.errno == errno.ENFILE or resource is None:
        return "the machine has reached its limit of open files (fs.file-max); raise it, or close some"
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return (
        f"the process has reached its limit of {soft} file descriptors (RLIMIT_NOFILE); raise it (ulimit -n), or"
        " keep fewer requests in flight"
    )
