"""A process on the mechanisms, and its areas as short texts."""

from attrs import define
from guests import Guest, Task, guest

from mmactors.mm.area.vm_flags import VM_EXEC, VM_LOCKED, VM_READ, VM_WRITE
from mmactors.mm.syscall import mman
from mmactors.mm.syscall.mmap import ksys_mmap
from mmactors.units import PAGE_SIZE

PLACE = 0x70_0000_0000
RW = mman.PROT_READ | mman.PROT_WRITE


@define(eq=False, repr=False)
class Areas:
    """One process; pages are counted from PLACE."""

    machine: Guest
    task: Task

    @classmethod
    def new(cls):
        machine = guest()
        return cls(machine, machine.new_task())

    @property
    def mm(self):
        return self.task.mm

    def call(self, steps):
        return self.machine.perform(self.task, steps)

    def map(self, first, count, *, prot=RW, flags=mman.MAP_PRIVATE, file=None, offset=0):
        flags |= mman.MAP_FIXED | (mman.MAP_ANONYMOUS if file is None else 0)
        place = {"address": PLACE + first * PAGE_SIZE, "length": count * PAGE_SIZE}
        return self.call(
            ksys_mmap(self.mm, **place, prot=prot, flags=flags, file=file, offset=offset)
        )

    def write(self, *pages):
        """Write pages; return what the last was answered with."""
        signal = None
        for page in pages:
            signal = self.machine.access(self.task, PLACE + page * PAGE_SIZE, is_write=True)
        return signal

    def read(self, *pages):
        """Read pages; return what the last was answered with."""
        signal = None
        for page in pages:
            signal = self.machine.access(self.task, PLACE + page * PAGE_SIZE, is_write=False)
        return signal

    def texts(self):
        """Return `first-end rwx`, and `L` if locked, of each area."""
        return [area_text(vma) for vma in self.mm.tree]


def area_text(vma):
    """Return an area as a short text."""
    first, end = ((limit - PLACE) // PAGE_SIZE for limit in (vma.vm_start, vma.vm_end))
    flags = ((VM_READ, "r"), (VM_WRITE, "w"), (VM_EXEC, "x"), (VM_LOCKED, "L"))
    return f"{first}-{end} " + "".join(letter for bit, letter in flags if vma.vm_flags & bit)


def pages(first, count, name="start"):
    """Return the arguments that name a range of pages."""
    return {name: PLACE + first * PAGE_SIZE, "length": count * PAGE_SIZE}
