"""Addresses for chunks of per-CPU memory: the highest free ones, or nothing and nothing lost."""

import random

import pytest

from mmactors.mm.vmalloc.pcpu_areas import pcpu_free_vm_areas, pcpu_get_vm_areas
from mmactors.mm.vmalloc.purge import vm_unmap_aliases
from mmactors.mm.vmalloc.request import (
    AllocVmapArea,
    FreeVmapArea,
    Kfree,
    Kmalloc,
)
from mmactors.mm.vmalloc.space import BUSY, FREE, LAZY, VMALLOC_FIRST, VMALLOC_LAST, page_of
from mmactors.validate.vmalloc.guest import Guest

ALIGN = 512
"""Pages of 2 MiB."""
TOP = VMALLOC_LAST & -ALIGN
SIZES = ((1,), (2,), (1, 1), (2, 1), (1, 1, 1))
"""In alignments, of each group."""
OFFSETS = {1: ((0,),), 2: ((0, 2), (0, 7), (5, 0)), 3: ((0, 3, 9), (4, 0, 2))}


class Counting(Guest):
    """Counts objects; the one that `fails_at` names cannot be had."""

    def __init__(self):
        super().__init__(nr_cpus=2, nr_frames=1 << 16)
        self.held = set()
        self.fails_at = 0

    def _answer(self, request):
        match request:
            case AllocVmapArea() | Kmalloc():
                self.fails_at -= 1
                if self.fails_at == 0:
                    return 0
                answer = super()._answer(request)
                self.held.add(answer)
                return answer
            case FreeVmapArea(thing=thing) | Kfree(thing=thing):
                self.held -= {thing}
                return None
        return super()._answer(request)

    def get(self, offsets, sizes):
        pages = [[ALIGN * each for each in values] for values in (offsets, sizes)]
        return self.perform(pcpu_get_vm_areas(self.space, self.this_cpu, *pages, ALIGN))

    def free_pages(self):
        space = self.space
        return [(space.view[area], space.view[area + 1]) for area in space.areas_of(FREE)]


def highest_base(free, offsets, sizes):
    """Look from the top down for the first base from which all areas are free."""
    lowest = TOP // ALIGN - 400
    for base in range(TOP // ALIGN, lowest, -1):
        wanted = [
            (ALIGN * (base + offset), ALIGN * (base + offset + size))
            for offset, size in zip(offsets, sizes, strict=True)
        ]
        if all(
            end <= TOP and any(first <= start and end <= last for first, last in free)
            for start, end in wanted
        ):
            return ALIGN * base
    raise AssertionError("there is room far below")


@pytest.mark.parametrize("seed", range(20))
def test_a_chunk_is_mapped_at_the_highest_base_that_all_its_groups_fit_at(seed):
    """Whatever was taken and given back before."""
    chance = random.Random(seed)
    guest = Counting()
    taken = []
    for _ in range(60):
        if taken and chance.random() < 0.45:
            base = taken.pop(chance.randrange(len(taken)))
            guest.perform(pcpu_free_vm_areas(guest.space, base))
            if chance.random() < 0.5:
                guest.perform(vm_unmap_aliases(guest.space))
            continue
        sizes = chance.choice(SIZES)
        offsets = chance.choice(OFFSETS[len(sizes)])
        expected = highest_base(guest.free_pages(), offsets, sizes)

        base = guest.get(offsets, sizes)

        assert expected == page_of(base)
        vms = guest.space.pcpu_areas[base].vms
        assert [vm.address - base for vm in vms] == [4096 * ALIGN * o for o in offsets]
        taken.append(base)


def test_as_on_the_recorded_machine_chunks_go_down_from_the_top_by_2_mib():
    """One group of 2 MiB: the first chunks of Linux 6.1, whose addresses recordings have."""
    guest = Counting()

    bases = [guest.get((0,), (1,)) + (1 << 64) for _ in range(3)]

    assert [0xFFFFE8FFFFC00000, 0xFFFFE8FFFFA00000, 0xFFFFE8FFFF800000] == bases


def test_what_cannot_be_had_leaves_nothing_behind():
    """Each object fails in turn, also those that are needed under the lock."""
    guest = Counting()
    guest.get((0, 7), (1, 1))
    before = guest.free_pages()
    nr_failed = 0

    for nth in range(1, 30):
        held = set(guest.held)
        guest.fails_at = nth
        base = guest.get((0, 3, 9), (1, 1, 1))
        if not base:
            nr_failed += 1
            assert before == guest.free_pages()
            assert held == guest.held
        else:
            guest.fails_at = 0
            guest.perform(pcpu_free_vm_areas(guest.space, base))
            guest.perform(vm_unmap_aliases(guest.space))

    assert nr_failed >= 8
    assert len(list(guest.space.areas_of(BUSY))) == 2
    assert not list(guest.space.areas_of(LAZY))


def test_without_addresses_there_is_no_chunk():
    """All of vmalloc's room is asked for: it is purged once, and refused."""
    guest = Counting()
    nr_all = (TOP - VMALLOC_FIRST) // ALIGN
    assert guest.get((0,), (nr_all,))

    assert not guest.get((0,), (1,))
