"""Loads and stores of the kernel at addresses that it has mapped itself (v6.1).

Each page is one access of the CPU in supervisor mode: through its TLB, whatever stands there, and a
walk of the tables that it has loaded. What a TLB knows wins over what the tables say, as it does on
real machines. A page that is not mapped, such as a guard page, is an oops (bad_area_nosemaphore):
nothing is made good for addresses of vmalloc, whose top-level entries all address spaces have.

A page's bytes are kept where somebody has stored them, for as long as the page is not given back;
others are zeros. Stores to pages of objects change the objects, stores to page tables are lost.
"""

from collections.abc import Iterator
from typing import Final

from attrs import define

from mmactors.actors.state.kernel import Kernel
from mmactors.arch.pte import pte_pfn
from mmactors.arch.trace import LOAD, STORE
from mmactors.engine.cpu import Cpu
from mmactors.events import PageFaultEnd, PageFaultKernel
from mmactors.hw.hardware import ELAPSED_NS, ERROR_CODE, FAULT, FAULT_ADDRESS, REASON, STALE
from mmactors.label import PAGE_TABLES, Label, Mode, data, pte, tlb
from mmactors.mm.slab.oops import oops
from mmactors.units import PAGE_MASK, PAGE_SHIFT, PAGE_SIZE, ULONG_MAX

WORD_SEEN: Final = 4
"""So many bytes of what is read are told."""
_PROTECTION: Final = 1
_WRITE: Final = 2


@define(eq=False)
class KernelMemory:
    """What is stored at addresses that the kernel has mapped itself."""

    kernel: Kernel

    async def access(self, cpu: Cpu, address: int, nr_bytes: int, *, value: int | None) -> int:
        """Write bytes of `value` from `address` on, or read (None); return the first ones.

        They are as they then are, up to WORD_SEEN, the lowest first. `address` is a signed word.
        Raise KernelOopsError where no access is allowed.
        """
        word = bytearray()
        for start, size in _parts(address, nr_bytes):
            pfn = await self._translate(cpu, start, size, is_write=value is not None)
            offset = start & ~PAGE_MASK
            if value is not None:
                self.store(pfn, offset, bytes([value]) * size)
            if len(word) < WORD_SEEN:
                first = self.read(pfn)[offset : offset + min(size, WORD_SEEN - len(word))]
                word += first
        return int.from_bytes(word, "little")

    def read(self, pfn: int) -> bytes:
        """Return what a page holds, as far as somebody has stored it."""
        kernel = self.kernel
        if kernel.memory.holds_objects(pfn):
            first = pfn << PAGE_SHIFT
            return bytes(kernel.slab.memory.bytes_view[first : first + PAGE_SIZE])
        generation, stored = kernel.area_bytes.get(pfn, (-1, b""))
        is_there = generation == kernel.pages.generation_view[pfn]
        return stored if is_there else bytes(PAGE_SIZE)

    def store(self, pfn: int, offset: int, stored: bytes) -> None:
        """Let a page hold bytes from an offset on."""
        kernel = self.kernel
        if kernel.memory.holds_objects(pfn):
            first = (pfn << PAGE_SHIFT) + offset
            kernel.slab.memory.bytes_view[first : first + len(stored)] = stored
            return
        before = self.read(pfn)
        after = before[:offset] + stored + before[offset + len(stored) :]
        kernel.area_bytes[pfn] = kernel.pages.generation_view[pfn], after

    async def _translate(self, cpu: Cpu, address: int, size: int, *, is_write: bool) -> int:
        """Do one access within a page; return the page that was reached."""
        kernel, hardware = self.kernel, self.kernel.hardware
        kind = STORE if is_write else LOAD
        text = f"{'store' if is_write else 'load'} {address & PAGE_MASK & ULONG_MAX:#x}"
        while True:
            await kernel.engine.step(Label(text, ((tlb(cpu.index), Mode.WRITE),)))
            nr_before = hardware.nr_walked_entries(cpu.index)
            with kernel.engine.guard.suspended():
                is_done = hardware.supervisor_access(
                    cpu.index, address, size, kind, now_ns=cpu.clock.now
                )
            if hardware.nr_walked_entries(cpu.index) > nr_before:
                self._touch_tables(address)
            reason = hardware.stop[REASON]
            if reason != STALE:
                break
            assert kernel.checks is not None, "somebody watches translations"
            kernel.checks.stale_translation(cpu.index)
        kernel.engine.observe(reason)
        elapsed_ns, code = hardware.stop[ELAPSED_NS], hardware.stop[ERROR_CODE]
        if not is_done:
            assert reason == FAULT, f"an access that was not done stopped for {reason}"
            where = hardware.stop[FAULT_ADDRESS]
            await kernel.engine.spend(elapsed_ns)
            await self._die(where, code)
        ((_, entry),) = hardware.last_translations(cpu.index, address, size)
        pfn = pte_pfn(entry)
        kernel.engine.touch(data(pfn), Mode.WRITE if is_write else Mode.READ)
        await kernel.engine.spend(elapsed_ns)
        return pfn

    def _touch_tables(self, address: int) -> None:
        """Tell a search what a walk has read; it may have followed a walk cache."""
        engine = self.kernel.engine
        if not engine.is_exploring:
            return
        path = self.kernel.init_mm.page_table.path(address)
        for index in path:
            engine.touch(pte(index), Mode.READ)
        engine.touch(PAGE_TABLES, Mode.READ)

    async def _die(self, address: int, code: int) -> None:
        """Tell of the fault, and raise what the kernel says (page_fault_oops)."""
        kernel = self.kernel
        await kernel.engine.spend(kernel.costs.exception_ns)
        seen = address & ULONG_MAX
        if kernel.probe.on:
            kernel.probe.open(PageFaultKernel(address=seen, ip=None, error_code=code))
            ns = kernel.probe.spent_ns()
            kernel.probe.close(
                PageFaultEnd(address=seen, kind="bad_area", ns=ns, ret=0, sig=None, pfn=None)
            )
        oops(kernel.slab.memory, *page_fault_oops(seen, code))


def page_fault_oops(address: int, code: int) -> tuple[str, ...]:
    """Return what the kernel says of a fault of its own that it cannot bear (show_fault_oops)."""
    access = "write" if code & _WRITE else "read"
    why = "permissions violation" if code & _PROTECTION else "not-present page"
    return (
        f"BUG: unable to handle page fault for address: {address:016x}",
        f"#PF: supervisor {access} access in kernel mode",
        f"#PF: error_code({code:#06x}) - {why}",
        f"Oops: {code:04x} [#1] PREEMPT SMP NOPTI",
    )


def _parts(address: int, nr_bytes: int) -> Iterator[tuple[int, int]]:
    """Yield where a range begins in each of its pages, and how many bytes it has there."""
    end = address + nr_bytes
    while address < end:
        following = min((address & PAGE_MASK) + PAGE_SIZE, end)
        yield address, following - address
        address = following
