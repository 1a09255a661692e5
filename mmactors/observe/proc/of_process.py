"""From a process of the model to the values that its /proc texts are made of."""

from typing import Final

import numpy as np

from mmactors.actors.process import Image, Process
from mmactors.arch.pte import ACCESSED, DIRTY, SPECIAL
from mmactors.mm.mm_struct import MM_ANONPAGES, MM_FILEPAGES, MM_SHMEMPAGES, MM_SWAPENTS, MmStruct
from mmactors.mm.vma import Vma
from mmactors.observe.proc.process import process_files
from mmactors.observe.proc.process_view import (
    PSS_SHIFT,
    MmView,
    ProcessView,
    SmapsNumbers,
    VmaView,
)
from mmactors.units import PAGE_SHIFT, PAGE_SIZE, SECOND

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
        comm=process.comm[:_COMM_MAX],
        state=_state_of(process),
        nr_threads=max(process.nr_live_threads, 1),
        cmdline=(process.comm,),
        minflt=process.min_flt,
        majflt=process.maj_flt,
        utime_ticks=process.user_ns // _TICK_NS,
        start_time_ticks=process.started_ns // _TICK_NS,
        nr_cpus=nr_cpus,
        cpus_allowed=(1 << nr_cpus) - 1,
        mems_allowed=(1 << len(set(kernel.cpu_node))) - 1,
        mm=None if space is None else _view_of_mm(space.mm),
    )


def _state_of(process: Process) -> str:
    """Return R if a thread has a CPU, S if all sleep, Z if nothing is left but the number."""
    if process.space is None and not process.nr_live_threads:
        return "Z"
    threads = process.threads.values()
    return "R" if any(thread.cpu.current is thread.actor for thread in threads) else "S"


def _view_of_mm(mm: MmStruct) -> MmView:
    return MmView(
        total_vm_pages=mm.total_vm,
        hiwater_vm_pages=mm.hiwater_vm,
        hiwater_rss_pages=mm.hiwater_rss,
        locked_vm_pages=mm.locked_vm,
        rss_anon_pages=mm.rss[MM_ANONPAGES],
        rss_file_pages=mm.rss[MM_FILEPAGES],
        rss_shmem_pages=mm.rss[MM_SHMEMPAGES],
        swap_pages=mm.rss[MM_SWAPENTS],
        data_vm_pages=mm.data_vm,
        stack_vm_pages=mm.stack_vm,
        exec_vm_pages=mm.exec_vm,
        pgtables_bytes=mm.pgtables_bytes,
        start_brk=mm.start_brk,
        start_stack=mm.start_stack,
        vmas=tuple(_view_of_vma(mm, vma) for vma in mm.tree),
    )


def _view_of_vma(mm: MmStruct, vma: Vma) -> VmaView:
    entries = mm.page_table.read_range(vma.vm_start, vma.vm_end).entries
    # The zero page belongs to nobody: it is in no process's rss (vm_normal_page).
    entries = entries[entries & SPECIAL == 0]
    nr_pages = len(entries)
    nr_dirty = int(np.count_nonzero(entries & DIRTY))
    nr_referenced = int(np.count_nonzero(entries & ACCESSED))
    size = nr_pages << PAGE_SHIFT
    has_image = isinstance(vma.vm_file, Image)
    return VmaView(
        start=vma.vm_start,
        end=vma.vm_end,
        vm_flags=vma.vm_flags,
        offset=vma.vm_pgoff << PAGE_SHIFT if has_image else 0,
        name=vma.name,
        numbers=SmapsNumbers(
            resident=size,
            pss=size << PSS_SHIFT,
            pss_dirty=nr_dirty * PAGE_SIZE << PSS_SHIFT,
            pss_anon=size << PSS_SHIFT,
            private_clean=(nr_pages - nr_dirty) * PAGE_SIZE,
            private_dirty=nr_dirty * PAGE_SIZE,
            referenced=nr_referenced * PAGE_SIZE,
            anonymous=size,
        ),
    )
