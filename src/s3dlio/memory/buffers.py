# SPDX-License-Identifier: Apache-2.0
"""The buffer pool: memory for the bodies of objects, used again once no view of it is left.

The cost of receiving is in page faults and TLB misses, not in Python. Reading into fresh memory moves about 1 GB per
CPU-second, into memory that was touched before 1.6 to 1.9, and into such memory on huge pages 3 to 4. Therefore:

- Memory is mapped in slabs. They are private and anonymous (a shared mapping gets no huge pages, and a forked child
  would write into the memory of its parent), aligned to 2 MiB, and advised to be huge pages. A slab is cut into equal
  blocks.
- `lease(n)` returns a block as a writable memoryview of n bytes. The view shows a ctypes array over the block. Slices,
  and arrays of NumPy or PyTorch made from it, keep that array alive. A weak reference to the array reports when the
  last of them is gone. Its callback may run anywhere, inside any lock, so all it does is append the block to a deque;
  the next lease takes the block from there.
- Blocks are used last in, first out: the one returned last is still in the cache.
- The bound is on idle memory, so a lease never waits. While callers hold as much as the bound, further leases get
  memory that is unmapped as soon as its views are gone. Therefore idle memory stays within the bound even if a caller
  releases everything and never calls again.
- When no idle block fits, idle slabs of other sizes are unmapped before a new slab is mapped. All slabs together stay
  within 64 MiB of the most that callers ever held at once. Without this slack, a caller that alternates between two
  sizes would map memory at every call.
- Before a fork the parent drops its idle slabs, and a block that was lent out during a fork is unmapped when it comes
  back. The child shares those pages, so writing to them would split the parent's huge pages one by one. Views that
  were taken before the fork stay valid in both processes, since neither unmaps what the other sees.
- Objects below 64 KiB get a bytearray: there malloc is faster than any bookkeeping.

The pool reads no settings: `transfer.stores` sets `pool.idle_limit` to a function that looks up S3DLIO_BUFFER_IDLE_MB.
"""

from __future__ import annotations

import ctypes
import mmap
import threading
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any

from s3dlio import forks
from s3dlio.tuning import POOL_SLACK, POOLED_FROM

PAGE = 4096  # bytes; O_DIRECT needs memory aligned to this
_HUGE = 2 << 20  # bytes of a huge page
_DEFAULT_IDLE = 1 << 30  # bytes; as the default of S3DLIO_BUFFER_IDLE_MB

_array_types: dict[int, Any] = {}


def block_size(size: int) -> int:
    """The size of the block that serves a lease of `size` bytes.

    Up to 2 MiB this is a power of two. Above, it is a multiple of 2 MiB, with four sizes per doubling: at most a fifth
    of a large block is unused, and objects of similar sizes use the same blocks.
    """
    if size <= _HUGE:
        return max(POOLED_FROM, 1 << (size - 1).bit_length())
    step = max(_HUGE, 1 << ((size - 1).bit_length() - 3))
    return -(-size // step) * step


_BLOCK_SIZES_REMEMBERED = 256
_block_sizes: dict[int, int] = {}


def _remembered_block_size(size: int) -> int:
    """`block_size`, and remember the result: the objects of a data set have few different sizes."""
    if len(_block_sizes) >= _BLOCK_SIZES_REMEMBERED:
        _block_sizes.clear()
    found = _block_sizes[size] = block_size(size)
    return found


def _array_type(block: int) -> Any:
    """The type of an array over a block. One per block size is kept, since making a ctypes type costs 26 µs."""
    found = _array_types.get(block)
    if found is None:
        found = _array_types[block] = type("_Block", (ctypes.c_char * block,), {"__slots__": ("slab",)})
    return found


class _Lease(weakref.ref[Any]):
    """A weak reference to the array over a block that is lent out. It remembers the block after the array is gone."""

    __slots__ = ("offset", "slab")
    slab: _Slab
    offset: int


class _Slab:
    """One mapping, cut into equal blocks.

    A slab is unmapped when the last reference to it is gone. An explicit close would fail while another thread is
    still releasing a view.

    Attributes:
        block: bytes of a block.
        size: bytes of all blocks.
        generation: the pool's generation when the slab was mapped; blocks of an older one are not used again.
        idle: offsets of the blocks that are not lent out.
        out: number of blocks that are lent out.
    """

    __slots__ = ("address", "array_type", "block", "generation", "idle", "memory", "out", "size")

    def __init__(self, block: int, generation: int) -> None:
        self.block = block
        self.array_type = _array_type(block)
        self.size = max(block, _HUGE)
        self.generation = generation
        # Larger by a huge page, so that the blocks can start on the boundary of one.
        self.memory = mmap.mmap(-1, self.size + _HUGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))
        start = -self.address % _HUGE
        if hasattr(mmap, "MADV_HUGEPAGE"):
            try:
                self.memory.madvise(mmap.MADV_HUGEPAGE)
            except OSError:
                pass  # a kernel without transparent huge pages: ordinary pages work too, but are slower
        self.idle = list(range(start, start + self.size, block))
        self.out = 0

    def array(self, offset: int) -> Any:
        """An array over the block that begins at `offset`.

        The array is made from the address, in a third of the time that it takes from the mapping's buffer. So it must
        keep the slab, and with it the mapping, alive itself.
        """
        array = self.array_type.from_address(self.address + offset)
        array.slab = self
        return array


class BufferPool:
    """Blocks of memory for the bodies of objects. Every method may be called from any thread.

    Attributes:
        idle_limit: returns the most idle bytes to keep; called by every lease of 64 KiB or more.
    """

    def __init__(self, idle_limit: Callable[[], int]) -> None:
        self.idle_limit = idle_limit
        self._generation = 0
        self._reset()

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._returned: deque[_Lease] = deque()
        self._give_back = self._returned.append
        # Slabs with an idle block, by block size. The last slab of a list was used last.
        self._free: dict[int, list[_Slab]] = {}
        # Slabs for leases beyond the limit, by block size. Their blocks are not used again.
        self._beyond: dict[int, _Slab] = {}
        # The leases that are out, by id. Their slabs cannot hold them: a slab whose blocks are all lent out is in no
        # list, and a slab and leases that only refer to each other would be garbage.
        self._out: dict[int, _Lease] = {}
        self._idle_bytes = 0
        self._out_bytes = 0
        self._most_out = 0

    def lease(self, size: int, *, aligned: bool = False) -> memoryview:
        """Memory for `size` bytes. Its content is undefined.

        Args:
            size: bytes, 0 or more.
            aligned: start at a multiple of 4096 bytes whatever the size, as O_DIRECT needs.

        Returns:
            A writable view of format "B" and exactly `size` bytes.

        Raises:
            MemoryError: the system has no memory for the block.
        """
        if size < POOLED_FROM and not aligned:
            return memoryview(bytearray(size))
        wanted = _block_sizes.get(size) or _remembered_block_size(size)
        limit = self.idle_limit()
        if self._returned and self._out_bytes <= limit and (again := self._again(wanted)) is not None:
            return memoryview(again).cast("B") if size == wanted else memoryview(again).cast("B")[:size]
        with self._lock:
            if self._returned:
                self._take_back(limit)
            if self._out_bytes + wanted > limit:
                slab = self._beyond.pop(wanted, None) or self._new_slab(wanted)
                array = slab.array(slab.idle.pop())
                if slab.idle:
                    self._beyond[wanted] = slab
            else:
                slab = self._find(wanted) or self._map(wanted, limit)  # the last of its list
                # Leave the list first: Ctrl-C between any two of these lines may lose a block, but breaks no invariant.
                if len(slab.idle) == 1:
                    self._free[slab.block].pop()
                offset = slab.idle.pop()
                self._idle_bytes -= slab.block
                self._out_bytes += slab.block
                slab.out += 1
                array = self._lend(slab, offset)
        return memoryview(array).cast("B")[:size]

    def _again(self, wanted: int) -> Any:
        """Lend the block that came back last again, if it has the wanted size; None otherwise.

        In a batch of objects of one size nearly every lease ends here, at less than half the cost of the lists. No lock
        is needed: the pool is consistent after each step.
        """
        try:
            last = self._returned.pop()
        except IndexError:  # another thread took it
            return None
        slab = last.slab
        if slab.block != wanted or slab.generation != self._generation:
            self._returned.append(last)
            return None
        del self._out[id(last)]
        return self._lend(slab, last.offset)

    def _lend(self, slab: _Slab, offset: int) -> Any:
        """An array over a block, with a weak reference that returns the block."""
        array = slab.array(offset)
        lease = _Lease(array, self._give_back)
        lease.slab = slab
        lease.offset = offset
        self._out[id(lease)] = lease
        return array

    def idle_bytes(self) -> int:
        """Bytes that are mapped and not lent out."""
        with self._lock:
            self._take_back(self.idle_limit())
            return self._idle_bytes

    def _find(self, wanted: int) -> _Slab | None:
        """A slab with an idle block of the wanted size, or of up to 1.5 times that size."""
        slabs = self._free.get(wanted)
        if slabs:
            return slabs[-1]
        if wanted > _HUGE:
            fitting = [size for size, slabs in self._free.items() if slabs and wanted < size <= wanted * 3 // 2]
            if fitting:
                return self._free[min(fitting)][-1]
        return None

    def _map(self, wanted: int, limit: int) -> _Slab:
        """A new slab with idle blocks. Idle slabs of other sizes are unmapped first, beyond the slack."""
        size = max(wanted, _HUGE)
        self._most_out = max(self._most_out, self._out_bytes + size)
        self._shrink(max(0, min(self._most_out + POOL_SLACK, limit) - self._out_bytes - size))
        try:
            slab = _Slab(wanted, self._generation)
        except OSError:
            self._shrink(0)
            slab = self._new_slab(wanted)
        self._free.setdefault(wanted, []).append(slab)
        self._idle_bytes += slab.size
        return slab

    def _new_slab(self, wanted: int) -> _Slab:
        try:
            return _Slab(wanted, self._generation)
        except OSError as error:
            raise MemoryError(f"no memory for a buffer of {wanted} bytes ({error.strerror})") from error

    def _take_back(self, limit: int) -> None:
        """Make the blocks that came back idle, and unmap slabs until at most `limit` bytes are idle."""
        while True:
            try:
                lease = self._returned.popleft()
            except IndexError:
                break
            slab = lease.slab
            self._out.pop(id(lease), None)
            slab.out -= 1
            self._out_bytes -= slab.block
            if slab.generation == self._generation:
                if not slab.idle:
                    self._free.setdefault(slab.block, []).append(slab)
                slab.idle.append(lease.offset)
                self._idle_bytes += slab.block
        if self._idle_bytes > limit:
            self._shrink(limit)

    def _shrink(self, limit: int) -> None:
        """Unmap idle slabs until at most `limit` bytes are idle: the largest size first, of that the longest unused."""
        for size in sorted(self._free, reverse=True):
            slabs = self._free[size]
            for slab in slabs[:]:
                if self._idle_bytes <= limit:
                    return
                if not slab.out:
                    slabs.remove(slab)
                    self._idle_bytes -= slab.size

    def _before_fork(self) -> None:
        """Forget all slabs. Idle ones are unmapped now, the others when the last view of their blocks is gone."""
        # Another thread may hold the lock, or this one, if a signal handler forks: then the slabs stay.
        if self._lock.acquire(timeout=1):
            try:
                self._take_back(0)
                self._free.clear()
                self._beyond.clear()
                self._idle_bytes = 0
                self._generation += 1
            finally:
                self._lock.release()


pool = BufferPool(lambda: _DEFAULT_IDLE)
lease = pool.lease

forks.before(pool._before_fork)
forks.in_child(pool._reset)
