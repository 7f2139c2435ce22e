# SPDX-License-Identifier: Apache-2.0
"""Installs s3dlio into DLIO, with Option 1 or Option 2 of the integration guide.

`installation` has the public functions; `edits` changes files of DLIO, all of them or none. `installable` holds the two
files that are copied into DLIO, and `installed` the storage classes that these files import.
"""
