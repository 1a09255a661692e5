"""What a new process or thread is made of, in the kernel's order (kernel/fork.c, Linux 6.1).

Where there is no memory, all that was taken before is given back, the newest first. The address
space comes between `copy_process` and `alloc_pid`; who calls sees to it.
"""

from mmactors.actors.call.task_struct import (
    SignalStruct,
    TaskStruct,
    alloc_pid,
    attach_task,
    cleanup_signal,
    copy_creds,
    copy_signal,
    delayed_free_task,
    dup_task_struct,
)
from mmactors.actors.file.files_struct import FilesStruct, dup_fd, put_files_struct
from mmactors.actors.state.kernel import Kernel
from mmactors.engine.cpu import Cpu


async def copy_process(
    kernel: Kernel, cpu: Cpu, files: FilesStruct, parent: SignalStruct | None
) -> tuple[TaskStruct, FilesStruct] | None:
    """Return the first thread of a process with files of its own; None: there is no memory."""
    signal = SignalStruct(parent)
    task = await dup_task_struct(kernel, signal)
    if task is None:
        return None
    copied = None
    if await copy_creds(kernel, signal):
        copied = await dup_fd(kernel, files)
    if copied is not None and await copy_signal(kernel, signal):
        return task, copied
    await bad_fork(kernel, cpu, task, copied)
    return None


async def bad_fork(kernel: Kernel, cpu: Cpu, task: TaskStruct, files: FilesStruct | None) -> None:
    """Give back what a process was to be made of, but for its address space."""
    await cleanup_signal(kernel, task.signal)
    if files is not None:
        await put_files_struct(kernel, cpu, files)
    delayed_free_task(kernel, task)


async def copy_first_process(kernel: Kernel, cpu: Cpu) -> tuple[TaskStruct, FilesStruct] | None:
    """Return what init forks before a program begins; None: there is no memory."""
    copied = await copy_process(kernel, cpu, FilesStruct(), parent=None)
    if copied is None:
        return None
    task, files = copied
    if not await alloc_pid(kernel, task):
        await bad_fork(kernel, cpu, task, files)
        return None
    attach_task(task)
    return copied


async def copy_thread(kernel: Kernel, of: TaskStruct) -> TaskStruct | None:
    """Return one more thread of the process that has the thread `of`; None: there is no memory.

    `attach_task` lets all see it, unless a fatal signal came (`delayed_free_task`).
    """
    task = await dup_task_struct(kernel, of.signal)
    if task is not None and not await alloc_pid(kernel, task):
        delayed_free_task(kernel, task)
        return None
    return task
