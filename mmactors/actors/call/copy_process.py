"""What a new process or thread is made of, in the kernel's order (kernel/fork.c, Linux 6.1).

Where there is no memory, all that was taken before is given back, the newest first. The address
space comes between `copy_process` and `alloc_pid`; who calls sees to it.
"""

from mmactors.actors.call.task_struct import (
    alloc_pid,
    attach_task,
    cleanup_signal,
    copy_creds,
    copy_signal,
    delayed_free_task,
    dup_task_struct,
)
from mmactors.actors.file.truncate import fput
from mmactors.actors.state.kernel import Kernel
from mmactors.actors.state.task_struct import SignalStruct, TaskStruct
from mmactors.engine.cpu import Cpu
from mmactors.mm.slab.kernel_caches import FILES_CACHE


async def copy_process(kernel: Kernel, cpu: Cpu, parent: SignalStruct) -> TaskStruct | None:
    """Return the first thread of a process with files of its own; None: there is no memory."""
    signal = SignalStruct(parent)
    task = await dup_task_struct(kernel, signal)
    if task is None:
        return None
    if (
        await copy_creds(kernel, signal)
        and await dup_fd(kernel, signal)
        and await copy_signal(kernel, signal)
    ):
        return task
    await bad_fork(kernel, cpu, task)
    return None


async def dup_fd(kernel: Kernel, signal: SignalStruct) -> bool:
    """Give a new process the files that its parent has open; say whether there was memory."""
    assert signal.parent is not None, "init has begun long ago"
    thing = await kernel.objects.kmem_cache_alloc(FILES_CACHE, "dup_fd")
    if thing:
        signal.files = signal.parent.files.dup(thing)
    return thing != 0


async def bad_fork(kernel: Kernel, cpu: Cpu, task: TaskStruct) -> None:
    """Give back what a process was to be made of, but for its address space."""
    await cleanup_signal(kernel, task.signal)
    await exit_files(kernel, cpu, task.signal)
    delayed_free_task(kernel, task)


async def exit_files(kernel: Kernel, cpu: Cpu, signal: SignalStruct) -> None:
    """Close all files of a process that ends, or will not be."""
    files = signal.files
    for file in files.remove_all():
        await fput(kernel, cpu, file)
    if files.thing:
        thing, files.thing = files.thing, 0
        await kernel.objects.kmem_cache_free(FILES_CACHE, thing, "put_files_struct")


async def copy_first_process(kernel: Kernel, cpu: Cpu) -> TaskStruct | None:
    """Return what init forks before a program begins; None: there is no memory."""
    task = await copy_process(kernel, cpu, kernel.init_signal)
    if task is not None and not await alloc_pid(kernel, task):
        await bad_fork(kernel, cpu, task)
        return None
    if task is not None:
        attach_task(task)
    return task


async def copy_thread(kernel: Kernel, of: TaskStruct) -> TaskStruct | None:
    """Return one more thread of the process that has the thread `of`; None: there is no memory.

    `attach_task` lets all see it, unless a fatal signal came (`delayed_free_task`).
    """
    task = await dup_task_struct(kernel, of.signal)
    if task is not None and not await alloc_pid(kernel, task):
        delayed_free_task(kernel, task)
        return None
    return task
