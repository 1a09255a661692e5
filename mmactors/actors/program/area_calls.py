"""System calls on areas: mmap and what changes, locks, advises and looks at what it mapped (mm/).

A call ends with the kernel's result, an address, 0 or minus the errno, in the log (sys_exit); one
that the kernel refuses does not stop the program. What is asked of a name that was never bound is
EINVAL without a system call, as the recordings' interpreter answers it.
"""

import errno
from collections.abc import Callable

from attrs import define

from mmactors.actors.call.migrate_device import migrate_range
from mmactors.actors.call.mmap import (
    CallSteps,
    advise_mappings,
    change_mappings,
    read_mappings,
)
from mmactors.actors.program.process import Process
from mmactors.actors.program.thread import UserThread
from mmactors.actors.rmap.page_idle import mark_idle
from mmactors.actors.state.kernel import Kernel
from mmactors.label import PAGE_CACHE, PAGE_TABLES, Label, Mode
from mmactors.mm.area.mm_struct import MmStruct
from mmactors.mm.area.vm_flags import page_align
from mmactors.mm.syscall import mman
from mmactors.mm.syscall.brk import do_brk
from mmactors.mm.syscall.mincore import do_mincore
from mmactors.mm.syscall.mlock import do_mlock, do_mlockall, do_munlock, do_munlockall
from mmactors.mm.syscall.mmap import ksys_mmap
from mmactors.mm.syscall.mprotect import do_mprotect
from mmactors.mm.syscall.mremap import do_mremap
from mmactors.mm.syscall.msync import do_msync
from mmactors.mm.syscall.munmap import do_munmap
from mmactors.units import PAGE_SHIFT, ULONG_MAX
from mmactors.workload.operation import all as op

AreaOperation = (
    op.Mmap | op.Munmap | op.Mprotect | op.Mremap | op.Msync | op.Mlock | op.Mlock2 | op.Munlock
    | op.Mlockall | op.Munlockall | op.Madvise | op.Mincore | op.Migrate | op.Idle | op.Brk
)  # fmt: skip
_RangeOperation = (
    op.Munmap | op.Mprotect | op.Mremap | op.Msync | op.Mlock | op.Mlock2 | op.Munlock
    | op.Madvise | op.Mincore | op.Migrate | op.Idle
)  # fmt: skip


@define(eq=False, kw_only=True)
class AreaCalls:
    """Runs system calls on areas for all threads of a machine."""

    kernel: Kernel

    async def perform(self, thread: UserThread, call: AreaOperation) -> int:
        """Do one call and return its result."""
        match call:
            case op.Mmap():
                return await self._mmap(thread, call)
            case op.Brk():
                return await self._brk(thread, call)
            case op.Mlockall(flags=flags):
                return await self.change(thread, lambda mm: do_mlockall(mm, flags))
            case op.Munlockall():
                return await self.change(thread, do_munlockall)
            case _:
                bound = call.range.resolve(thread.process.bindings)
                if bound is None:
                    return -errno.EINVAL
                return await self._on_range(thread, call, *bound)

    async def change(self, thread: UserThread, steps: Callable[[MmStruct], CallSteps]) -> int:
        """Do a system call that changes areas."""
        space = thread.space
        await self.kernel.engine.spend(self.kernel.costs.syscall_ns)
        return await change_mappings(self.kernel, thread.cpu, space, steps)

    async def read(self, thread: UserThread, steps: Callable[[MmStruct], CallSteps]) -> int:
        """Do a system call that leaves areas as they are."""
        space = thread.space
        await self.kernel.engine.spend(self.kernel.costs.syscall_ns)
        return await read_mappings(self.kernel, thread.cpu, space, steps)

    async def unmap(self, thread: UserThread, start: int, length: int) -> int:
        """Do munmap."""

        def steps(mm: MmStruct) -> CallSteps:
            error = yield from do_munmap(mm, start=start, length=length, may_downgrade=True)
            if not error:
                _forget(thread, start, length)
            return error

        return await self.change(thread, steps)

    async def advise(self, thread: UserThread, start: int, length: int, advice: int) -> int:
        """Do madvise, with mmap_lock as the advice needs it."""
        kernel, space = self.kernel, thread.space
        await kernel.engine.spend(kernel.costs.syscall_ns)
        error = await advise_mappings(
            kernel, thread.cpu, space, start=start, length=length, advice=advice
        )
        if advice == mman.MADV_DONTNEED and not error:
            _forget(thread, start, length)
        return error

    async def _on_range(
        self, thread: UserThread, call: _RangeOperation, start: int, length: int
    ) -> int:
        place = {"start": start, "length": length}
        match call:
            case op.Munmap():
                return await self.unmap(thread, start, length)
            case op.Mprotect(prot=prot):
                return await self.change(
                    thread, lambda mm: do_mprotect(mm, **place, prot=prot.value_of_call)
                )
            case op.Mremap():
                return await self._mremap(thread, call, start, length)
            case op.Msync():
                return await self._msync(thread, start, length, int(call.flags))
            case op.Mlock():
                return await self.change(thread, lambda mm: do_mlock(mm, **place))
            case op.Mlock2():
                flags = mman.MLOCK_ONFAULT
                return await self.change(thread, lambda mm: do_mlock(mm, **place, flags=flags))
            case op.Munlock():
                return await self.change(thread, lambda mm: do_munlock(mm, **place))
            case op.Madvise(advice=name):
                return await self.advise(thread, start, length, getattr(mman, f"MADV_{name}"))
            case op.Mincore():
                return await self._mincore(thread, start, length)
            case op.Migrate():
                await self.kernel.engine.spend(self.kernel.costs.syscall_ns)
                return await migrate_range(
                    self.kernel, thread.cpu, thread.space, start, start + length
                )
            case op.Idle():
                await self.kernel.engine.spend(self.kernel.costs.syscall_ns)
                return await mark_idle(self.kernel, thread.cpu, thread.space, start, start + length)

    async def _mmap(self, thread: UserThread, call: op.Mmap) -> int:
        process = thread.process
        hint = place_of(process, call.address)
        file = None if call.file is None else process.files.get(call.file)

        def steps(mm: MmStruct) -> CallSteps:
            start = yield from ksys_mmap(
                mm,
                address=hint,
                length=call.length,
                prot=call.prot.value_of_call,
                flags=int(call.flags),
                file=file,
                offset=call.offset,
            )
            if start >= 0:
                _forget(thread, start, call.length)
            return start

        result = await self.change(thread, steps)
        if result >= 0:
            process.names[call.name] = (result, page_align(call.length))
        return result

    async def _mremap(self, thread: UserThread, call: op.Mremap, start: int, length: int) -> int:
        process = thread.process
        place = place_of(process, call.address)

        def steps(mm: MmStruct) -> CallSteps:
            moved = yield from do_mremap(
                mm,
                address=start,
                old_length=length,
                new_length=call.length,
                flags=int(call.flags),
                new_address=place,
            )
            if moved >= 0:
                _forget(thread, start, length)
            return moved

        result = await self.change(thread, steps)
        if result >= 0 and call.result_name is not None:
            process.names[call.result_name] = (result, page_align(call.length))
        return result

    async def _brk(self, thread: UserThread, call: op.Brk) -> int:
        if not call.change:
            return await self.change(thread, lambda mm: do_brk(mm, 0))
        old = thread.space.mm.brk

        def steps(mm: MmStruct) -> CallSteps:
            new = yield from do_brk(mm, (old + call.change) & ULONG_MAX)
            if new < old:
                _forget(thread, page_align(new), old - page_align(new))
            return new

        return await self.change(thread, steps) - old

    async def _msync(self, thread: UserThread, start: int, length: int, flags: int) -> int:
        checks = self.kernel.checks
        if checks is not None and flags & mman.MS_SYNC:
            checks.msync_began(thread.space.mm, start, start + length)
        error = await self.read(
            thread, lambda mm: do_msync(mm, start=start, length=length, flags=flags)
        )
        if checks is not None and flags & mman.MS_SYNC:
            checks.sync_ended(thread.space.mm, succeeded=error == 0)
        return error

    async def _mincore(self, thread: UserThread, start: int, length: int) -> int:
        """Return how many pages of a range are resident."""
        whole = length >> PAGE_SHIFT << PAGE_SHIFT
        found: list[int] = []

        def steps(mm: MmStruct) -> CallSteps:
            touches = ((PAGE_TABLES, Mode.READ), (PAGE_CACHE, Mode.READ))
            yield Label("look what is resident", touches)
            error, nr_resident = do_mincore(mm, start=start, length=whole)
            found.append(nr_resident)
            return error

        return await self.read(thread, steps) or found[0]


def _forget(thread: UserThread, start: int, length: int) -> None:
    """Let what the C library wrote into pages read 0 that the program has taken from it.

    With mmap_lock held: nobody can have the addresses again by then, and have written there.
    """
    heap = thread.process.heap
    if heap is not None:
        heap.forget(start, length)


def place_of(process: Process, address: op.Address | None) -> int:
    """Return an address; no address, and a name that was never bound, count as 0."""
    if address is None:
        return 0
    if address.base is None:
        return address.offset
    return (process.bindings.get(address.base, (0, 0))[0] + address.offset) & ULONG_MAX
