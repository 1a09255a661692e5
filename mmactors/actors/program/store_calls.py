"""What a program stores and says the bytes of: `memset`, `store`.

The accesses are those of `touch`: a row a page, and what cannot be stored is a signal. What was
stored is then in the words that the C library's allocator reads its own from, if the program ever
calls it. Left out: such bytes are not moved by realloc, mremap or write().
"""

import errno
from collections.abc import Iterator

import numpy as np
from attrs import define

from mmactors.actors.program.access_calls import access_all, accesses_of
from mmactors.actors.program.life.heap import Heap
from mmactors.actors.program.malloc.at_first_use import MallocAtFirstUse
from mmactors.actors.program.thread import UserThread
from mmactors.arch.trace import SIZE_SHIFT, STORE, Trace, as_signed
from mmactors.units import PAGE_MASK, PAGE_SIZE, ULONG_MAX
from mmactors.workload.operation import user_store as op
from mmactors.workload.trace.input import CHUNK_ROWS


@define(eq=False, kw_only=True)
class StoreCalls:
    """Runs operations that store bytes for all threads of a machine."""

    malloc: MallocAtFirstUse

    async def perform(self, thread: UserThread, call: op.StoreOperation) -> int:
        """Do one operation and return its result."""
        bindings = thread.process.bindings
        if isinstance(call, op.Memset):
            bound = call.range.resolve(bindings)
            return -errno.EINVAL if bound is None else await self._memset(thread, *bound, call.byte)
        address, value = call.address.resolve(bindings), call.value.resolve(bindings)
        if address is None or value is None:
            return -errno.EINVAL
        data = (value & (1 << 8 * call.nr_bytes) - 1).to_bytes(call.nr_bytes, "little")
        trace = Trace(
            address=np.array([as_signed(address)], dtype=np.int64),
            meta=np.array([STORE | call.nr_bytes << SIZE_SHIFT], dtype=np.int64),
        )
        if await access_all(thread, accesses_of(thread, trace, address + call.nr_bytes)) is None:
            heap = self._heap_of(thread)
            if heap is not None:
                heap.put_bytes(address, data)
            return 0
        return -errno.EFAULT

    async def _memset(self, thread: UserThread, start: int, length: int, byte: int) -> int:
        """Store to a range, up to the first page that cannot be written; return the bytes."""
        nr_stored = 0
        engine = thread.process.kernel.engine
        for trace in _stores(start, length):
            if engine.turn.is_over():
                await engine.breathe()
            signal = await access_all(thread, accesses_of(thread, trace, start + length))
            sizes = trace.meta[: thread.accesses_done] >> SIZE_SHIFT
            stored = int(sizes.sum())
            heap = self._heap_of(thread)
            if heap is not None and stored:
                heap.fill(start + nr_stored, stored, byte)
            nr_stored += stored
            if signal is not None:
                break
        return nr_stored

    def _heap_of(self, thread: UserThread) -> Heap | None:
        """Return where the allocator will look for what is stored; None: there is none."""
        process = thread.process
        if process.malloc is None or process.space is None:
            return None
        return self.malloc.get().heap_of(thread)


def _stores(start: int, length: int) -> Iterator[Trace]:
    """Yield the stores to a range, one a page."""
    base = start & PAGE_MASK
    end = start + length
    nr_pages = -(-(end - base) // PAGE_SIZE) if length else 0
    for first in range(0, nr_pages, CHUNK_ROWS):
        count = min(CHUNK_ROWS, nr_pages - first)
        address = as_signed((base + first * PAGE_SIZE) & ULONG_MAX) + np.arange(
            0, count * PAGE_SIZE, PAGE_SIZE, dtype=np.int64
        )
        sizes = np.full(count, PAGE_SIZE, dtype=np.int64)
        if first == 0:
            address[0] += start - base
            sizes[0] -= start - base
        if first + count == nr_pages:
            sizes[-1] -= base + nr_pages * PAGE_SIZE - end
        yield Trace(address=address, meta=STORE | sizes << SIZE_SHIFT)
