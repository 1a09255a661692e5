"""Which operations of the language this release runs; the others are refused beforehand."""

from typing import Final

from mmactors.workload.operation.all import (
    Alias,
    AllocPages,
    Barrier,
    Brk,
    Churn,
    Close,
    Compute,
    Cpu,
    Dma,
    DrainAllPages,
    Exit,
    Fadvise,
    Faultloop,
    Fork,
    Fragment,
    FreePages,
    Fsync,
    Ftruncate,
    Generate,
    Heap,
    Idle,
    Kill,
    Madvise,
    MapFlag,
    Memwrite,
    Migrate,
    Mincore,
    Mlock,
    Mlock2,
    Mlockall,
    Mmap,
    Mprotect,
    Mremap,
    Msync,
    Munlock,
    Munlockall,
    Munmap,
    Nop,
    OfflinePages,
    OnlinePages,
    Open,
    Operation,
    Pin,
    Prefetch,
    Race,
    Read,
    Reap,
    Rlimit,
    RunTrace,
    Sleep,
    Spin,
    StartIsolatePageRange,
    Stop,
    Thread,
    Touch,
    UndoIsolatePageRange,
    Unlink,
    Unpin,
    Vmalloc,
    Wait,
    Write,
)
from mmactors.workload.operation.all import By as ByOther

SUPPORTED: Final = (
    AllocPages, DrainAllPages, FreePages, OfflinePages, OnlinePages, StartIsolatePageRange,
    UndoIsolatePageRange,
    Alias, Barrier, Brk, ByOther, Churn, Close, Compute, Cpu, Dma, Exit, Fadvise, Faultloop,
    Fork, Fragment, Fsync, Ftruncate, Generate, Heap, Idle, Kill, Madvise, Memwrite, Migrate,
    Mincore, Mlock, Mlock2, Mlockall, Mmap, Mprotect, Mremap, Msync, Munlock, Munlockall,
    Munmap, Nop, Open, Pin, Prefetch, Race, Read, Reap, Rlimit, RunTrace, Sleep, Spin, Stop, Thread,
    Touch, Unlink, Unpin, Vmalloc, Wait, Write,
)  # fmt: skip

_NO_HUGE_PAGES: Final = ("COLLAPSE",)


def why_not(operation: Operation) -> str | None:
    """Return what this release lacks to run an operation; None: nothing."""
    if isinstance(operation, ByOther):
        return why_not(operation.operation)
    if not isinstance(operation, SUPPORTED):
        return f"{operation.verb} is not simulated yet"
    if isinstance(operation, Mmap) and operation.flags & MapFlag.HUGETLB:
        return "mmap with HUGETLB is not simulated yet: there are no huge pages"
    if isinstance(operation, Madvise) and operation.advice in _NO_HUGE_PAGES:
        return f"madvise {operation.advice} is not simulated yet: there are no huge pages"
    return None
