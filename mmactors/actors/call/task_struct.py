"""The objects of threads and processes (kernel/fork.c, exit.c, cred.c, pid.c; Linux 6.1).

A thread is a task_struct and a struct pid. Those of a process share credentials, an fs_struct, the
handlers of signals and a signal_struct; also files and an address space, which others keep. Some
objects are read under RCU, and go back when their readers have left.

Left out: what init does when it waits for its children takes no time, and is done on the CPU of who
ends; open files keep no credentials; the threads' stacks (vmalloc); what security modules, cgroups
and delay accounting add to a thread; pid namespaces; thread groups whose parent ignores SIGCHLD.
"""

from functools import partial

from attrs import define, field

from mmactors.actors.state.kernel import Kernel
from mmactors.engine.cpu import Cpu
from mmactors.mm.page_alloc.gfp import GFP_KERNEL, GFP_ZERO
from mmactors.mm.slab.kernel_caches import (
    CRED_JAR,
    FS_CACHE,
    PID,
    SIGHAND_CACHE,
    SIGNAL_CACHE,
    TASK_STRUCT,
)


@define(eq=False)
class SignalStruct:
    """What the threads of a process share: addresses of objects, 0 if there is none."""

    parent: "SignalStruct | None" = field(default=None, repr=False)
    """Who waits for its end; None: init."""
    cred: int = 0
    fs: int = 0
    sighand: int = 0
    signal: int = 0
    leader: "TaskStruct | None" = field(default=None, repr=False)
    children: "list[SignalStruct]" = field(factory=list, repr=False)
    """Processes that wait for being waited for, and those that have not ended."""
    nr_live: int = 0
    """Threads that have not ended."""
    nr_threads: int = 0
    """Threads that were not released: they have the handlers of signals."""
    sigcnt: int = 0
    """Task_structs that are there."""
    is_zombie: bool = False
    """All threads have ended, and the parent has not heard of it."""


@define(eq=False)
class TaskStruct:
    """A thread as an object."""

    thing: int
    signal: SignalStruct
    pid: int = 0
    """Address of its struct pid."""


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


def attach_task(task: TaskStruct) -> None:
    """Let all see a thread for which nothing can fail any more."""
    signal = task.signal
    if signal.leader is None:
        signal.leader = task
        if signal.parent is not None:
            signal.parent.children.append(signal)
    signal.nr_live += 1
    signal.nr_threads += 1
    signal.sigcnt += 1


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


async def exit_notify(kernel: Kernel, cpu: Cpu, task: TaskStruct) -> None:
    """Let a thread have ended, and release those for whose end nobody waits.

    That is who was not the first of its process, and a process whose parent is init, as the
    children of this process are from now on if this was its last thread.
    """
    signal = task.signal
    dead = []
    signal.nr_live -= 1
    if not signal.nr_live:
        for child in signal.children:
            child.parent = None
            if child.is_zombie:
                child.is_zombie = False
                dead.append(_leader_of(child))
        signal.children.clear()
    if task is not signal.leader:
        dead.append(task)
    if not signal.nr_live:
        if signal.parent is None:
            dead.append(_leader_of(signal))
        else:
            signal.is_zombie = True
    for each in dead:
        await release_task(kernel, cpu, each)


async def wait_task_zombie(kernel: Kernel, cpu: Cpu, task: TaskStruct) -> None:
    """Release a process, whose first thread this was, if it has ended and nobody has yet."""
    signal = task.signal
    if signal.is_zombie:
        signal.is_zombie = False
        assert signal.parent is not None, "init waits for its children at once"
        signal.parent.children.remove(signal)
        await release_task(kernel, cpu, task)


async def release_task(kernel: Kernel, cpu: Cpu, task: TaskStruct) -> None:
    """Forget a thread that has ended; its objects go back when those that read them have left."""
    objects, signal = kernel.objects, task.signal
    assert task.pid, "a thread is released once"
    objects.free_by_rcu(PID, task.pid, "put_pid")
    task.pid = 0
    signal.nr_threads -= 1
    if not signal.nr_threads:
        # Its memory stays handlers of signals as long as anybody may look (SLAB_TYPESAFE_BY_RCU).
        await objects.kmem_cache_free(SIGHAND_CACHE, signal.sighand, "__cleanup_sighand")
    kernel.rcu.call(partial(_delayed_put_task_struct, kernel, cpu, task))


def _leader_of(signal: SignalStruct) -> TaskStruct:
    assert signal.leader is not None, "who has ended has begun"
    return signal.leader


def _delayed_put_task_struct(kernel: Kernel, cpu: Cpu, task: TaskStruct) -> None:
    objects, signal = kernel.objects, task.signal
    signal.sigcnt -= 1
    if not signal.sigcnt:
        put = partial(objects.free_in_softirq, cpu, CRED_JAR, signal.cred, "put_cred_rcu")
        kernel.rcu.call(put)
        objects.free_in_softirq(cpu, SIGNAL_CACHE, signal.signal, "__put_task_struct")
    objects.free_in_softirq(cpu, TASK_STRUCT, task.thing, "free_task")
