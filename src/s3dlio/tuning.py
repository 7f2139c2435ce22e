# SPDX-License-Identifier: Apache-2.0
"""The numbers that were tuned by measurement, each with its use and the measurement.

Limits of protocols, timeouts and pauses that follow from a specification are not here: they stand in their modules.
`benchmarks/NOTES.md` describes how the measurements were made, and what was measured and rejected.
"""

import os

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

HEADS_BEFORE_PATTERN = 100
"""Heads of one kind that are parsed before a pattern is compiled to recognize them (`http.head_patterns`).

Compiling takes as long as parsing a hundred heads. With patterns, 64 KiB take 30.6 µs of CPU time instead of 32.8.
"""

LOW_WATER_BYTES = 256 << 10
"""Bytes that must have arrived before the kernel wakes the receiver of a long body (SO_RCVLOWAT).

Otherwise a client that is faster than its server is woken for every few packets. 128 KiB save half as much; 384 and
512 KiB save the same. With 1 MiB the sender waits for the receiver, and waiting bytes leave the cache: the rate falls
by a fifth.
"""

LOW_WATER_PATIENCE = 0.1
"""Seconds without a byte after which the receiver is woken for any byte, so that a slow server does not look silent."""

NEAR_MICROSECONDS = 250
"""The longest round trip of a connection on which the low-water mark is raised and the send buffer is bounded.

The kernel lets no more bytes be under way at first than the mark: over a way of 50 ms, a new connection with a raised
mark would begin at 7 MB/s instead of 30. With a bound of 500 µs such connections took twice as long.
"""

TLS_RECEIVED_BYTES = 128 << 10
"""Bytes of TLS records that are received at once, and the low-water mark with TLS.

Eight records. Waiting for that many takes 6.0 ms of CPU time for 8 MiB, where receiving every packet took 7.2.
"""

# Sending (http)...

SEND_BUFFER = 1 << 20
"""Bytes of a body that the kernel may hold for a near server (SO_SNDBUF; the kernel doubles the number).

They are still in the cache when the server receives them. With the kernel's own 4 MiB, PUT of 146 MiB costs a tenth
more; 200 KiB save no more than 1 MiB; 64 and 128 KiB cost a fifth more.
"""

TLS_SENT_AT_ONCE = 256 << 10
"""Bytes that OpenSSL encrypts in one call."""

# Batches (objects)...

REQUESTS_IN_STEP = 32
"""The most batched requests that take a step together, such as parsing their heads.

Steps together cost 64 KiB 48 µs of CPU time instead of 66, because kernel and interpreter displace each other from the
cache less often. What a step touches must stay in the cache until the next one: with groups of 8 a small object costs
5 % more, with groups of 16 it costs 2 % more.
"""

SMALL_OBJECT = 1 << 20
"""The most bytes of an object that counts as small.

Reads of small objects take their steps together; while a larger body is received, a server would wait for the next
request. Writes of small objects are batched: a larger body takes several sends, beside which the rest costs little.
`get_many_iter` wakes its caller at once for a larger object only. No other value has been measured.
"""

SUMMED_BYTES = 256 << 10
"""Bytes of a batched body after which its checksum is updated: few enough to be still in the cache.

A smaller body is summed in one call at its end.
"""

BRIEF_BODY = 0.2
"""Seconds for which the speed of a batched body is not measured, so that most bodies need no `Pace`."""

PARTS_COLLECTED = 4
"""Full parts that a writer collects before it sends them together. No other value has been measured."""

DELETES_AT_A_TIME = 32
"""Single deletes that a store sends at the same time. No other value has been measured."""

# Memory...

POOLED_FROM = 64 << 10
"""The fewest bytes of memory that comes from the buffer pool; less is a bytearray.

For 64 KiB, malloc's memory costs 72 µs of CPU time instead of 48. Pieces of pooled blocks for 2 to 64 KiB cost the same
as malloc's memory, and 100,000 objects of 4 KiB in one call 31 to 35 µs each instead of 28.
"""

POOL_SLACK = 64 << 20
"""Bytes of idle slabs beyond the most that callers ever held at once.

Without them a caller that alternates between two sizes would map memory at every call.
"""

# Waiting and threads (runtime, stores.files, transfer)...

POLLED_DESCRIPTORS = 4
"""The most descriptors that a poller watches with `poll`; for more it uses `epoll`.

A call that reads one object makes three system calls with `poll` and seven with `epoll`. `poll` checks every descriptor
in each wait.
"""

LONG_WAIT = 0.0003
"""Seconds that work on an item has to wait, for a disk or a lock, before another thread is worth its start.

Starting a thread costs about a third of this.
"""

FILE_THREADS = min(32, max(8, 2 * (os.cpu_count() or 1)))
"""The most threads for files in a batch. More only wait for each other; fewer leave a network file system idle."""

FILE_PIECE = 16 << 20
"""Bytes of a file that are read or written by one system call. An operation can be stopped between two calls."""

DIRECT_SEGMENT = 4 << 20
"""Bytes that are read or written at once past the page cache; several segments are in flight at a time."""
