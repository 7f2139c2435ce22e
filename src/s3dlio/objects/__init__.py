# SPDX-License-Identifier: Apache-2.0
"""What a request for an object means: retries, parts, resuming, verification, and the fast path of batches."""
