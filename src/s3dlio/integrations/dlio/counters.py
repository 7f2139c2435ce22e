# SPDX-License-Identifier: Apache-2.0
"""`summarise` adds up the operations that a run of DLIO has recorded."""

from s3dlio.dlio.record.totals import summarise

__all__ = ["summarise"]
