# SPDX-License-Identifier: Apache-2.0
"""`python -m s3dlio.integrations.dlio <arguments of dlio_benchmark>` runs DLIO on s3dlio (`launcher.run`)."""

import sys

from s3dlio.dlio.run.launcher import run

if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
