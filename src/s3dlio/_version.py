# SPDX-License-Identifier: Apache-2.0
"""The version, in one place: the build reads it from here and `s3dlio.version()` returns it."""

__version__ = "1.0.0.dev0"


def version() -> str:
    """The version of s3dlio, as in "1.0.0"."""
    return __version__
