# SPDX-License-Identifier: Apache-2.0
"""What takes more than one call of a store: batches, reading ahead, copies, listings, writers."""
