"""The nodes of a sparse array: which a place needs, which are left over (lib/xarray.c, Linux 6.1).

An array of pages or the like is a tree of nodes with 64 slots each. An entry at index 0 alone has
no node; else there is a node for each group of 64 indices that has an entry, one for each group of
64 of those, and so on up to the head, which is as high as the highest index wants it.

Nodes are made from the top down, one at a time, and stay when making the next one fails. One whose
last slot becomes empty goes, and so do those above that then are empty. A head is not as low as it
could be, but for one case: it has nothing but its slot 0 when a slot of it was emptied.

Left out: marks, entries that take several slots, values in the place of pages (shadow entries).

Invariant: all nodes above one that is there are there, too.
"""

from collections.abc import Container
from typing import Final

from attrs import define

XA_CHUNK_SHIFT: Final = 6
_CHUNK_MASK: Final = (1 << XA_CHUNK_SHIFT) - 1
NO_NODE: Final = -1


@define(eq=False)
class XaNode:
    """One node (struct xa_node)."""

    thing: int
    """Address of the object; 0: it is none of the machine's."""
    shift: int
    """So many bits of an index lie below its slots: 0 where the slots hold entries."""
    place: int
    """What is left of the indices below it: they shifted by `shift` and XA_CHUNK_SHIFT."""
    parent: "XaNode | None"
    count: int = 0
    """Slots that are in use."""


class XArray:
    """The tree of an array; the entries are its owner's, who looks them up without it."""

    def __init__(self, entries: Container[int]) -> None:
        self._entries: Final = entries
        self._has_root_entry = False
        self._head: XaNode | None = None
        self._leaves: dict[int, XaNode] = {}
        """Nodes of entries, by place."""
        self._above: dict[tuple[int, int], XaNode] = {}
        """All other nodes, by shift and place."""

    @property
    def nodes(self) -> list[XaNode]:
        """All nodes, in no order."""
        return [*self._leaves.values(), *self._above.values()]

    def key(self) -> tuple[tuple[int, ...], ...]:
        """Return which nodes there are, where, and how many of their slots are in use."""
        return tuple(
            sorted((node.shift, node.place, node.thing, node.count) for node in self.nodes)
        )

    def missing(self, index: int) -> int:
        """Return the shift of the node that has to be added first for `index`; NO_NODE: none."""
        if index >> XA_CHUNK_SHIFT in self._leaves:
            return NO_NODE
        node = self._head
        if node is None:
            return self._first(index)
        if index >> node.shift > _CHUNK_MASK:
            return node.shift + XA_CHUNK_SHIFT
        while node is not None:
            shift = node.shift - XA_CHUNK_SHIFT
            node = self._node(shift, index)
        return shift

    def add_node(self, index: int, thing: int) -> None:
        """Let the node at address `thing` be the one that `missing` names."""
        shift = self.missing(index)
        head = self._head
        assert shift != NO_NODE, f"index {index} needs no node"
        if head is None or shift > head.shift:
            # A new head: what there was becomes its slot 0 (xas_expand).
            node = XaNode(thing, shift, 0, None)
            if head is not None:
                head.parent = node
                node.count = 1
            elif self._has_root_entry:
                self._has_root_entry = False
                node.count = 1
            self._head = node
        else:
            parent = self._node(shift + XA_CHUNK_SHIFT, index)
            assert parent is not None, "nodes are made from the top down"
            parent.count += 1
            node = XaNode(thing, shift, index >> (shift + XA_CHUNK_SHIFT), parent)
        if shift:
            self._above[shift, node.place] = node
        else:
            self._leaves[node.place] = node

    def store(self, index: int) -> None:
        """Take note of a new entry for which no node is missing."""
        leaf = self._leaves.get(index >> XA_CHUNK_SHIFT)
        if leaf is None:
            assert index == 0, f"index {index} has no node"
            assert self._head is None, "an entry is the root only where there are no nodes"
            self._has_root_entry = True
        else:
            leaf.count += 1

    def erase(self, index: int) -> list[int]:
        """Take note that an entry is no more; return the addresses of nodes that go with it."""
        node = self._leaves.get(index >> XA_CHUNK_SHIFT)
        if node is None:
            self._has_root_entry = False
            return []
        node.count -= 1
        if node.count and node.parent is not None:
            return []
        return self._delete_node(node)

    def has_node(self, index: int) -> bool:
        """Say whether an entry lies, or would lie, in a node that is there."""
        return index >> XA_CHUNK_SHIFT in self._leaves

    def _first(self, index: int) -> int:
        """Return the shift of the first node of all (xas_expand, xas_create)."""
        if self._has_root_entry:
            return 0
        if not index:
            return NO_NODE
        shift = 0
        while index >> shift > _CHUNK_MASK:
            shift += XA_CHUNK_SHIFT
        return shift

    def _node(self, shift: int, index: int) -> XaNode | None:
        place = index >> (shift + XA_CHUNK_SHIFT)
        return self._above.get((shift, place)) if shift else self._leaves.get(place)

    def _delete_node(self, node: XaNode) -> list[int]:
        """Take away what is empty from `node` up, then what is needless at the head."""
        gone: list[int] = []
        while not node.count:
            parent = node.parent
            self._forget(node, gone)
            if parent is None:
                self._head = None
                return gone
            parent.count -= 1
            node = parent
        if node.parent is None:
            self._shrink(node, gone)
        return gone

    def _shrink(self, head: XaNode, gone: list[int]) -> None:
        """Let what is in slot 0 of the head be the head as long as it has no other (xas_shrink)."""
        while head.count == 1:
            if not head.shift:
                if 0 in self._entries:
                    self._forget(head, gone)
                    self._head = None
                    self._has_root_entry = True
                return
            child = self._node(head.shift - XA_CHUNK_SHIFT, 0)
            if child is None:
                return
            self._forget(head, gone)
            child.parent = None
            self._head = head = child

    def _forget(self, node: XaNode, gone: list[int]) -> None:
        if node.shift:
            del self._above[node.shift, node.place]
        else:
            del self._leaves[node.place]
        gone.append(node.thing)
