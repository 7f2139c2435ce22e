# SPDX-License-Identifier: Apache-2.0
"""Finds what would make a workload fail or slow, before it starts.

`doctor` puts everything together for the command `s3dlio dlio doctor`; `run.preflight` makes the same checks when a run
starts. Each check gives a list of `findings.Finding`: `probe` asks the storage, `environments` compares the ranks,
`slow` looks at the settings, `workload` at the workload itself, `dlio_package` at the files of DLIO.
"""
