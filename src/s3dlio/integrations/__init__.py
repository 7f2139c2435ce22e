# SPDX-License-Identifier: Apache-2.0
"""Where s3dlio meets programs that have a storage interface of their own: one sub-package per program.

Nothing here is imported by `import s3dlio`; each sub-package imports the program it serves only when used.
"""
