# SPDX-License-Identifier: Apache-2.0
"""`make demo`: the DLIO workload of `s3dlio.dlio.run.demo` on files, then on an S3 server of this machine.

The server is SeaweedFS, started for the demo on a free port of loopback and ended with it. Where it could not be
installed the demo says so and runs on files alone.
"""

from __future__ import annotations

import os
import sys

from s3dlio.dlio.run.demo import Target, demonstrate, on_files
from s3dlio.runtime.run import run
from s3dlio.stores.s3.store import S3Store
from s3dlio.uri import parse
from tests.servers import install, seaweedfs
from tests.servers.base import running

BUCKET = "s3://demo"


def main() -> int:
    """Run the demo; returns its exit status."""
    try:
        install.locate("seaweedfs")
    except install.ServerMissing as error:
        print(f"demo: no run on S3: {error}", file=sys.stderr)
        return demonstrate([on_files()])
    with running("seaweedfs", seaweedfs.start) as server:
        environment = server.plain.environment()
        os.environ.update(environment)
        run(S3Store().make_bucket(parse(BUCKET)))
        return demonstrate([on_files(), Target("s3", f"{BUCKET}/dlio", environment)])


if __name__ == "__main__":
    sys.exit(main())
