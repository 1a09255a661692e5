"""A process of a recorded case."""

from attrs import define, field

from mmactors.mm.area.mm_struct import MmStruct
from mmactors.mm.area.task import Task as FaultTask


@define(eq=False)
class Task:
    """A process with one thread: its address space and its fault counts."""

    mm: MmStruct
    faults: FaultTask = field(factory=FaultTask)
    """Counts of its faults; what it counts of rss is told at once."""

    @property
    def minflt(self) -> int:
        """Faults that were made good without waiting for a disk."""
        return self.faults.min_flt

    @property
    def majflt(self) -> int:
        """Faults that waited for a disk."""
        return self.faults.maj_flt
