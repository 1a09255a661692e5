"""Which operations of the language this release runs; the others are refused beforehand."""

from typing import Final

from mmactors.workload.operation import (
    Alias,
    Barrier,
    Brk,
    Churn,
    Close,
    Compute,
    Cpu,
    Dma,
    Exit,
    Fadvise,
    Fsync,
    Ftruncate,
    Generate,
    Heap,
    Idle,
    MapFlag,
    Memwrite,
    Migrate,
    Mmap,
    Munmap,
    Nop,
    Open,
    Operation,
    Pin,
    Race,
    Read,
    RunTrace,
    Sleep,
    Spin,
    Stop,
    Thread,
    Touch,
    Unlink,
    Unpin,
    Wait,
    Write,
)
from mmactors.workload.operation import By as ByOther

SUPPORTED: Final = (
    Alias, Barrier, Brk, ByOther, Churn, Close, Compute, Cpu, Dma, Exit, Fadvise, Fsync, Ftruncate,
    Generate, Heap, Idle, Memwrite, Migrate, Mmap, Munmap, Nop, Open, Pin, Race, Read, RunTrace,
    Sleep, Spin, Stop, Thread, Touch, Unlink, Unpin, Wait, Write,
)  # fmt: skip

_REFUSED_FLAGS: Final = MapFlag.SHARED | MapFlag.POPULATE | MapFlag.LOCKED | MapFlag.HUGETLB


def why_not(operation: Operation) -> str | None:
    """Return what this release lacks to run an operation; None: nothing."""
    if isinstance(operation, ByOther):
        return why_not(operation.operation)
    if not isinstance(operation, SUPPORTED):
        return f"{operation.verb} is not simulated yet"
    if isinstance(operation, Mmap):
        if operation.file is not None:
            return "mapping files is not simulated yet"
        refused = operation.flags & _REFUSED_FLAGS
        if refused:
            return f"mmap with {refused.name} is not simulated yet"
    return None
