"""What a program does to its memory: system calls on mappings, and accesses.

System calls end with the kernel's result, an address, 0 or minus the errno, in the log (sys_exit);
a call that the kernel refuses does not stop the program.
"""

import errno
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

import numpy as np
from attrs import define

from mmactors.actors.kernel import Kernel
from mmactors.actors.migrate_device import migrate_range
from mmactors.actors.mmap import change_mappings
from mmactors.actors.page_idle import mark_idle
from mmactors.actors.process import Image
from mmactors.actors.thread import UserThread
from mmactors.arch.trace import SIZE_MASK, SIZE_SHIFT, STORE, Trace
from mmactors.errors import Place, Problem, UserError
from mmactors.events import SysExit
from mmactors.mm.brk import do_brk
from mmactors.mm.mm_struct import MmStruct
from mmactors.mm.mman import MAP_ANONYMOUS, MAP_PRIVATE, PROT_READ, PROT_WRITE
from mmactors.mm.mmap import MmapSteps, do_mmap
from mmactors.mm.munmap import do_munmap
from mmactors.mm.unmapped_area import AreaSearched
from mmactors.mm.vma import (
    VM_EXEC,
    VM_MAYEXEC,
    VM_MAYREAD,
    VM_MAYWRITE,
    VM_READ,
    VM_WRITE,
    Vma,
)
from mmactors.units import PAGE_SHIFT, PAGE_SIZE
from mmactors.workload import operation as op
from mmactors.workload.generator import generate, must_suit
from mmactors.workload.grammar import OperationError
from mmactors.workload.touch import page_trace, touch_trace
from mmactors.workload.trace_file import open_trace

_IMAGE_FLAGS: Final = VM_READ | VM_WRITE | VM_EXEC | VM_MAYREAD | VM_MAYWRITE | VM_MAYEXEC


@define(eq=False, kw_only=True)
class MemoryCalls:
    """Runs operations on memory for all threads of a machine."""

    kernel: Kernel
    line_bytes: int
    """Fetch runs inside lines of this many bytes are one row of a trace."""

    async def mmap(self, thread: UserThread, call: op.Mmap) -> None:
        """Map private anonymous memory and bind its name."""
        process = thread.process
        address = 0 if call.address is None else call.address.resolve(process.bindings)
        if address is None:
            self._finish(call, -errno.EINVAL)
            return
        hint = address

        def steps(mm: MmStruct) -> MmapSteps:
            return do_mmap(
                mm, address=hint, length=call.length, prot=int(call.prot), flags=int(call.flags)
            )

        result = await self._change(thread, steps)
        if result >= 0:
            process.bindings[call.name] = (result, call.length)
        self._finish(call, result)

    async def munmap(self, thread: UserThread, call: op.Munmap) -> None:
        """Unmap a range."""
        bound = call.range.resolve(thread.process.bindings)
        if bound is None:
            self._finish(call, -errno.EINVAL)
            return
        start, length = bound
        self._finish(call, await self._unmap(thread, start, length))

    async def brk(self, thread: UserThread, call: op.Brk) -> None:
        """Move the end of the heap."""
        bindings = thread.process.bindings
        old = bindings["brk"][0]
        new = await self._change(thread, lambda mm: do_brk(mm, old + call.change))
        bindings["brk"] = (new, 0)
        self._finish(call, new - old if call.change else new)

    async def churn(self, thread: UserThread, call: op.Churn) -> None:
        """Map and unmap again and again."""
        result = 0
        for _ in range(call.count):
            result = await self._map_anonymous(thread, call.length)
            if result < 0 or thread.process.killed_by is not None:
                break
            if call.touch:
                pages = np.arange(-(-call.length // PAGE_SIZE), dtype=np.int64)
                await thread.access(page_trace(result, pages, STORE))
            result = await self._unmap(thread, result, call.length)
        self._finish(call, result)

    async def migrate(self, thread: UserThread, call: op.Migrate) -> None:
        """Offer the pages of a range to a device."""
        space = thread.process.space
        bound = call.range.resolve(thread.process.bindings)
        if bound is None or space is None:
            self._finish(call, -errno.EINVAL)
            return
        start, length = bound
        await self.kernel.engine.spend(self.kernel.costs.syscall_ns)
        result = await migrate_range(self.kernel, thread.cpu, space, start, start + length)
        self._finish(call, result)

    async def _map_anonymous(self, thread: UserThread, length: int) -> int:
        prot = PROT_READ | PROT_WRITE
        flags = MAP_PRIVATE | MAP_ANONYMOUS
        return await self._change(
            thread, lambda mm: do_mmap(mm, address=0, length=length, prot=prot, flags=flags)
        )

    async def _unmap(self, thread: UserThread, start: int, length: int) -> int:
        return await self._change(
            thread, lambda mm: do_munmap(mm, start=start, length=length, may_downgrade=True)
        )

    async def _change(self, thread: UserThread, steps: Callable[[MmStruct], MmapSteps]) -> int:
        kernel = self.kernel
        space = thread.process.space
        assert space is not None, f"{thread.name} has no address space"
        await kernel.engine.spend(kernel.costs.syscall_ns)
        return await change_mappings(kernel, thread.cpu, space, steps)

    async def idle(self, thread: UserThread, call: op.Idle) -> None:
        """Mark the pages of a range idle."""
        space = thread.process.space
        assert space is not None, f"{thread.name} has no address space"
        await self.kernel.engine.spend(self.kernel.costs.syscall_ns)
        bound = call.range.resolve(thread.process.bindings)
        result = -errno.EINVAL
        if bound is not None:
            start, length = bound
            result = await mark_idle(self.kernel, thread.cpu, space, start, start + length)
        self._finish(call, result)

    def _finish(self, call: op.Operation, result: int) -> None:
        if self.kernel.probe.on:
            self.kernel.probe.emit(SysExit(call=str(call), ret=result))

    async def touch(self, thread: UserThread, call: op.Touch) -> None:
        """Access one byte of each page of a range."""
        bound = call.range.resolve(thread.process.bindings)
        if bound is not None:
            start, length = bound
            await self._access_all(thread, touch_trace(call, start=start, length=length))

    async def generate(self, thread: UserThread, call: op.Generate) -> None:
        """Access a range by a pattern."""
        bound = call.range.resolve(thread.process.bindings)
        if bound is not None:
            start, length = bound
            try:
                must_suit(call.pattern, length)
            except OperationError as error:
                # Checked beforehand, but a call that failed leaves a name with what it had before.
                raise UserError(
                    Problem(
                        place=Place(f"{thread.process.comm}: {call}"),
                        found=error.found,
                        legal=error.legal,
                        advice=error.advice,
                    )
                ) from None
            await self._access_all(thread, generate(call.pattern, start=start, length=length))

    async def trace(self, thread: UserThread, call: op.RunTrace) -> None:
        """Run a recorded trace; what it touches is mapped as its loader would have."""
        image = Image(call.path)
        for _ in range(call.repeat):
            for piece in open_trace(Path(call.path), limit=call.limit):
                trace = piece.collapse(self.line_bytes)
                await self._map_image(thread, trace, image)
                if await thread.access(trace) is not None:
                    return

    async def _access_all(self, thread: UserThread, traces: Iterable[Trace]) -> None:
        for trace in traces:
            if await thread.access(trace) is not None:
                return

    async def _map_image(self, thread: UserThread, trace: Trace, image: Image) -> None:
        """Map what a recorded program touches and nothing maps yet, as its loader would have."""

        def steps(mm: MmStruct) -> Iterator[AreaSearched]:
            for start, end in _page_runs(trace):
                position = start
                for vma in [*mm.tree.in_range(start, end), None]:
                    stop = end if vma is None else vma.vm_start
                    if position < stop:
                        mm.insert_vm_struct(
                            Vma(
                                vm_start=position,
                                vm_end=stop,
                                vm_flags=_IMAGE_FLAGS,
                                vm_pgoff=position >> PAGE_SHIFT,
                                vm_file=image,
                                name=image.path,
                            )
                        )
                    position = end if vma is None else vma.vm_end
            yield from ()

        await self._change(thread, lambda mm: _ending_with_zero(steps(mm)))


def _page_runs(trace: Trace) -> list[tuple[int, int]]:
    """Return the runs `[start, end)` of neighbouring pages that a trace touches, lowest first."""
    last = trace.address + ((trace.meta >> SIZE_SHIFT) & SIZE_MASK) - 1
    pages = np.unique(np.concatenate([trace.address >> PAGE_SHIFT, last >> PAGE_SHIFT]))
    if not len(pages):
        return []
    breaks = np.flatnonzero(np.diff(pages) != 1)
    starts = pages[np.concatenate([[0], breaks + 1])]
    ends = pages[np.concatenate([breaks, [len(pages) - 1]])]
    return [
        (int(start) * PAGE_SIZE, (int(end) + 1) * PAGE_SIZE)
        for start, end in zip(starts, ends, strict=True)
    ]


def _ending_with_zero(steps: Iterator[AreaSearched]) -> MmapSteps:
    yield from steps
    return 0
