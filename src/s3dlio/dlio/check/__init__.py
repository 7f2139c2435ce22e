# SPDX-License-Identifier: Apache-2.0
"""Checks a machine and a workload before a job starts."""
