# SPDX-License-Identifier: Apache-2.0
"""Credentials and signatures for Amazon S3 and compatible services."""
