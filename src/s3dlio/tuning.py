# SPDX-License-Identifier: Apache-2.0
"""The numbers that were tuned by measurement, each with its use and the measurement.

Limits of protocols, timeouts and pauses that follow from a specification are not here: they stand in their modules.
`benchmarks/NOTES.md` describes how the measurements were made, and what was measured and rejected.
"""

# Receiving (http)...

HEAD_BYTES = 8192
"""Bytes that are received at once while the head of an answer is awaited.

Small, because the bytes of the body after the head have to be copied to their target. Receiving less saves 1 % for
64 KiB, which is not worth the answers whose heads would then come in two pieces.
"""

BODY_BYTES_IN_A_TURN = 64 << 20
"""Bytes of one body that are received, while more keep arriving, before other requests get their turn.

The server then continues to send, and its bytes are received while they are in the cache: 146 MiB, four in flight,
arrive at 7.1 GB/s instead of 5.6, for less CPU time on both sides.
"""

FEW_IN_FLIGHT = 16
"""The most requests in flight with which a body is received for a whole turn (`BODY_BYTES_IN_A_TURN`).

With more of them the bytes of the others wait so long that they leave the cache.
"""

OBSERVED_BYTES = 2 << 20
"""Bytes of a body that are received at once while its checksum is computed on the way.

They are still in the processor's cache when the checksum reads them. Smaller pieces only need more system calls.
"""

UNSIZED_PIECE = 256 << 10
"""Bytes that are received at once of a body that does not state its length."""
