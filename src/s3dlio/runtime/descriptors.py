# SPDX-License-Identifier: Apache-2.0
"""Running out of file descriptors: how that is recognized, and what a message says about it.

It is a limit of this process, or of this machine, and says nothing about a server.
"""

from __future__ import annotations

import errno

try:
    import resource
except ImportError:  # not on Windows
    resource = None  # type: ignore[assignment]


def are_short(error: OSError) -> bool:
    """Whether an error means that there are no more descriptors to be had."""
    return error.errno in (errno.EMFILE, errno.ENFILE)


def shortage(error: OSError) -> str:
    """What such an error means, and what to do, for a message."""
    if error.errno == errno.ENFILE or resource is None:
        return "the machine has as many files open as it may (fs.file-max): close some, or raise that limit"
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return (
        f"the process has as many files open as it may (RLIMIT_NOFILE is {soft}): raise that limit (ulimit -n), or keep"
        " fewer requests in flight"
    )
