"""Processes that fork, write and exit, and what must hold of their anon_vmas meanwhile."""

from attrs import define, field
from guests import Guest, guest

from mmactors.arch.pte import PFN_MASK, PFN_SHIFT, PRESENT, SPECIAL
from mmactors.mm.rmap.rmap import anon_vma_number, is_anon
from mmactors.mm.syscall import mman
from mmactors.mm.syscall.mmap import ksys_mmap
from mmactors.mm.syscall.mprotect import do_mprotect
from mmactors.mm.syscall.munmap import do_munmap
from mmactors.rules import Rules
from mmactors.units import PAGE_SIZE

PLACE = 0x70_0000_0000


@define(eq=False, repr=False)
class Family:
    """Processes by number, in the order in which they were forked; pages count from PLACE."""

    rules: Rules = field(factory=Rules)
    machine: Guest = field(init=False)
    alive: dict = field(init=False)
    nr_forked: int = 0

    def __attrs_post_init__(self):
        self.machine = guest() if self.rules == Rules() else Guest(self.rules)
        self.alive = {0: self.machine.new_task()}

    def map(self, pid, first, count):
        self.call(
            pid,
            ksys_mmap,
            address=PLACE + first * PAGE_SIZE,
            length=count * PAGE_SIZE,
            prot=mman.PROT_READ | mman.PROT_WRITE,
            flags=mman.MAP_PRIVATE | mman.MAP_ANONYMOUS | mman.MAP_FIXED,
        )

    def write(self, pid, page):
        return self.machine.access(self.alive[pid], PLACE + page * PAGE_SIZE, is_write=True)

    def unmap(self, pid, page):
        self.call(pid, do_munmap, start=PLACE + page * PAGE_SIZE, length=PAGE_SIZE)

    def protect(self, pid, page, *, is_writable):
        prot = mman.PROT_READ | (mman.PROT_WRITE if is_writable else 0)
        self.call(pid, do_mprotect, start=PLACE + page * PAGE_SIZE, length=PAGE_SIZE, prot=prot)

    def fork(self, pid):
        self.nr_forked += 1
        self.alive[self.nr_forked] = self.machine.fork(self.alive[pid])
        return self.nr_forked

    def exit(self, pid):
        self.machine.exit(self.alive.pop(pid))

    def call(self, pid, steps, **arguments):
        task = self.alive[pid]
        return self.machine.perform(task, steps(task.mm, **arguments))

    def areas(self):
        return [vma for task in self.alive.values() for vma in task.mm.tree]

    def lost_pages(self):
        """Return `pid, page` of anonymous pages whose anon_vma does not lead to their area."""
        return [
            (pid, (address - PLACE) // PAGE_SIZE)
            for pid, task in self.alive.items()
            for vma in task.mm.tree
            for address in range(vma.vm_start, vma.vm_end, PAGE_SIZE)
            if not self._is_found(task, vma, address)
        ]

    def _is_found(self, task, vma, address):
        index = task.mm.page_table.pte_offset(address)
        entry = 0 if index is None else self.machine.memory.view[index]
        pfn = (entry & PFN_MASK) >> PFN_SHIFT
        pages = self.machine.pages
        if not entry & PRESENT or entry & SPECIAL or not is_anon(pages, pfn):
            return True
        number = anon_vma_number(pages.mapping_view[pfn])
        anon_vma = self.machine.anon_vma_cache.objects[number]
        return any(link.vma is vma for link in anon_vma.rb_root)


def tell_apart(family):
    """Let two anon_vma chains differ where one count of children and areas says both are unused.

    Process 6 ends with two areas that both took over the anon_vma of process 3, which has exited.
    """
    family.map(0, 0, 2)
    family.write(0, 0)
    family.write(0, 1)
    family.fork(family.fork(family.fork(0)))
    family.exit(1)
    family.exit(2)
    # From here on there are two areas, which take over the anon_vmas of 1 and 2.
    family.protect(3, 1, is_writable=False)
    family.fork(3)
    # As long as 3 lives, there is nothing to take over: each area gets an anon_vma of its own.
    family.fork(4)
    family.protect(5, 1, is_writable=True)
    family.write(5, 1)
    family.protect(5, 1, is_writable=False)
    family.exit(3)
    family.fork(5)
