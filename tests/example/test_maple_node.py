"""When a node of the tree of areas is replaced, and what then becomes of who reads it."""

import pytest

from mmactors.mm.area.vm_flags import VM_READ
from mmactors.mm.area.vma import Vma, VmaTree
from mmactors.units import PAGE_SIZE


def area(first, end):
    return Vma(vm_start=first * PAGE_SIZE, vm_end=end * PAGE_SIZE, vm_flags=VM_READ, vm_pgoff=first)


@pytest.fixture
def tree():
    """Areas at pages 2 to 4, 6 to 8 and 8 to 9, and a reader of their node."""
    tree = VmaTree()
    for limits in ((2, 4), (6, 8), (8, 9)):
        tree.insert(area(*limits))
    tree.node.nr_readers = 1
    return tree


def is_replaced(tree, change):
    before = tree.node
    change()
    return tree.node is not before


def resize(tree, first, end):
    vma = tree.find_vma(6 * PAGE_SIZE)
    tree.resize(vma, start=first * PAGE_SIZE, end=end * PAGE_SIZE)


def test_a_smaller_gap_changes_the_node_where_it_is(tree):
    """The number of ranges stays: a pivot moves."""
    assert not is_replaced(tree, lambda: resize(tree, 5, 8))


def test_a_gap_that_closes_replaces_the_node(tree):
    """One range less."""
    assert is_replaced(tree, lambda: resize(tree, 4, 8))


def test_a_gap_that_opens_replaces_the_node(tree):
    """One range more."""
    assert is_replaced(tree, lambda: resize(tree, 6, 7))


@pytest.mark.parametrize(("limits", "replaces"), [((4, 6), False), ((4, 5), True), ((5, 6), True)])
def test_a_new_area_replaces_the_node_unless_it_fills_a_gap(tree, limits, replaces):
    """Then it stands where the gap stood."""
    assert replaces is is_replaced(tree, lambda: tree.insert(area(*limits)))


def test_who_reads_a_node_that_was_freed_is_found(tree):
    """Without RCU readers it is freed at once."""
    node = tree.node
    node.read()
    resize(tree, 4, 8)

    with pytest.raises(AssertionError, match="is read after it was freed"):
        node.read()


def test_a_node_is_freed_after_a_grace_period(tree):
    """Until then its reader goes on."""
    callbacks = []
    tree.call_rcu = callbacks.append
    node = tree.node
    resize(tree, 4, 8)
    node.read()

    callbacks[0]()

    assert node.is_freed
