"""From a process of the model to the values that its /proc texts are made of."""

from typing import Final

import numpy as np
from attrs import fields

from mmactors.actors.program.process import Process, Thread
from mmactors.actors.state.kernel import Kernel
from mmactors.engine.cpu_times import thread_usage
from mmactors.mm.area.mapped_file import FMODE_WRITE, MappedFile
from mmactors.mm.area.mm_struct import (
    MM_ANONPAGES,
    MM_FILEPAGES,
    MM_SHMEMPAGES,
    MM_SWAPENTS,
    MmStruct,
)
from mmactors.mm.area.rlimit import Rlimits
from mmactors.mm.area.task import Task, TaskIoAccounting
from mmactors.observe.proc.of_system import MOUNTS, mount_id_of
from mmactors.observe.proc.of_vma import view_of_vma
from mmactors.observe.proc.process import process_tree
from mmactors.observe.proc.process_view import (
    PF_FORKNOEXEC,
    IoView,
    MmView,
    OpenFileView,
    ProcessView,
    ThreadView,
)
from mmactors.observe.proc.sysctl import threads_max
from mmactors.units import SECOND

_TICK_NS: Final = SECOND // 100
_COMM_MAX: Final = 15
_O_RDWR: Final = 0o2
_O_LARGEFILE: Final = 0o100000


def process_texts(process: Process) -> dict[str, str]:
    """Return everything below /proc/PID by its path there; some are links."""
    return process_tree(view_of_process(process))


def view_of_process(process: Process) -> ProcessView:
    """Return the process as /proc sees it now."""
    kernel = process.kernel
    nr_cpus = len(kernel.cpus)
    space = process.space
    rlimits = Rlimits() if space is None else space.mm.rlimits
    max_threads = threads_max(kernel)
    # Who has just ended is shown with its first thread.
    threads = process.live_threads or [process.leader]
    usage = process.usage()
    return ProcessView(
        pid=process.pid,
        ppid=0 if process.parent is None else process.parent.pid,
        comm=process.comm[:_COMM_MAX],
        state=_state_of(process),
        nr_threads=max(process.nr_live_threads, 1),
        cmdline=(process.comm,),
        minflt=process.min_flt,
        cminflt=process.cmin_flt,
        majflt=process.maj_flt,
        cmajflt=process.cmaj_flt,
        utime_ticks=usage.user_ns // _TICK_NS,
        stime_ticks=usage.system_ns // _TICK_NS,
        cutime_ticks=process.cuser_ns // _TICK_NS,
        cstime_ticks=process.csystem_ns // _TICK_NS,
        nvcsw=process.leader.actor.times.nvcsw,
        nivcsw=process.leader.actor.times.nivcsw,
        flags=0 if process.parent is None else PF_FORKNOEXEC,
        cpu=process.leader.cpu.index,
        exit_code=process.killed_by or 0,
        oom_score_adj=process.oom_score_adj,
        start_time_ticks=process.started_ns // _TICK_NS,
        sig_queue_max=max_threads // 2,
        nr_cpus=nr_cpus,
        cpus_allowed=(1 << nr_cpus) - 1,
        mems_allowed=(1 << len(set(kernel.cpu_node))) - 1,
        io=_io_of(process.tasks),
        rlimits=(
            ("data size", rlimits.data, rlimits.data),
            ("stack size", rlimits.stack, rlimits.stack_max),
            ("processes", max_threads // 2, max_threads // 2),
            ("locked memory", rlimits.memlock, rlimits.memlock),
            ("address space", rlimits.address_space, rlimits.address_space),
            ("pending signals", max_threads // 2, max_threads // 2),
        ),
        exe=f"/{process.comm}",
        files=tuple(_file_of(fd, file) for fd, file in process.files.descriptors()),
        threads=tuple(_thread_of(one) for one in sorted(threads, key=lambda one: one.tid)),
        mounts=MOUNTS,
        mm=None if space is None else _view_of_mm(space.mm, kernel),
    )


def _state_of(process: Process) -> str:
    """Return the state of the leader; Z: nothing is left but the number."""
    if process.space is None and not process.nr_live_threads:
        return "Z"
    return _thread_state(process.leader)


def _thread_state(thread: Thread) -> str:
    """Return R if the thread has a CPU or waits for one, S if it sleeps."""
    return "R" if thread.cpu.has(thread.actor) else "S"


def _thread_of(thread: Thread) -> ThreadView:
    process, task = thread.process, thread.task
    usage = thread_usage(thread.cpu, thread.actor, process.kernel.engine.now_ns)
    is_leader = thread is process.leader
    return ThreadView(
        tid=thread.tid,
        comm=(process.comm if is_leader else thread.comm)[:_COMM_MAX],
        state=_thread_state(thread),
        minflt=task.min_flt,
        majflt=task.maj_flt,
        utime_ticks=usage.user_ns // _TICK_NS,
        stime_ticks=usage.system_ns // _TICK_NS,
        nvcsw=thread.actor.times.nvcsw,
        nivcsw=thread.actor.times.nivcsw,
        start_time_ticks=thread.started_ns // _TICK_NS,
        cpu=thread.cpu.index,
        flags=0 if is_leader and process.parent is None else PF_FORKNOEXEC,
        io=_io_of([task]),
    )


def _io_of(tasks: list[Task]) -> IoView:
    names = [attribute.name for attribute in fields(TaskIoAccounting)]
    return IoView(**{name: sum(getattr(task.ioac, name) for task in tasks) for name in names})


def _file_of(fd: int, file: MappedFile) -> OpenFileView:
    is_unlinked = file.mapping.is_unlinked
    return OpenFileView(
        fd=fd,
        path=f"{file.path} (deleted)" if is_unlinked else file.path,
        flags=_O_LARGEFILE | (_O_RDWR if file.mode & FMODE_WRITE else 0),
        inode=file.mapping.inode,
        mount_id=mount_id_of(file.path),
    )


def _view_of_mm(mm: MmStruct, kernel: Kernel) -> MmView:
    pages = kernel.pages
    zone_node = np.array([zone.node for zone in kernel.allocator.zones], np.int64)
    return MmView(
        total_vm_pages=mm.total_vm,
        hiwater_vm_pages=mm.hiwater_vm,
        hiwater_rss_pages=mm.hiwater_rss,
        locked_vm_pages=mm.locked_vm,
        rss_anon_pages=max(mm.rss[MM_ANONPAGES], 0),
        rss_file_pages=max(mm.rss[MM_FILEPAGES], 0),
        rss_shmem_pages=max(mm.rss[MM_SHMEMPAGES], 0),
        swap_pages=max(mm.rss[MM_SWAPENTS], 0),
        data_vm_pages=mm.data_vm,
        stack_vm_pages=mm.stack_vm,
        exec_vm_pages=mm.exec_vm,
        pgtables_bytes=mm.pgtables_bytes,
        start_brk=mm.start_brk,
        brk=mm.brk,
        start_stack=mm.start_stack,
        vmas=tuple(view_of_vma(mm, vma, pages, zone_node) for vma in mm.tree),
    )
