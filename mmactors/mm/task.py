"""What faults note in the thread that takes them (struct task_struct, Linux 6.1)."""

from attrs import define, field

from mmactors.mm.mm_struct import MmStruct
from mmactors.mm.vmstat import TaskRssStat


@define(eq=False)
class Task:
    """One thread, as mm/ sees it."""

    mm: MmStruct | None = None
    """The address space it runs in."""
    min_flt: int = 0
    maj_flt: int = 0
    """Faults that were made good, without and with waiting for a disk (getrusage)."""
    rss: TaskRssStat = field(factory=TaskRssStat)
    """Resident pages it has counted and not yet told its address space."""
