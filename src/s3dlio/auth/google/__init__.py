# SPDX-License-Identifier: Apache-2.0
"""Credentials and signatures for Google Cloud Storage."""
