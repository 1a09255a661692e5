"""From a process of the model to the values that its /proc texts are made of."""

from typing import Final

from mmactors.actors.program.process import Process
from mmactors.arch.page import PageColumns
from mmactors.mm.area.mm_struct import (
    MM_ANONPAGES,
    MM_FILEPAGES,
    MM_SHMEMPAGES,
    MM_SWAPENTS,
    MmStruct,
)
from mmactors.observe.proc.of_vma import smaps_of_vma, view_of_vma
from mmactors.observe.proc.process import process_files
from mmactors.observe.proc.process_view import (
    PF_FORKNOEXEC,
    PF_RANDOMIZE,
    MmView,
    ProcessView,
)
from mmactors.units import SECOND

_TICK_NS: Final = SECOND // 100
_COMM_MAX: Final = 15


def process_texts(process: Process) -> dict[str, str]:
    """Return the files of /proc/PID by name."""
    files = process_files(view_of_process(process))
    return {name: content.decode() for name, content in files.items()}


def view_of_process(process: Process) -> ProcessView:
    """Return the process as /proc sees it now."""
    kernel = process.kernel
    nr_cpus = len(kernel.cpus)
    space = process.space
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
        utime_ticks=process.user_ns // _TICK_NS,
        cutime_ticks=process.cuser_ns // _TICK_NS,
        flags=PF_RANDOMIZE if process.parent is None else PF_RANDOMIZE | PF_FORKNOEXEC,
        cpu=process.leader.cpu.index,
        exit_code=process.killed_by or 0,
        oom_score_adj=process.oom_score_adj,
        start_time_ticks=process.started_ns // _TICK_NS,
        nr_cpus=nr_cpus,
        cpus_allowed=(1 << nr_cpus) - 1,
        mems_allowed=(1 << len(set(kernel.cpu_node))) - 1,
        mm=None if space is None else _view_of_mm(space.mm, kernel.pages),
    )


def _state_of(process: Process) -> str:
    """Return the state of the leader: R if it has a CPU or waits for one, S if it sleeps.

    Z: nothing is left but the number.
    """
    if process.space is None and not process.nr_live_threads:
        return "Z"
    leader = process.leader
    return "R" if leader.actor in (leader.cpu.current, *leader.cpu.queued()) else "S"


def _view_of_mm(mm: MmStruct, pages: PageColumns) -> MmView:
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
        start_stack=mm.start_stack,
        vmas=tuple(view_of_vma(mm, vma, smaps_of_vma(mm, vma, pages)) for vma in mm.tree),
    )
