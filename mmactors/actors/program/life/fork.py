"""Forking a process: its objects, a copy of its address space (kernel/fork.c, Linux 6.1).

Both mmap_locks are held for writing, the child's inside the parent's. Entries of private memory
lose the right to write in both, and at the end, with the parent's lock still held, all CPUs forget
what they know of the parent. Left out: everything that is not memory.
"""

import errno

from mmactors.actors.call.copy_process import bad_fork, copy_process
from mmactors.actors.call.mm_alloc import mm_alloc, mmput
from mmactors.actors.call.task_struct import alloc_pid, attach_task, lock_tasklist
from mmactors.actors.fault.page_work import perform_page_work
from mmactors.actors.program.thread import UserThread
from mmactors.actors.rmap.rmap_locks import answer_rmap, rmap_label
from mmactors.actors.state.address_space import AddressSpace
from mmactors.actors.state.kernel import Kernel
from mmactors.actors.state.perform import perform
from mmactors.actors.tlb.tlb import flush_tlb_mm
from mmactors.engine.cpu import Cpu
from mmactors.engine.lock.lock_observer import SINGLE_DEPTH_NESTING
from mmactors.label import Label, Mode, areas, rss
from mmactors.mm.area.vma_adjust import RmapRequest
from mmactors.mm.entries.copy_page_range import copy_page_range, is_cow_mapping
from mmactors.mm.syscall.fork import CopyPageRange, ForkRequest, dup_mmap
from mmactors.rules import held

_ENOMEM = -errno.ENOMEM


async def fork(thread: UserThread, name: str) -> int:
    """Make a child process known as `name`; return its pid or minus the errno.

    ENOMEM: no page for a table or an object, or the promise of memory; EINTR: the parent is to end.
    The child begins on the parent's CPU and waits for operations. It has the files that were open
    before its memory was copied, and a pid when nothing can fail any more (copy_process).
    """
    process = thread.process
    kernel = process.kernel
    cpu = thread.cpu
    await kernel.engine.spend(kernel.costs.syscall_ns + kernel.costs.fork_ns)
    assert thread.task_struct is not None, f"{thread.name} has begun"
    task = await copy_process(kernel, cpu, thread.task_struct.signal)
    if task is None:
        return _ENOMEM
    space = await _copy_mm(kernel, cpu, thread)
    if space is None:
        await bad_fork(kernel, cpu, task)
        return _ENOMEM
    error = 0 if await alloc_pid(kernel, task) else _ENOMEM
    await lock_tasklist(kernel, "attach a process")
    if thread.must_end and not error:
        error = -errno.EINTR  # copy_process looks for fatal signals when nothing else can fail.
    if error:
        await mmput(kernel, cpu, space)
        await bad_fork(kernel, cpu, task)
        return error
    child = process.new_child(task.signal.files)
    attach_task(task)
    child.adopt(space)
    child.started_ns = cpu.clock.now
    child.leader = UserThread(
        process=child,
        interpreter=thread.interpreter,
        name=name,
        cpu=cpu,
        program=(),
        is_leader=False,
        task_struct=task,
    )
    child.leader.malloc_thread = thread.malloc_thread
    if process.heap is not None:
        child.heap = heap = process.heap.fork(space.mm.ctx_id, thread.malloc_thread)
        if kernel.heap_checks is not None:
            parent_space = process.heap.ctx_id
            kernel.heap_checks.heap_forked(parent_space, heap.ctx_id, child, heap.library)
    process.table.processes.append(child)
    child.leader.start(cpu.clock.now)
    return child.pid


async def _copy_mm(kernel: Kernel, cpu: Cpu, thread: UserThread) -> AddressSpace | None:
    """Return a copy of a thread's address space; None: there is no memory."""
    made = await mm_alloc(kernel, cpu, "dup_mm")
    if made is None:
        return None
    space = thread.process.new_space(*made)
    if await _dup_mm(kernel, cpu, space, thread.space):
        await mmput(kernel, cpu, space)
        return None
    return space


async def _dup_mm(kernel: Kernel, cpu: Cpu, space: AddressSpace, parent: AddressSpace) -> int:
    async with parent.mmap_lock.write():
        async with space.mmap_lock.write(SINGLE_DEPTH_NESTING):
            error = await _copy(kernel, cpu, space, parent)
        await flush_tlb_mm(kernel, cpu, parent.mm)
    if kernel.checks is not None:
        kernel.checks.revoke_completed(parent.mm)
    return error


async def _copy(kernel: Kernel, cpu: Cpu, space: AddressSpace, parent: AddressSpace) -> int:
    engine = kernel.engine
    mm, old = space.mm, parent.mm
    touches = (
        (areas(mm.ctx_id), Mode.WRITE),
        (areas(old.ctx_id), Mode.WRITE),
        (rss(mm.ctx_id), Mode.READ),
    )

    async def before(request: ForkRequest | None) -> None:
        if engine.wants_step():
            label = Label("copy areas", touches)
            if isinstance(request, RmapRequest):
                label = rmap_label(kernel, space, request, label)
            await engine.step(label)

    async def answer(request: ForkRequest) -> int | None:
        if isinstance(request, CopyPageRange):
            await engine.spend(kernel.costs.mmap_ns)
            is_done = await _copy_pages(kernel, cpu, space, parent, request)
            return 0 if is_done else _ENOMEM
        return await answer_rmap(kernel, space, request)

    return await perform(dup_mmap(mm, old), answer, before=before)


async def _copy_pages(
    kernel: Kernel, cpu: Cpu, space: AddressSpace, parent: AddressSpace, request: CopyPageRange
) -> bool:
    """Copy the entries of an area (copy_page_range); False: no memory.

    Who pins pages without locks meanwhile sees by write_protect_seq that it may be too late.
    """
    copy = copy_page_range(
        space.mm,
        parent.mm,
        kernel.fault_context(cpu),
        child_vma=request.child,
        parent_vma=request.parent,
    )
    is_cow = is_cow_mapping(request.parent)
    is_raised = is_cow and kernel.rules.fork_raises_write_protect_seq
    async with held(parent.write_protect_seq.writing(), when=is_raised):
        return await perform_page_work(kernel, cpu, space, copy)
