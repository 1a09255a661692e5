"""anon_vmas: what forks make of them, and that no page ever loses the way to its entries."""

import pytest
from families import Family, tell_apart

from mmactors.rules import Rules

ONE_COUNT = Rules(anon_vma_counts_areas_apart=False)


@pytest.fixture
def family():
    return Family()


def chain(vma):
    """Return the numbers of the anon_vmas of an area, the oldest first."""
    return [link.anon_vma.number for link in vma.anon_vma_chain]


def test_a_child_is_linked_to_its_ancestors_and_itself(family):
    """All share the root, which they keep; each is its parent's child."""
    family.map(0, 0, 1)
    family.write(0, 0)
    family.fork(family.fork(0))

    grandparent, parent, child = (vma.anon_vma for vma in family.areas())

    numbers = [each.number for each in (grandparent, parent, child)]

    assert [numbers[:1], numbers[:2], numbers] == [chain(vma) for vma in family.areas()]
    assert (grandparent, grandparent) == (parent.root, child.root)
    assert (grandparent, parent) == (parent.parent, child.parent)
    assert (3, 1, 1) == (grandparent.refcount, parent.refcount, child.refcount)
    assert (2, 1, 0) == tuple(each.num_children for each in (grandparent, parent, child))


def test_an_anon_vma_whose_area_is_gone_is_taken_over(family):
    """So that a process that forks and exits for ever has a chain of two, not of thousands."""
    family.map(0, 0, 1)
    family.write(0, 0)
    pid = 0
    lengths = []
    for _ in range(10):
        child = family.fork(pid)
        family.exit(pid)
        pid = child
        lengths.append(len(chain(family.areas()[0])))

    assert [2, 3] + 8 * [3] == lengths


def test_a_root_goes_after_its_children(family):
    """A forked child keeps its parent's, and with it the lock of all."""
    family.map(0, 0, 1)
    family.write(0, 0)
    family.fork(0)
    root, own = (vma.anon_vma for vma in family.areas())

    family.exit(0)
    live_before = (root.is_live, own.is_live)
    family.unmap(1, 0)

    assert (True, True) == live_before
    assert (False, False) == (root.is_live, own.is_live)


def test_one_count_of_children_and_areas_loses_pages():
    """CVE-2022-42703: two areas take over one anon_vma, merge, and only one chain survives."""
    family = Family(ONE_COUNT)
    tell_apart(family)
    upper = family.areas()[-1]
    before = family.lost_pages()

    family.protect(6, 1, is_writable=True)

    assert [] == before
    assert chain(upper) != chain(family.areas()[-1])
    assert [(6, 1)] == family.lost_pages()


def test_two_counts_keep_the_areas_apart():
    """The second area finds the anon_vma used: it gets its own, and nothing merges."""
    family = Family()
    tell_apart(family)

    family.protect(6, 1, is_writable=True)
    lower, upper = (vma.anon_vma for vma in family.areas()[-2:])

    assert lower is not upper
    assert [] == family.lost_pages()
