# SPDX-License-Identifier: Apache-2.0
"""Runs DLIO on s3dlio, without changing a file of DLIO.

In the order in which a run meets them: `launcher` starts DLIO; `registration` has put the `replacements` of a few of
DLIO's functions in place; `configuration` follows up when DLIO has read its configuration, with the checks of
`preflight`; then DLIO calls `storage`, `generators`, `readers`, `indexed`, `tfrecord` and `checkpointing`.
"""
