"""System calls on areas against a plain model: a dict from page to what is known of it."""

from attrs import define, evolve
from guests import guest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from mmactors.mm.area.pkeys import vma_pkey
from mmactors.mm.area.vm_flags import (
    VM_ACCESS_FLAGS,
    VM_ACCOUNT,
    VM_DONTCOPY,
    VM_LOCKED,
    VM_SHARED,
    VM_WRITE,
)
from mmactors.mm.syscall import mman
from mmactors.mm.syscall.madvise import do_madvise
from mmactors.mm.syscall.mlock import do_mlock, do_munlock
from mmactors.mm.syscall.mmap import ksys_mmap
from mmactors.mm.syscall.mprotect import do_mprotect
from mmactors.mm.syscall.mremap import do_mremap
from mmactors.mm.syscall.munmap import do_munmap
from mmactors.units import PAGE_SIZE

BASE = 0x7000_0000_0000
NR_PAGES = 24
FIXED = mman.MAP_FIXED | mman.MAP_ANONYMOUS
PAGES = st.integers(0, NR_PAGES - 1)
COUNTS = st.integers(1, 8)
EXECUTE_ONLY = mman.PROT_EXEC
PROTS = st.sampled_from([0, 1, 3, EXECUTE_ONLY, 5, 7])


@define(frozen=True)
class Page:
    """What the model knows of a page."""

    prot: int
    is_locked: bool = False
    is_copied: bool = True
    is_accounted: bool = False
    is_present: bool = False


class AreaCalls(RuleBasedStateMachine):
    """One process; its areas lie in a window of pages."""

    def __init__(self):
        super().__init__()
        self.machine = guest()
        self.before = self.held()
        self.task = self.machine.new_task()
        self.mm = self.task.mm
        self.pages = {}

    def call(self, steps):
        return self.machine.perform(self.task, steps)

    def run_of(self, first, count):
        """Return the pages from `first` on until the first that is not mapped, and whether none."""
        mapped = []
        for page in range(first, first + count):
            if page not in self.pages:
                return mapped, False
            mapped.append(page)
        return mapped, True

    @rule(first=PAGES, count=COUNTS, prot=PROTS)
    def mmap(self, first, count, prot):
        """A fixed mapping replaces what was there."""
        flags = FIXED | mman.MAP_PRIVATE
        self.call(ksys_mmap(self.mm, **place(first, count, "address"), prot=prot, flags=flags))
        is_accounted = prot & mman.PROT_WRITE != 0
        for page in range(first, first + count):
            self.pages[page] = Page(prot, is_accounted=is_accounted)

    @rule(first=PAGES, count=COUNTS)
    def munmap(self, first, count):
        """An unmapped page is gone."""
        self.call(do_munmap(self.mm, **place(first, count)))
        for page in range(first, first + count):
            self.pages.pop(page, None)

    @rule(first=PAGES, count=COUNTS, prot=PROTS)
    def mprotect(self, first, count, prot):
        """Pages up to the first gap change; a promise once made is kept."""
        error = self.call(do_mprotect(self.mm, **place(first, count), prot=prot))
        mapped, is_whole = self.run_of(first, count)
        assert (0 if is_whole else -12) == error
        for page in mapped:
            old = self.pages[page]
            is_accounted = old.is_accounted or prot & mman.PROT_WRITE != 0
            breaks_cow = old.is_locked and not old.prot & 2 and prot & 2 != 0
            self.pages[page] = evolve(
                old,
                prot=prot,
                is_accounted=is_accounted,
                is_present=old.is_present or breaks_cow,
            )

    @rule(first=PAGES, count=COUNTS)
    def mlock(self, first, count):
        """Pages up to the first gap are locked; present ones only if there is no gap."""
        error = self.call(do_mlock(self.mm, **place(first, count)))
        mapped, is_whole = self.run_of(first, count)
        is_refused = False
        for page in mapped:
            self.pages[page] = evolve(self.pages[page], is_locked=True)
        for page in mapped if is_whole else ():
            if self.pages[page].prot in (0, EXECUTE_ONLY):
                is_refused = True
                break
            if self.pages[page].prot & 2:
                self.pages[page] = evolve(self.pages[page], is_present=True)
        assert (0 if is_whole and not is_refused else -12) == error

    @rule(first=PAGES, count=COUNTS)
    def munlock(self, first, count):
        """Pages up to the first gap are unlocked."""
        self.call(do_munlock(self.mm, **place(first, count)))
        for page in self.run_of(first, count)[0]:
            self.pages[page] = evolve(self.pages[page], is_locked=False)

    @rule(first=PAGES, count=COUNTS, is_copied=st.booleans())
    def madvise(self, first, count, is_copied):
        """Advice passes over gaps."""
        advice = mman.MADV_DOFORK if is_copied else mman.MADV_DONTFORK
        error = self.call(do_madvise(self.mm, **place(first, count), advice=advice))
        assert (0 if self.run_of(first, count)[1] else -12) == error
        for page in range(first, first + count):
            if page in self.pages:
                self.pages[page] = evolve(self.pages[page], is_copied=is_copied)

    @rule(first=PAGES, count=COUNTS)
    def discard(self, first, count):
        """MADV_DONTNEED frees pages up to the first that is locked."""
        advice = mman.MADV_DONTNEED
        self.call(do_madvise(self.mm, **place(first, count), advice=advice))
        for page in range(first, first + count):
            found = self.pages.get(page)
            if found is not None and found.is_locked:
                break
            if found is not None:
                self.pages[page] = evolve(found, is_present=False)

    @rule(first=PAGES, count=COUNTS, to=PAGES)
    def mremap(self, first, count, to):
        """A move takes pages and all that is known of them along, if they lie in one area."""
        vma = self.mm.find_vma(BASE + first * PAGE_SIZE)
        end = BASE + (first + count) * PAGE_SIZE
        is_one = vma is not None and vma.vm_start <= BASE + first * PAGE_SIZE and end <= vma.vm_end
        overlaps = abs(first - to) < count
        result = self.call(
            do_mremap(
                self.mm,
                address=BASE + first * PAGE_SIZE,
                old_length=count * PAGE_SIZE,
                new_length=count * PAGE_SIZE,
                flags=mman.MREMAP_MAYMOVE | mman.MREMAP_FIXED,
                new_address=BASE + to * PAGE_SIZE,
            )
        )
        if first not in self.pages or overlaps:
            assert result < 0
            return
        for page in range(to, to + count):
            self.pages.pop(page, None)
        assert (BASE + to * PAGE_SIZE if is_one else -14) == result
        if is_one:
            moved = [self.pages.pop(page) for page in range(first, first + count)]
            self.pages.update(zip(range(to, to + count), moved, strict=True))

    @rule(page=PAGES)
    def write(self, page):
        """A write makes a writable page present, and is refused elsewhere."""
        signal = self.machine.access(self.task, BASE + page * PAGE_SIZE, is_write=True)
        found = self.pages.get(page)
        assert (found is None or not found.prot & 2) == (signal is not None)
        if signal is None:
            self.pages[page] = evolve(found, is_present=True)

    @rule(page=PAGES)
    def read(self, page):
        """A read is refused where nothing may be read; execute-only memory has a key for that."""
        signal = self.machine.access(self.task, BASE + page * PAGE_SIZE, is_write=False)
        found = self.pages.get(page)
        assert (found is None or not found.prot & 3) == (signal is not None)

    @rule()
    def fork(self):
        """A child has the parent's pages but those it shall not have, and gives all back."""
        parent_rss = self.mm.get_mm_rss()
        child = self.machine.fork(self.task)
        copied = {page for page, known in self.pages.items() if known.is_copied}
        assert copied == set(pages_of(child.mm))
        for page in copied:
            if self.pages[page].prot & 2:
                assert None is self.machine.access(child, BASE + page * PAGE_SIZE, is_write=True)
        self.machine.exit(child)
        assert parent_rss == self.mm.get_mm_rss()

    @invariant()
    def areas_are_those_of_the_model(self):
        """Each page has the flags that the model knows."""
        actual = {
            page: (
                flags & VM_ACCESS_FLAGS,
                flags & VM_LOCKED != 0,
                not flags & VM_DONTCOPY,
                flags & VM_ACCOUNT != 0,
                vma_pkey(flags) != 0,
            )
            for page, flags in pages_of(self.mm).items()
        }
        expected = {
            page: (
                known.prot,
                known.is_locked,
                known.is_copied,
                known.is_accounted,
                known.prot == EXECUTE_ONLY,
            )
            for page, known in self.pages.items()
        }
        assert expected == actual

    @invariant()
    def counters_are_sums_over_the_areas(self):
        """Sizes, locked memory and the promise of memory are what the areas add up to."""
        mm = self.mm
        flags = list(pages_of(mm).values())
        expected = (
            len(flags),
            sum(value & (VM_WRITE | VM_SHARED) == VM_WRITE for value in flags),
            sum(value & VM_LOCKED != 0 for value in flags),
            sum(value & VM_ACCOUNT != 0 for value in flags),
        )
        assert expected == (mm.total_vm, mm.data_vm, mm.locked_vm, mm.overcommit.committed)

    @invariant()
    def resident_pages_are_those_of_the_model(self):
        """rss is the number of pages present, each of which one entry maps."""
        present = sum(known.is_present for known in self.pages.values())
        pages = self.machine.pages
        assert (present, present) == (self.mm.get_mm_rss(), int(pages.mapcount.sum()))

    def teardown(self):
        """Nothing is left of a process that has ended."""
        self.machine.exit(self.task)
        assert self.before == self.held()

    def held(self):
        """Return what processes hold: tables, promises, and the pages with entries."""
        machine = self.machine
        committed = machine.overcommit.committed
        return machine.memory.nr_tables, committed, int(machine.pages.mapcount.sum())


def place(first, count, name="start"):
    """Return the arguments that name a range of pages."""
    return {name: BASE + first * PAGE_SIZE, "length": count * PAGE_SIZE}


def pages_of(mm):
    """Return the flags of each page that is mapped."""
    return {
        (address - BASE) // PAGE_SIZE: vma.vm_flags
        for vma in mm.tree
        for address in range(vma.vm_start, vma.vm_end, PAGE_SIZE)
    }


AreaCalls.TestCase.settings = settings(max_examples=60, stateful_step_count=30)
TestAreaCalls = AreaCalls.TestCase
