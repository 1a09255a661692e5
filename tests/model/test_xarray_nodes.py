"""The nodes of a page cache against a tree whose slots are all there (lib/xarray.c)."""

from hypothesis import given
from hypothesis import strategies as st

from mmactors.mm.xarray import NO_NODE, XArray

INDICES = st.one_of(
    st.integers(0, 3),
    st.integers(0, 200),
    st.integers(4090, 4100),
    st.sampled_from([63, 64, 65, 4095, 4096, 262143, 262144, 1 << 40]),
)


class Slots:
    """A node with its 64 slots; None: a slot is empty, True: an entry."""

    def __init__(self, height):
        self.height = height
        self.slots = [None] * 64

    def used(self):
        return [slot for slot in self.slots if slot is not None]

    def covers(self, index):
        return index < 64 ** (self.height + 1)


class SlotTree:
    """What stores and erases as the kernel does, on slots."""

    def __init__(self):
        self.head = None
        self.nr_made = self.nr_gone = 0

    def store(self, index):
        if self.head is None and index == 0:
            self.head = True
            return
        if self.head is None:
            self.head = self._made(0)
            while not self.head.covers(index):
                self.head.height += 1
        while self.head is True or not self.head.covers(index):
            above = self._made(0 if self.head is True else self.head.height + 1)
            above.slots[0] = self.head
            self.head = above
        node = self.head
        while node.height:
            offset = index // 64**node.height % 64
            if node.slots[offset] is None:
                node.slots[offset] = self._made(node.height - 1)
            node = node.slots[offset]
        node.slots[index % 64] = True

    def erase(self, index):
        if self.head is True:
            self.head = None
            return
        path = [self.head]
        while path[-1].height:
            path.append(path[-1].slots[index // 64 ** path[-1].height % 64])
        path[-1].slots[index % 64] = None
        while path and not path[-1].used():
            gone = path.pop()
            self.nr_gone += 1
            if not path:
                self.head = None
                return
            path[-1].slots[path[-1].slots.index(gone)] = None
        if path[-1] is self.head:
            while self.head is not True and len(self.head.used()) == 1 and self.head.slots[0]:
                self.head = self.head.slots[0]
                self.nr_gone += 1

    def nodes(self):
        """Return the shift and the first index of each node."""
        found = []

        def walk(node, first):
            found.append((6 * node.height, first >> 6 * (node.height + 1)))
            for offset, below in enumerate(node.slots):
                if isinstance(below, Slots):
                    walk(below, first + offset * 64**node.height)

        if isinstance(self.head, Slots):
            walk(self.head, 0)
        return sorted(found)

    def _made(self, height):
        self.nr_made += 1
        return Slots(height)


@given(st.lists(INDICES, max_size=60))
def test_the_nodes_are_those_of_a_tree_with_slots(indices):
    """An index that is named anew leaves; at the end all leave, and every node has gone once."""
    entries, tree = set(), SlotTree()
    array = XArray(entries)
    made, gone = [], []

    def check():
        assert tree.nodes() == sorted((node.shift, node.place) for node in array.nodes)
        assert (tree.nr_made, tree.nr_gone) == (len(made), len(gone))
        assert set(made) - set(gone) == {node.thing for node in array.nodes}

    def flip(index):
        if index in entries:
            entries.remove(index)
            gone.extend(array.erase(index))
            tree.erase(index)
        else:
            while array.missing(index) != NO_NODE:
                made.append(len(made) + 1)
                array.add_node(index, made[-1])
            entries.add(index)
            array.store(index)
            tree.store(index)
        check()

    for index in [*indices, *sorted(entries)]:
        flip(index)
    for index in sorted(entries):
        flip(index)

    assert sorted(made) == sorted(gone)


@given(st.sampled_from([64, 5000, 1 << 20]), st.integers(1, 3), st.integers(0, 1 << 20))
def test_nodes_that_were_made_stay_when_the_next_cannot_be(index, nr_made, later):
    """Making goes on where it ended, and what comes later goes on from there, too."""
    entries = set()
    array = XArray(entries)
    for thing in range(1, nr_made + 1):
        if array.missing(index) != NO_NODE:
            array.add_node(index, thing)
    left = {(node.shift, node.place) for node in array.nodes}

    stored = {index, later}
    for each in sorted(stored, reverse=later < index):
        while array.missing(each) != NO_NODE:
            array.add_node(each, 9)
        entries.add(each)
        array.store(each)

    assert left <= {(node.shift, node.place) for node in array.nodes}
    for each in sorted(stored):
        entries.remove(each)
        array.erase(each)
    assert [] == array.nodes
