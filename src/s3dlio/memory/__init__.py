# SPDX-License-Identifier: Apache-2.0
"""The memory that bytes are received into, and the checksums of what it holds."""
