"""Checks a machine and a workload before a job starts."""
