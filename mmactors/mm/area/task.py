"""What faults note in the thread that takes them (struct task_struct, Linux 6.1)."""

from attrs import define, field

from mmactors.mm.area.mm_struct import MmStruct
from mmactors.mm.area.vmacache import VmaCache, new_vmacache
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
    fatal_signal_pending: bool = False
    """It ends when it would return to user mode."""
    vmacache: VmaCache | None = None
    """The areas it found last; None: the kernel has no such caches."""

    def enter_mm(self, mm: MmStruct) -> None:
        """Run in an address space, whose users the caller counts."""
        self.mm = mm
        self.vmacache = new_vmacache(mm)
