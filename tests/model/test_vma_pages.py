"""Areas against a dictionary of pages."""

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from mmactors.arch.memory import PhysicalMemory
from mmactors.mm.area.anon_vma_chain import anon_vma_prepare, unlink_anon_vmas
from mmactors.mm.area.mm_config import MmConfig
from mmactors.mm.area.mm_struct import MmStruct
from mmactors.mm.area.vm_flags import VM_ACCESS_FLAGS, VM_EXEC, VM_STACK, VM_WRITE
from mmactors.mm.page_table.page_table import PageTable
from mmactors.mm.syscall import mman, mmap
from mmactors.mm.syscall.munmap import UnmapRegion, do_munmap
from mmactors.units import PAGE_SIZE

BASE_PAGE = 48
LEGACY_PAGE = 100
LAST_PAGE = LEGACY_PAGE + 400
GUARD_PAGES = 4

pages = st.integers(1, BASE_PAGE + 8)
lengths = st.integers(1, 12)
prots = st.sampled_from([0, 1, 3, 5])
kinds = st.sampled_from([mman.MAP_PRIVATE, mman.MAP_PRIVATE | mman.MAP_GROWSDOWN])


class VmaTreeMachine(RuleBasedStateMachine):
    """Maps, unmaps and writes pages; `held` is by page: its flags, and which mapping made it."""

    def __init__(self):
        super().__init__()
        self.mm = MmStruct(
            config=MmConfig(mmap_min_addr=PAGE_SIZE, stack_guard_gap_pages=GUARD_PAGES),
            page_table=PageTable(PhysicalMemory(4), pgd_pfn=1),
            mmap_base=BASE_PAGE * PAGE_SIZE,
            mmap_legacy_base=LEGACY_PAGE * PAGE_SIZE,
        )
        self.held = {}
        self.written = {}

    @rule(hint=st.one_of(st.just(0), pages), length=lengths, prot=prots, kind=kinds)
    def mmap(self, hint, length, prot, kind):
        is_hint_free = hint and self.is_room(hint, length)
        place = hint if is_hint_free else self.room_searched(length)
        found = self.map_anonymous(hint, length, prot, kind)

        assert place * PAGE_SIZE == found
        self.hold(place, length, prot, kind)

    @rule(page=pages, length=lengths, prot=prots, kind=kinds)
    def mmap_fixed(self, page, length, prot, kind):
        found = self.map_anonymous(page, length, prot, kind | mman.MAP_FIXED)

        assert page * PAGE_SIZE == found
        self.hold(page, length, prot, kind)

    @rule(page=pages, length=lengths, prot=prots)
    def mmap_noreplace(self, page, length, prot):
        is_taken = any(place in self.held for place in range(page, page + length))
        kind = mman.MAP_PRIVATE | mman.MAP_FIXED_NOREPLACE
        found = self.map_anonymous(page, length, prot, kind)

        assert (-17 if is_taken else page * PAGE_SIZE) == found
        if not is_taken:
            self.hold(page, length, prot, mman.MAP_PRIVATE)

    @rule(page=pages, length=lengths)
    def munmap(self, page, length):
        gone = {place for place in range(page, page + length) if place in self.held}
        steps = do_munmap(self.mm, start=page * PAGE_SIZE, length=length * PAGE_SIZE)
        requests, ret = finish(steps)

        assert ret == 0
        assert ([gone] if gone else []) == [pages_of(request.areas) for request in requests]
        for place in gone:
            del self.held[place]
            self.written.pop(place, None)
            vma = self.mm.find_vma(place * PAGE_SIZE)

            assert vma is None or vma.vm_start > place * PAGE_SIZE
        for request in requests:
            below = [place for place in self.held if place < page]
            above = [place for place in self.held if place >= page + length]

            assert (max(below) + 1 if below else 0) * PAGE_SIZE == request.floor
            assert (min(above) if above else 0) * PAGE_SIZE == request.ceiling

    @rule(page=pages)
    def write(self, page):
        vma = self.mm.find_vma(page * PAGE_SIZE)
        if page in self.held:
            finish(anon_vma_prepare(self.mm, vma))
            self.written[page] = vma.anon_vma

    @invariant()
    def areas_hold_the_pages(self):
        found = {
            address // PAGE_SIZE: vma.vm_flags & (VM_ACCESS_FLAGS | VM_STACK)
            for vma in self.mm.tree
            for address in range(vma.vm_start, vma.vm_end, PAGE_SIZE)
        }

        assert self.held == found

    @invariant()
    def pages_keep_their_anon_vma(self):
        for page, anon_vma in self.written.items():
            vma = self.mm.find_vma(page * PAGE_SIZE)

            assert anon_vma is vma.anon_vma
            assert page == vma.vm_pgoff + page - vma.vm_start // PAGE_SIZE

    @invariant()
    def every_address_finds_its_area(self):
        areas = list(self.mm.tree)
        for address in range(0, (BASE_PAGE + 20) * PAGE_SIZE, PAGE_SIZE // 2):
            expected = next((vma for vma in areas if vma.vm_end > address), None)

            assert expected is self.mm.find_vma(address)

    @invariant()
    def sizes_are_sums(self):
        flags = list(self.held.values())
        is_exec = [value & (VM_EXEC | VM_WRITE | VM_STACK) == VM_EXEC for value in flags]
        is_stack = [bool(value & VM_STACK) for value in flags]
        is_data = [value & (VM_WRITE | VM_STACK) == VM_WRITE for value in flags]

        assert (len(flags), sum(is_exec), sum(is_stack), sum(is_data)) == (
            self.mm.total_vm,
            self.mm.exec_vm,
            self.mm.stack_vm,
            self.mm.data_vm,
        )

    def map_anonymous(self, page, length, prot, flags):
        steps = mmap.do_mmap(
            self.mm,
            address=page * PAGE_SIZE,
            length=length * PAGE_SIZE,
            prot=prot,
            flags=flags,
        )
        return finish(steps)[1]

    def hold(self, page, length, prot, kind):
        for place in range(page, page + length):
            self.held[place] = prot | (VM_STACK if kind & mman.MAP_GROWSDOWN else 0)
            self.written.pop(place, None)

    def is_room(self, page, length):
        """Free pages, and below an area that grows down also its guard gap."""
        if any(place in self.held for place in range(page, page + length)):
            return False
        stack = self.stack_above(page + length)
        return stack is None or page + length <= max(0, stack - GUARD_PAGES)

    def stack_above(self, page):
        """Return the first held page from `page` on if it is one of an area that grows down."""
        above = [place for place in self.held if place >= page]
        return min(above) if above and self.held[min(above)] & VM_STACK else None

    def room_searched(self, length):
        """Look at free places downwards, then upwards.

        A place refused for a guard gap moves the limit of the search to the gap's start, although
        there may be room beside another area inside the gap.
        """
        limit = BASE_PAGE
        for page in range(BASE_PAGE - length, 0, -1):
            is_free = all(place not in self.held for place in range(page, page + length))
            if is_free and page + length <= limit:
                if self.is_room(page, length):
                    return page
                limit = self.stack_above(page + length) - GUARD_PAGES
        return next(page for page in range(LEGACY_PAGE, LAST_PAGE) if self.is_room(page, length))


def pages_of(areas):
    return {
        address // PAGE_SIZE
        for vma in areas
        for address in range(vma.vm_start, vma.vm_end, PAGE_SIZE)
    }


def finish(steps):
    """Return what was asked for but for facts, and the result."""
    requests = []
    try:
        while True:
            request = next(steps)
            if isinstance(request, UnmapRegion):
                requests.append(request)
                for vma in request.areas:
                    finish(unlink_anon_vmas(vma))
    except StopIteration as stop:
        return requests, stop.value


TestVmaTree = VmaTreeMachine.TestCase
TestVmaTree.settings = settings(max_examples=120, stateful_step_count=40)
