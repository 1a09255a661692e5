"""Region lists against sets of units."""

import itertools

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from mmactors.mm.boot.memblock import Memblock
from mmactors.mm.boot.regions import MemblockFlags, RegionList
from mmactors.units import PAGE_SIZE

UNITS = 64
POINT = st.integers(0, UNITS)
FLAGS = st.sampled_from([1, 2, 4, 8])
NODES = (None, 0, 1)


def units_of(regions: RegionList) -> dict[int, tuple[int | None, int]]:
    """Return each unit's node and flags."""
    return {unit: (r.node, r.flags) for r in regions.regions for unit in range(r.start, r.end)}


class RegionListMachine(RuleBasedStateMachine):
    """A list of regions is a map from units to nodes, in its shortest form."""

    def __init__(self):
        super().__init__()
        self.memblock = Memblock()
        self.memory: dict[int, tuple[int | None, int]] = {}
        self.reserved: set[int] = set()
        self.nr_calls = 0

    @rule(ends=st.tuples(POINT, POINT), node=st.sampled_from(NODES), flags=st.just(0) | FLAGS)
    def add(self, ends, node, flags):
        start, end = sorted(ends)
        self.memblock.add(start, end, node=node, flags=flags)
        self.memory = dict.fromkeys(range(start, end), (node, flags)) | self.memory
        self.nr_calls += 1

    @rule(ends=st.tuples(POINT, POINT))
    def remove(self, ends):
        start, end = sorted(ends)
        self.memblock.remove(start, end)
        self.memory = {u: what for u, what in self.memory.items() if not start <= u < end}
        self.nr_calls += 1

    @rule(ends=st.tuples(POINT, POINT), node=st.sampled_from([0, 1]))
    def set_node(self, ends, node):
        start, end = sorted(ends)
        self.memblock.memory.set_node(start, end, node=node)
        self.memory.update(
            (u, (node, flags)) for u, (_, flags) in self.memory.items() if start <= u < end
        )

    @rule(ends=st.tuples(POINT, POINT), flags=FLAGS, is_wanted=st.booleans())
    def set_flags(self, ends, flags, is_wanted):
        start, end = sorted(ends)
        self.memblock.memory.set_flags(start, end, flags, is_wanted=is_wanted)
        self.memory.update(
            (u, (node, was | flags if is_wanted else was & ~flags))
            for u, (node, was) in self.memory.items()
            if start <= u < end
        )

    @rule(ends=st.tuples(POINT, POINT))
    def reserve(self, ends):
        start, end = sorted(ends)
        self.memblock.reserve(start, end)
        self.reserved |= set(range(start, end))
        self.nr_calls += 1

    @rule(ends=st.tuples(POINT, POINT))
    def phys_free(self, ends):
        start, end = sorted(ends)
        self.memblock.phys_free(start, end)
        self.reserved -= set(range(start, end))
        self.nr_calls += 1

    @rule(ends=st.tuples(POINT, POINT))
    def look_for_gaps(self, ends):
        start, end = sorted(ends)
        reserved = self.memblock.reserved
        gaps = reserved.gaps(start, end)

        assert gaps == list(reserved.gaps_from_above(start, end))[::-1]
        assert {*range(start, end)} - self.reserved == {u for gap in gaps for u in range(*gap)}

    @rule(nr_units=st.integers(0, UNITS))
    def enforce_memory_limit(self, nr_units):
        self.memblock.enforce_memory_limit(nr_units)
        if 0 < nr_units <= len(self.memory):
            last = sorted(self.memory)[nr_units - 1]
            self.memory = {u: what for u, what in self.memory.items() if u <= last}
            self.reserved = {u for u in self.reserved if u <= last}

    @rule(ends=st.tuples(POINT, POINT))
    def cap_memory_range(self, ends):
        start, end = sorted(ends)
        self.memblock.cap_memory_range(start, end)
        if start < end and self.memory:
            self.memory = {
                u: (node, flags)
                for u, (node, flags) in self.memory.items()
                if start <= u < end or flags & MemblockFlags.NOMAP
            }
            self.reserved = {u for u in self.reserved if start <= u < end}

    @rule(align=st.sampled_from([1, 2, 4, 8]))
    def trim_memory(self, align):
        counted = self.memblock.phys_mem_size()
        before = self.memblock.memory.regions
        self.memblock.trim_memory(align)
        kept = set(units_of(self.memblock.memory))
        self.memory = {u: what for u, what in self.memory.items() if u in kept}
        lost = sum(r.end - r.start for r in before if not kept & set(range(r.start, r.end)))

        assert counted - lost == self.memblock.phys_mem_size()
        assert all(r.start % align == r.end % align == 0 for r in self.memblock.memory.regions)

    @rule(node=st.sampled_from(NODES), is_movable_node=st.booleans(), bottom_up=st.booleans())
    def modes(self, node, is_movable_node, bottom_up):
        self.memblock.is_movable_node = is_movable_node
        self.memblock.bottom_up = bottom_up

    @invariant()
    def lists_hold_the_units(self):
        assert self.memory == units_of(self.memblock.memory)
        assert self.reserved == set(units_of(self.memblock.reserved))
        assert self.nr_calls == len(self.memblock.calls)

    @invariant()
    def regions_are_sorted_disjoint_and_merged(self):
        for regions in (self.memblock.memory.regions, self.memblock.reserved.regions):
            for left, right in itertools.pairwise(regions):
                assert left.end < right.start or left.end == right.start

    @invariant()
    def free_is_memory_without_reserved(self):
        for node, flags in itertools.product(NODES, (0, MemblockFlags.MIRROR, 15)):
            free = [
                u
                for r in self.memblock.free_ranges(node, flags=flags)
                for u in range(r.start, r.end)
            ]
            expected = [
                u
                for u, (of, special) in sorted(self.memory.items())
                if u not in self.reserved
                and node in (None, of)
                and not self._is_withheld(special, flags)
            ]

            assert expected == free

    def _is_withheld(self, special: int, flags: int) -> bool:
        """Whether memory of that kind is not for who asks with those flags."""
        hidden = special & (MemblockFlags.NOMAP | MemblockFlags.DRIVER_MANAGED)
        if self.memblock.is_movable_node:
            hidden |= special & MemblockFlags.HOTPLUG
        return bool(hidden & ~flags or flags & MemblockFlags.MIRROR & ~special)


class AllocationMachine(RuleBasedStateMachine):
    """What is given is free memory, the highest or lowest that fits, and comes back."""

    def __init__(self):
        super().__init__()
        self.memblock = Memblock()
        self.memblock.add(PAGE_SIZE, 40 * PAGE_SIZE, node=0)
        self.memblock.add(40 * PAGE_SIZE, 80 * PAGE_SIZE, node=1)
        self.given: list[tuple[int, int]] = []

    @rule(
        nr_bytes=st.integers(1, 6 * PAGE_SIZE),
        align=st.sampled_from([64, PAGE_SIZE, 4 * PAGE_SIZE]),
        start=st.integers(0, 80).map(lambda page: page * PAGE_SIZE),
        end=st.integers(0, 90).map(lambda page: page * PAGE_SIZE),
        node=st.sampled_from(NODES),
        exact_node=st.booleans(),
        bottom_up=st.booleans(),
    )
    def alloc(self, nr_bytes, align, start, end, node, exact_node, bottom_up):
        self.memblock.bottom_up = bottom_up
        free = [
            at
            for low, high, _ in self._free()
            for at in range(-(-low // align) * align, high - nr_bytes + 1, align)
            if at + nr_bytes <= (end or high)
        ]
        on_node = {at for at in free if node in (None, int(at >= 40 * PAGE_SIZE))}
        wishes = [
            {at for at in places if at >= low}
            for low in (start, 0)
            for places in ((on_node,) if exact_node else (on_node, set(free)))
        ]
        best = next((wish for wish in wishes if wish), None)

        at = self.memblock.alloc(
            nr_bytes, align=align, start=start, end=end, node=node, exact_node=exact_node
        )

        assert (None if best is None else (min if bottom_up else max)(best)) == at
        if at is not None:
            self.given.append((at, at + nr_bytes))

    @rule(data=st.data())
    def phys_free(self, data):
        if self.given:
            nth = data.draw(st.integers(0, len(self.given) - 1))
            self.memblock.phys_free(*self.given.pop(nth))

    def _free(self):
        """Yield each free range and its node: what nobody was given."""
        for low, high, node in ((1, 40, 0), (40, 80, 1)):
            at = low * PAGE_SIZE
            for start, end in [*sorted(self.given), (high * PAGE_SIZE, high * PAGE_SIZE)]:
                if at < min(start, high * PAGE_SIZE):
                    yield at, min(start, high * PAGE_SIZE), node
                at = max(at, end)


RegionListMachine.TestCase.settings = settings(max_examples=60)
TestRegionList = RegionListMachine.TestCase
AllocationMachine.TestCase.settings = settings(max_examples=60)
TestAllocation = AllocationMachine.TestCase
