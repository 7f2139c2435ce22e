# SPDX-License-Identifier: Apache-2.0
"""Requests for objects: retries, parts, resuming, verification, and the fast path of batches."""
