"""Finding an area and the one before it (mm/mmap.c, find_vma_prev, Linux 6.1).

Two looks at one node of the tree: the second goes on where the first has stopped. The caller holds
mmap_lock, for reading at least, and is no RCU reader: it relies on nobody replacing the node.
"""

from collections.abc import Generator

from mmactors.label import Label, Mode, areas
from mmactors.mm.area.mm_struct import MmStruct
from mmactors.mm.area.vma import Vma

FoundPair = tuple[Vma | None, Vma | None]


def find_vma_prev(mm: MmStruct, address: int) -> Generator[Label, int | None, FoundPair]:
    """End with the first area that ends after `address`, and the last that ends before it."""
    tree = mm.tree
    if not mm.page_table.wants_step():
        return tree.find_vma(address), tree.find_prev(address)
    touches = ((areas(mm.ctx_id), Mode.READ),)
    yield Label("mas_walk", touches)
    node = tree.node
    node.nr_readers += 1
    vma = tree.find_vma(address)
    yield Label("mas_prev", touches)
    node.nr_readers -= 1
    node.read()
    return vma, tree.find_prev(address)
