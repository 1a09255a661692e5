"""Nodes of the tree of areas, as far as those who read it can tell (lib/maple_tree.c, Linux 6.1).

A store that changes the number of ranges in a node, areas and gaps, makes a new node and puts it in
the old one's place; any other store changes the node where it is. Who reads under rcu_read_lock may
go on in the old node, which is freed after a grace period; who reads with mmap_lock held relies on
nobody replacing nodes meanwhile.

Here the whole tree is one node, which is so for up to 16 ranges. Only nodes that somebody reads
across steps are told apart.
"""

from collections.abc import Callable

from attrs import define

CallRcu = Callable[[Callable[[], None]], None]


@define(eq=False)
class MapleNode:
    """One node (struct maple_node)."""

    nr_readers: int = 0
    """Who has loaded a pointer to it and will read it again."""
    is_freed: bool = False

    def free(self) -> None:
        """Give its memory back."""
        self.is_freed = True

    def read(self) -> None:
        """Read a node to which a pointer was loaded before."""
        assert not self.is_freed, "a node of the tree of areas is read after it was freed"


def free_at_once(callback: Callable[[], None]) -> None:
    """Free a node on a machine where nobody reads under RCU."""
    callback()
