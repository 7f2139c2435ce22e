# SPDX-License-Identifier: Apache-2.0
"""Runs DLIO on s3dlio, without a change to a file of DLIO."""
