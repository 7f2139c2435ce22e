"""Runs DLIO on s3dlio, without a change to a file of DLIO."""
