"""Pages of a program in other hands: pins of devices, writes of debuggers (mm/gup.c, Linux 6.1).

A device pins pages, writes to physical memory as long as it likes, and gives them back: O_DIRECT,
RDMA, VFIO. /proc/PID/mem writes to one page after the other, forced where the program could not.
"""

import errno
from collections.abc import Sequence

from attrs import define

from mmactors.actors.alloc.page_alloc import put_and_free_page
from mmactors.actors.fault.page_work import perform_page_work
from mmactors.actors.program.process import Process
from mmactors.actors.program.thread import UserThread
from mmactors.actors.state.address_space import AddressSpace
from mmactors.actors.state.files_struct import Pinned
from mmactors.actors.state.kernel import Kernel
from mmactors.engine.cpu import Cpu
from mmactors.label import Label, Mode, data, mm_flags, page
from mmactors.mm.fault.dirty import folio_mark_dirty
from mmactors.mm.fault.gup import (
    FOLL_FORCE,
    FOLL_GET,
    FOLL_PIN,
    FOLL_TOUCH,
    FOLL_WRITE,
    get_user_page,
    gup_pte,
)
from mmactors.mm.rmap.rmap import GUP_PIN_COUNTING_BIAS
from mmactors.units import PAGE_MASK, PAGE_SIZE
from mmactors.workload.operation import all as op

GupOperation = op.Pin | op.Dma | op.Unpin | op.Memwrite


@define(eq=False, kw_only=True)
class GupCalls:
    """Runs the operations of devices and debuggers for all threads of a machine."""

    kernel: Kernel

    async def perform(self, thread: UserThread, call: GupOperation) -> int:
        """Do one operation; return how many pages it was about, or minus the errno."""
        kernel = self.kernel
        await kernel.engine.spend(kernel.costs.syscall_ns)
        devices = thread.process.devices
        match call:
            case op.Pin(device=device):
                result = await self._pin(thread, call)
            case op.Memwrite():
                result = await self._memwrite(thread, call)
            case op.Dma(device=device, access=access):
                result = len(devices.get(device, ()))
                for page in devices.get(device, ()):
                    await transfer(kernel, page, is_write=access == "write")
            case op.Unpin(device=device):
                pages = devices.pop(device, [])
                result = len(pages)
                for pinned in pages:
                    await unpin_user_page_dirty(kernel, thread.cpu, pinned.pfn)
        return result

    async def exit_devices(self, cpu: Cpu, process: Process) -> None:
        """Give back what the devices of a process hold that ends: closing them does that."""
        while process.devices:
            _, pages = process.devices.popitem()
            for pinned in pages:
                await unpin_user_page_dirty(self.kernel, cpu, pinned.pfn)

    async def _pin(self, thread: UserThread, call: op.Pin) -> int:
        bound = call.range.resolve(thread.process.bindings)
        if bound is None or bound[1] <= 0:
            return -errno.EINVAL
        start, end = bound[0] & PAGE_MASK, bound[0] + bound[1]
        if end > thread.space.mm.task_size:
            return -errno.EFAULT
        addresses = range(start, end, PAGE_SIZE)
        pages, error = await pin_user_pages_fast(self.kernel, thread, addresses)
        if not pages:
            return error
        thread.process.devices.setdefault(call.device, []).extend(pages)
        return len(pages)

    async def _memwrite(self, thread: UserThread, call: op.Memwrite) -> int:
        """Write to each page of a range (mem_write, access_remote_vm)."""
        bound = call.range.resolve(thread.process.bindings)
        if bound is None:
            return -errno.EINVAL
        start, end = bound[0] & PAGE_MASK, bound[0] + bound[1]
        space = thread.process.space
        assert space is not None, f"{thread.name} has no address space"
        nr_pages = 0
        async with space.mmap_lock.read():
            for address in range(start, end, PAGE_SIZE):
                if await access_remote_page(self.kernel, thread, space, address):
                    break
                nr_pages += 1
        return nr_pages or -errno.EIO


async def access_remote_page(
    kernel: Kernel, thread: UserThread, space: AddressSpace, address: int
) -> int:
    """Write to one page by force, with mmap_lock held for reading; return 0 or minus the errno."""
    cpu = thread.cpu
    steps = get_user_page(
        kernel.fault_context(cpu),
        space.mm,
        address,
        FOLL_WRITE | FOLL_FORCE | FOLL_GET | FOLL_TOUCH,
        keeps_foll_write=kernel.rules.gup_keeps_foll_write,
    )
    pfn, error = await perform_page_work(kernel, cpu, space, steps)
    if pfn is None:
        return int(error)
    await transfer(kernel, Pinned(space, address, pfn), is_write=True)
    await _set_page_dirty_lock(kernel, cpu, pfn)
    await put_and_free_page(kernel, cpu, pfn)
    return 0


async def pin_user_pages_fast(
    kernel: Kernel, thread: UserThread, addresses: Sequence[int]
) -> tuple[list[Pinned], int]:
    """Pin pages for writing; return those that could be had, up to the first that could not.

    And why that could not, minus the errno; 0: all could.
    """
    space = thread.process.space
    assert space is not None, f"{thread.name} has no address space"
    engine = kernel.engine
    cpu = thread.cpu
    mm = space.mm
    if engine.wants_step():
        await engine.step(Label("set MMF_HAS_PINNED", ((mm_flags(mm.ctx_id), Mode.WRITE),)))
    mm.has_pinned = True
    pinned = await _lockless_pages_from_mm(kernel, cpu, space, addresses)
    error = 0
    if len(pinned) == len(addresses):
        return pinned, error
    async with space.mmap_lock.read():
        for address in addresses[len(pinned) :]:
            steps = get_user_page(
                kernel.fault_context(cpu),
                mm,
                address,
                FOLL_WRITE | FOLL_PIN | FOLL_TOUCH,
                keeps_foll_write=True,
            )
            pfn, error = await perform_page_work(kernel, cpu, space, steps)
            if pfn is None:
                break
            pinned.append(Pinned(space, address, pfn))
    return pinned, error


async def _lockless_pages_from_mm(
    kernel: Kernel, cpu: Cpu, space: AddressSpace, addresses: Sequence[int]
) -> list[Pinned]:
    """Pin what can be had without mmap_lock; nothing if a fork write-protects entries meanwhile."""
    sequence = await space.write_protect_seq.raw_read()
    if sequence & 1:
        return []
    pinned = []
    with cpu.irqs_off():
        for address in addresses:
            steps = gup_pte(kernel.shared_pages, space.mm, address, kernel.checks)
            pfn = await perform_page_work(kernel, cpu, space, steps)
            if pfn is None:
                break
            pinned.append(Pinned(space, address, pfn))
    if not await space.write_protect_seq.read_retry(sequence):
        return pinned
    for pin in pinned:
        await unpin_user_page(kernel, cpu, pin.pfn)
    return []


async def unpin_user_page(kernel: Kernel, cpu: Cpu, pfn: int) -> None:
    """Give a pin back; the last reference frees the page."""
    if kernel.engine.wants_step():
        await kernel.engine.step(Label(f"unpin {pfn:#x}", ((page(pfn), Mode.WRITE),)))
    kernel.shared_pages.refcount_view[pfn] -= GUP_PIN_COUNTING_BIAS - 1
    await put_and_free_page(kernel, cpu, pfn)


async def unpin_user_page_dirty(kernel: Kernel, cpu: Cpu, pfn: int) -> None:
    """Give a pin back and note that the device wrote (unpin_user_pages_dirty_lock)."""
    await _set_page_dirty_lock(kernel, cpu, pfn)
    await unpin_user_page(kernel, cpu, pfn)


async def _set_page_dirty_lock(kernel: Kernel, cpu: Cpu, pfn: int) -> None:
    """Note under its lock that a page was written past all entries (set_page_dirty_lock)."""
    await kernel.page_locks.lock(pfn)
    if kernel.engine.wants_step():
        await kernel.engine.step(Label(f"set dirty {pfn:#x}", ((page(pfn), Mode.WRITE),)))
    folio_mark_dirty(kernel.fault_context(cpu), pfn)
    if kernel.checks is not None:
        kernel.checks.page_dirtied(pfn)
    await kernel.page_locks.unlock(pfn)


async def transfer(kernel: Kernel, page: Pinned, *, is_write: bool) -> None:
    """Read or write a page's contents where it lies, without translations."""
    engine = kernel.engine
    mode = Mode.WRITE if is_write else Mode.READ
    if engine.wants_step():
        verb = "write" if is_write else "read"
        await engine.step(Label(f"{verb} {page.pfn:#x}", ((data(page.pfn), mode),)))
    if kernel.checks is not None:
        kernel.checks.access_pinned(page.space.mm, page.address, page.pfn, is_write=is_write)
    await engine.spend(kernel.costs.copy_user_page_ns)
