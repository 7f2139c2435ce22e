# SPDX-License-Identifier: Apache-2.0
"""The integrations of s3dlio into other programs, one sub-package per program.

`import s3dlio` does not import them. Each sub-package imports its program when it is used.
"""
