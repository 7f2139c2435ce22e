# SPDX-License-Identifier: Apache-2.0
"""`python -m s3dlio` is the command `s3dlio`."""

import sys

from s3dlio.cli import main

if __name__ == "__main__":
    sys.exit(main())
