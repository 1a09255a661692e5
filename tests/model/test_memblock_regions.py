"""Region lists against sets of units."""

import itertools

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from mmactors.mm.boot.memblock import Memblock, RegionList

UNITS = 64
POINT = st.integers(0, UNITS)


def units_of(regions: RegionList) -> dict[int, int | None]:
    """Return each unit's node."""
    return {unit: r.node for r in regions.regions for unit in range(r.start, r.end)}


class RegionListMachine(RuleBasedStateMachine):
    """A list of regions is a map from units to nodes, in its shortest form."""

    def __init__(self):
        super().__init__()
        self.memblock = Memblock()
        self.memory: dict[int, int | None] = {}
        self.reserved: set[int] = set()

    @rule(ends=st.tuples(POINT, POINT), node=st.sampled_from([None, 0, 1]))
    def add(self, ends, node):
        start, end = sorted(ends)
        self.memblock.add(start, end, node=node)
        self.memory = dict.fromkeys(range(start, end), node) | self.memory

    @rule(ends=st.tuples(POINT, POINT))
    def remove(self, ends):
        start, end = sorted(ends)
        self.memblock.remove(start, end)
        self.memory = {u: node for u, node in self.memory.items() if not start <= u < end}

    @rule(ends=st.tuples(POINT, POINT), node=st.sampled_from([0, 1]))
    def set_node(self, ends, node):
        start, end = sorted(ends)
        self.memblock.memory.set_node(start, end, node=node)
        self.memory.update((u, node) for u in self.memory if start <= u < end)

    @rule(ends=st.tuples(POINT, POINT))
    def reserve(self, ends):
        start, end = sorted(ends)
        self.memblock.reserve(start, end)
        self.reserved |= set(range(start, end))

    @rule(ends=st.tuples(POINT, POINT))
    def phys_free(self, ends):
        start, end = sorted(ends)
        self.memblock.phys_free(start, end)
        self.reserved -= set(range(start, end))

    @invariant()
    def lists_hold_the_units(self):
        assert self.memory == units_of(self.memblock.memory)
        assert self.reserved == set(units_of(self.memblock.reserved))

    @invariant()
    def regions_are_sorted_disjoint_and_merged(self):
        for regions in (self.memblock.memory.regions, self.memblock.reserved.regions):
            for left, right in itertools.pairwise(regions):
                assert left.end < right.start or (
                    left.end == right.start and left.node != right.node
                )

    @invariant()
    def free_is_memory_without_reserved(self):
        for node in (None, 0, 1):
            free = [u for r in self.memblock.free_ranges(node) for u in range(r.start, r.end)]
            expected = [
                u
                for u in sorted(self.memory)
                if u not in self.reserved and node in (None, self.memory[u])
            ]

            assert expected == free


RegionListMachine.TestCase.settings = settings(max_examples=60)
TestRegionList = RegionListMachine.TestCase
