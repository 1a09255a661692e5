"""The objects of threads and processes (kernel/fork.c, exit.c, cred.c, pid.c; Linux 6.1).

A thread is a task_struct and a struct pid. Those of a process share credentials, an fs_struct, the
handlers of signals and a signal_struct; also files and an address space, which others keep. Some
objects are read under RCU, and go back when their readers have left.

Left out: what init does when it waits for its children takes no time, and is done on the CPU of who
ends; open files keep no credentials; the threads' stacks (vmalloc); what security modules, cgroups
and delay accounting add to a thread; pid namespaces; thread groups whose parent ignores SIGCHLD.
"""

from mmactors.actors.state.kernel import Kernel
from mmactors.actors.state.task_struct import SignalStruct, TaskStruct
from mmactors.label import TASKLIST, Label, Mode
from mmactors.mm.page_alloc.gfp import GFP_KERNEL, GFP_ZERO
from mmactors.mm.slab.kernel_caches import (
    CRED_JAR,
    FS_CACHE,
    PID,
    SIGHAND_CACHE,
    SIGNAL_CACHE,
    TASK_STRUCT,
)


async def dup_task_struct(kernel: Kernel, signal: SignalStruct) -> TaskStruct | None:
    """Return a thread of `signal` that nobody can see yet; None: there is no memory."""
    thing = await kernel.objects.kmem_cache_alloc(TASK_STRUCT, "dup_task_struct")
    return TaskStruct(thing, signal) if thing else None


async def copy_creds(kernel: Kernel, signal: SignalStruct) -> bool:
    """Give a new process credentials of its own; say whether there was memory."""
    signal.cred = await kernel.objects.kmem_cache_alloc(CRED_JAR, "prepare_creds")
    return signal.cred != 0


async def copy_signal(kernel: Kernel, signal: SignalStruct) -> bool:
    """Give a new process the rest of what its threads share; say whether there was memory."""
    alloc = kernel.objects.kmem_cache_alloc
    signal.fs = await alloc(FS_CACHE, "copy_fs_struct")
    if signal.fs:
        signal.sighand = await alloc(SIGHAND_CACHE, "copy_process")
    if signal.sighand:
        signal.signal = await alloc(SIGNAL_CACHE, "copy_process", GFP_KERNEL | GFP_ZERO)
    return signal.signal != 0


async def alloc_pid(kernel: Kernel, task: TaskStruct) -> bool:
    """Give a new thread a struct pid; say whether there was memory."""
    task.pid = await kernel.objects.kmem_cache_alloc(PID, "alloc_pid")
    return task.pid != 0


async def lock_tasklist(kernel: Kernel, text: str) -> None:
    """Take a step, in a search, on who is whose child (tasklist_lock)."""
    if kernel.engine.is_exploring:
        await kernel.engine.step(Label(text, ((TASKLIST, Mode.WRITE),)))


def attach_task(task: TaskStruct) -> None:
    """Let all see a thread for which nothing can fail any more."""
    signal = task.signal
    if signal.leader is None:
        signal.leader = task
        assert signal.parent is not None, "init has begun long ago"
        signal.parent.children.append(signal)
    signal.tasks.append(task)
    signal.nr_live += 1


async def cleanup_signal(kernel: Kernel, signal: SignalStruct) -> None:
    """Give back what `copy_signal` has given to a process that will not be."""
    free = kernel.objects.kmem_cache_free
    if signal.signal:
        await free(SIGNAL_CACHE, signal.signal, "copy_process")
    if signal.sighand:
        await free(SIGHAND_CACHE, signal.sighand, "__cleanup_sighand")
    await exit_fs(kernel, signal)


def delayed_free_task(kernel: Kernel, task: TaskStruct) -> None:
    """Give back a thread that will not be, and the credentials of a process that will not be."""
    objects, signal = kernel.objects, task.signal
    if task.pid:
        objects.free_by_rcu(PID, task.pid, "put_pid")
    if signal.leader is None and signal.cred:
        objects.free_by_rcu(CRED_JAR, signal.cred, "put_cred_rcu")
    objects.free_by_rcu(TASK_STRUCT, task.thing, "free_task")


async def exit_fs(kernel: Kernel, signal: SignalStruct) -> None:
    """Give the fs_struct back when the last thread has no more use for it."""
    if signal.fs:
        fs, signal.fs = signal.fs, 0
        await kernel.objects.kmem_cache_free(FS_CACHE, fs, "free_fs_struct")


async def exit_notify(kernel: Kernel, task: TaskStruct) -> None:
    """Let a thread have ended, and release those for whose end nobody waits.

    That is who was not the first of its process, and a process whose parent is init, as the
    children of this process are from now on if this was its last thread.
    """
    init, signal = kernel.init_signal, task.signal
    await lock_tasklist(kernel, "exit_notify")
    dead = []
    signal.nr_live -= 1
    if not signal.nr_live:
        for child in signal.children:
            child.parent = init
            init.children.append(child)
            if child.is_zombie:
                dead.append(_leader_of(child))
        signal.children.clear()
        signal.is_zombie = True
    if task is not signal.leader:
        dead.append(task)
    if not signal.nr_live and signal.parent is init:
        dead.append(_leader_of(signal))
    for each in dead:
        await wait_task_zombie(kernel, each)


async def wait_task_zombie(kernel: Kernel, task: TaskStruct) -> None:
    """Release a thread that has ended; the first of a process if all have, and nobody else does."""
    signal = task.signal
    await lock_tasklist(kernel, "wait_task_zombie")
    if task is signal.leader:
        if not signal.is_zombie:
            return
        signal.is_zombie = False
        assert signal.parent is not None, "init does not end"
        signal.parent.children.remove(signal)
    await _release_task(kernel, task)


async def _release_task(kernel: Kernel, task: TaskStruct) -> None:
    """Forget a thread; its objects go back when those that read them have left."""
    objects, signal = kernel.objects, task.signal
    signal.tasks.remove(task)
    is_last = not signal.tasks
    objects.free_by_rcu(PID, task.pid, "put_pid")
    if is_last:
        # Its memory stays handlers of signals as long as anybody may look (SLAB_TYPESAFE_BY_RCU).
        await objects.kmem_cache_free(SIGHAND_CACHE, signal.sighand, "__cleanup_sighand")
        # The thread lets go of them after one period (delayed_put_task_struct).
        objects.free_by_rcu(CRED_JAR, signal.cred, "put_cred_rcu", nr_periods=2)
        objects.free_by_rcu(SIGNAL_CACHE, signal.signal, "__put_task_struct")
    objects.free_by_rcu(TASK_STRUCT, task.thing, "free_task")


def _leader_of(signal: SignalStruct) -> TaskStruct:
    assert signal.leader is not None, "who has ended has begun"
    return signal.leader
