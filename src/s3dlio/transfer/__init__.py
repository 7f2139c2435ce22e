# SPDX-License-Identifier: Apache-2.0
"""What sits between a verb and a store: running operations, batches, trees, writers."""
