# SPDX-License-Identifier: Apache-2.0
"""Installs s3dlio into DLIO, with one of the options of the integration guide."""
