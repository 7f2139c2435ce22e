# SPDX-License-Identifier: Apache-2.0
"""HTTP/1.1: addresses, connections, framing, and the exchange of a request for its answer.

This layer knows bytes, and gets every limit as an argument. Objects and settings belong to the layers above.
"""
