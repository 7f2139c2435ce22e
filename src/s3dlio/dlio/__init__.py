# SPDX-License-Identifier: Apache-2.0
"""The DLIO benchmark on s3dlio. Users import `s3dlio.integrations.dlio`, which has the public names.

Five rooms: `record` counts operations, `run` puts s3dlio below a running DLIO, `check` looks for trouble before a job
starts, `install` writes the two files that make DLIO's own command use s3dlio, `report` makes a page of a run.
"""
