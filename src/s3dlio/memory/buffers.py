# SPDX-License-Identifier: Apache-2.0
"""The buffer pool: memory that bodies are received into, used again once nobody can see it any more.

On a storage client the cost is page faults and TLB misses, not Python: reading into fresh memory moves about 1 GB per
CPU-second, into memory that has been touched before 1.6 to 1.9, and into such memory on huge pages 3 to 4. So:

- Memory is mapped in slabs, private and anonymous (a shared mapping gets no huge pages, and a forked child would
  write into its parent's), aligned to 2 MiB, advised to be huge pages. A slab is cut into equal blocks.
- `lease(n)` hands out a block as a writable memoryview of n bytes. What the caller sees is a view of a ctypes array
  over the block; slices and numpy or torch arrays made from it hold that array alive. A weak reference to the
  array tells when the last of them is gone. Its callback may run anywhere, inside any lock, so all it does is append
  the block to a deque; the next lease takes it from there.
- Blocks go out last in, first out: the last one used is still in the cache.
- What is bounded is idle memory. A lease never waits. While callers hold as much as the bound, further leases get
  memory that is unmapped when its views are gone: so idle memory stays within the bound even when a caller drops
  everything and never calls again. When no idle block fits, idle slabs of other sizes are unmapped before a
  new one is mapped, so that all together stays within 64 MiB of the most that callers ever held at once. (With no such
  slack, a caller who alternates two sizes would map afresh each time.)
- Before a fork the parent drops its idle slabs, and a block that was out during a fork is unmapped when it comes
  back: the child shares those pages, and writing to them would split the parent's huge pages one by one. Views taken
  before the fork stay valid on both sides, for neither unmaps what the other sees.
- Small objects are plain bytearrays: below 64 KiB malloc is faster than any bookkeeping.
"""

from __future__ import annotations

import ctypes
import mmap
import threading
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any

from s3dlio import forks, settings

SMALL = 64 * 1024
PAGE = 4096
_HUGE = 2 << 20
_SLACK = 64 << 20

_array_types: dict[int, Any] = {}


def block_size(size: int) -> int:
    """The size of the block that serves a lease of `size` bytes.

    Up to 2 MiB a power of two; above, a multiple of 2 MiB with four steps to a doubling, so that at most a fifth of
    a large block lies unused and blocks of neighbouring sizes still replace each other.
    """
    if size <= _HUGE:
        return max(SMALL, 1 << (size - 1).bit_length())
    step = max(_HUGE, 1 << ((size - 1).bit_length() - 3))
    return -(-size // step) * step


_BLOCK_SIZES_REMEMBERED = 256
_block_sizes: dict[int, int] = {}


def _remembered_block_size(size: int) -> int:
    """The same, kept for sizes that come again: objects of a data set have few."""
    if len(_block_sizes) >= _BLOCK_SIZES_REMEMBERED:
        _block_sizes.clear()
    found = _block_sizes[size] = block_size(size)
    return found


def _array_type(block: int) -> Any:
    """The type of an array over a block; it holds the slab. A new ctypes type costs 26 µs, hence one per block size."""
    found = _array_types.get(block)
    if found is None:
        found = _array_types[block] = type("_Block", (ctypes.c_char * block,), {"__slots__": ("slab",)})
    return found


class _Lease(weakref.ref[Any]):
    """Watches the array over one block that is out; tells, when the array is gone, which block that was."""

    __slots__ = ("offset", "slab")
    slab: _Slab
    offset: int


class _Slab:
    """One mapping, cut into equal blocks. It is unmapped when the last reference to it is gone: never by an explicit
    close, which a thread that is still on its way out of a view would make fail.
    """

    __slots__ = ("address", "array_type", "block", "generation", "idle", "memory", "out", "size")

    def __init__(self, block: int, generation: int) -> None:
        self.block = block
        self.array_type = _array_type(block)
        self.size = max(block, _HUGE)
        self.generation = generation
        # Over-allocated by a huge page, so that the part used can start on a boundary.
        self.memory = mmap.mmap(-1, self.size + _HUGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))
        start = -self.address % _HUGE
        if hasattr(mmap, "MADV_HUGEPAGE"):
            try:
                self.memory.madvise(mmap.MADV_HUGEPAGE)
            except OSError:
                pass  # a kernel without transparent huge pages: ordinary pages serve as well, only slower
        self.idle = list(range(start, start + self.size, block))
        self.out = 0

    def array(self, offset: int) -> Any:
        """An array over the block that begins there. By its address, which takes a third of the time that it takes from
        the mapping as a buffer; so the array itself holds the slab, and by that the mapping.
        """
        array = self.array_type.from_address(self.address + offset)
        array.slab = self
        return array


class BufferPool:
    """Blocks of memory for the bodies of objects. Every method may be called from any thread."""

    def __init__(self, idle_limit: Callable[[], int]) -> None:
        """Args: idle_limit: gives the number of idle bytes to keep, asked each time it matters."""
        self._idle_limit = idle_limit
        self._generation = 0
        self._reset()

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._returned: deque[_Lease] = deque()
        self._give_back = self._returned.append
        # Slabs with an idle block, by block size; the last one of a list was used last.
        self._free: dict[int, list[_Slab]] = {}
        # Slabs with blocks for leases beyond the limit, by block size. These blocks do not come back.
        self._beyond: dict[int, _Slab] = {}
        # The leases that are out, by id. Held here, not by their slabs: a slab with all its blocks out is in no list,
        # and a slab and its leases that only held each other would be taken for garbage.
        self._out: dict[int, _Lease] = {}
        self._idle_bytes = 0
        self._out_bytes = 0
        self._most_out = 0

    def lease(self, size: int, *, aligned: bool = False) -> memoryview:
        """Memory for `size` bytes: a writable view, format "B". Its content is undefined.

        Args:
            size: bytes, 0 or more.
            aligned: start on a multiple of 4096 bytes whatever the size, as O_DIRECT needs.
        """
        if size < SMALL and not aligned:
            return memoryview(bytearray(size))
        wanted = _block_sizes.get(size) or _remembered_block_size(size)
        limit = self._idle_limit()
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
                # Out of its list first: Ctrl-C between any two of these lines may lose a block, but not the order.
                if len(slab.idle) == 1:
                    self._free[slab.block].pop()
                offset = slab.idle.pop()
                self._idle_bytes -= slab.block
                self._out_bytes += slab.block
                slab.out += 1
                array = self._lend(slab, offset)
        return memoryview(array).cast("B")[:size]

    def _again(self, wanted: int) -> Any:
        """The block that came back last, lent once more without its having been idle, if it is of the wanted size.

        In a batch of objects of one size this is nearly every lease, at less than half of what the way through the
        lists costs. It needs no lock: each step leaves everything as others may find it.
        """
        try:
            last = self._returned.pop()
        except IndexError:  # another thread was faster
            return None
        slab = last.slab
        if slab.block != wanted or slab.generation != self._generation:
            self._returned.append(last)
            return None
        del self._out[id(last)]
        return self._lend(slab, last.offset)

    def _lend(self, slab: _Slab, offset: int) -> Any:
        """An array over a block, watched."""
        array = slab.array(offset)
        lease = _Lease(array, self._give_back)
        lease.slab = slab
        lease.offset = offset
        self._out[id(lease)] = lease
        return array

    def idle_bytes(self) -> int:
        """Bytes of memory that are mapped and lent to nobody."""
        with self._lock:
            self._take_back(self._idle_limit())
            return self._idle_bytes

    def drop_idle(self) -> None:
        """Unmap every slab of which no block is lent out."""
        with self._lock:
            self._take_back(0)
            self._shrink(0)

    def _find(self, wanted: int) -> _Slab | None:
        """A slab with an idle block of the wanted size, or up to half as large again."""
        slabs = self._free.get(wanted)
        if slabs:
            return slabs[-1]
        if wanted > _HUGE:
            fitting = [size for size, slabs in self._free.items() if slabs and wanted < size <= wanted * 3 // 2]
            if fitting:
                return self._free[min(fitting)][-1]
        return None

    def _map(self, wanted: int, limit: int) -> _Slab:
        size = max(wanted, _HUGE)
        self._most_out = max(self._most_out, self._out_bytes + size)
        self._shrink(max(0, min(self._most_out + _SLACK, limit) - self._out_bytes - size))
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
        """Unmap idle slabs, the longest unused of the largest size first, until at most `limit` bytes are idle."""
        for size in sorted(self._free, reverse=True):
            slabs = self._free[size]
            for slab in slabs[:]:
                if self._idle_bytes <= limit:
                    return
                if not slab.out:
                    slabs.remove(slab)
                    self._idle_bytes -= slab.size

    def _before_fork(self) -> None:
        # The lock may be held by another thread, or, when a signal handler forks, by this one.
        if self._lock.acquire(timeout=1):
            try:
                self._take_back(0)
                self._free.clear()
                self._beyond.clear()
                self._idle_bytes = 0
                self._generation += 1
            finally:
                self._lock.release()


pool = BufferPool(lambda: int(settings.current().buffer_idle_mb * settings.MIB))
lease = pool.lease

forks.before(pool._before_fork)
forks.in_child(pool._reset)
