"""A block that malloc has given a program, and all blocks of one process, by address.

Blocks that were freed are remembered until another block has their memory. A name of a program is
bound to the block that it was given, not to an address: it stays stale when somebody else has the
memory by now.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator, Mapping
from typing import Protocol

from attrs import define, field

from mmactors.malloc.library import MallocLibrary
from mmactors.sanitize.law import Law
from mmactors.sanitize.slab.objects import Deed


class Owner(Protocol):
    """A process, as far as its heap's blocks are concerned (`Process`)."""

    pid: int

    @property
    def names(self) -> Mapping[str, tuple[int, int]]:
        """Names of ranges: (address, bytes)."""

    @property
    def killed_by(self) -> int | None:
        """The number of the signal that ended it."""

    @property
    def label(self) -> str:
        """What people call it."""


@define(eq=False)
class Block:
    """One block, from when malloc returned it until its memory is another block's."""

    address: int
    nr_bytes: int
    """What was asked for."""
    usable: int
    """malloc_usable_size."""
    allocated: Deed
    resized: Deed | None = None
    """By a realloc that left it where it was."""
    freed: Deed | None = None
    is_moving: bool = False
    """It is in a realloc, which may have freed it already."""
    told: set[tuple[Law, object]] = field(factory=set)
    """What was reported of it already, and of which operation."""

    def __str__(self) -> str:
        return f"block {self.address:#x} of {self.nr_bytes} bytes"

    def story(self) -> list[str]:
        """Return who allocated it, and who freed it."""
        facts = [f"{self} was allocated {self.allocated}"]
        if self.resized is not None:
            facts.append(f"and given its size {self.resized}")
        if self.freed is not None:
            facts.append(f"and freed {self.freed}")
        return facts


@define(eq=False)
class Blocks:
    """Those of one process."""

    owner: Owner
    library: MallocLibrary
    names: dict[str, Block] = field(factory=dict)
    """By name: what it was bound to last."""
    by_address: dict[int, Block] = field(factory=dict, init=False)
    """The last block at each address."""
    _addresses: list[int] = field(factory=list, init=False)
    """Its keys, sorted."""

    def __iter__(self) -> Iterator[Block]:
        return (self.by_address[address] for address in self._addresses)

    def named(self, name: str, address: int) -> Block | None:
        """Return the block that a name was given, if it still means it."""
        block = self.names.get(name)
        return block if block is not None and block.address == address else None

    def add(self, block: Block) -> list[Block]:
        """Take a block; return those that are in use and have some of the same memory."""
        first = block.address - self.library.bytes_before_block
        overlapped = self.within(first, block.address + block.usable)
        for each in overlapped:
            self.drop(each)
        self.by_address[block.address] = block
        insort(self._addresses, block.address)
        return [each for each in overlapped if each.freed is None and not each.is_moving]

    def drop(self, block: Block) -> None:
        """Forget where a block is."""
        if self.by_address.get(block.address) is block:
            del self.by_address[block.address]
            del self._addresses[bisect_left(self._addresses, block.address)]

    def within(self, start: int, end: int) -> list[Block]:
        """Return the blocks that have memory in a range, their sizes included, lowest first."""
        before = self.library.bytes_before_block
        first = max(bisect_right(self._addresses, start) - 1, 0)
        last = bisect_left(self._addresses, end + before)
        found = (self.by_address[each] for each in self._addresses[first:last])
        return [
            each
            for each in found
            if each.address - before < end and start < each.address + max(each.usable, 1)
        ]

    def is_still_there(self, block: Block) -> bool:
        """Return whether the library still has the memory of a block that was freed."""
        return self.library.has_memory_at(block.address)

    def forget_freed(self) -> None:
        """Forget where blocks were that are free: who has their memory now is not followed."""
        for block in [each for each in self if each.freed is not None]:
            self.drop(block)

    def copy(self, owner: Owner, library: MallocLibrary) -> "Blocks":
        """Return those of a child that was forked: each a block of its own."""
        copies = {id(each): _copy(each) for each in (*self, *self.names.values())}
        child = Blocks(owner, library, {name: copies[id(b)] for name, b in self.names.items()})
        for block in self:
            child.add(copies[id(block)])
        return child


def _copy(block: Block) -> Block:
    return Block(
        address=block.address,
        nr_bytes=block.nr_bytes,
        usable=block.usable,
        allocated=block.allocated,
        resized=block.resized,
        freed=block.freed,
    )
