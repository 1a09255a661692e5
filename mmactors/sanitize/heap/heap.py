"""O14: blocks of malloc: whose each is, from when to when, and who touches what is not his.

What a program may touch of a block are the bytes that it asked for, as ASan and Memcheck have it:
what malloc_usable_size adds is the library's. An access is looked at when it is made, before it
can stumble over that; so a finding names who did the damage, and the library's own message, which
comes later or never, whom it struck. The library's accesses to its own words are not looked at.

Not seen: what a heap trace does with its blocks, which its own reader tells of; what the kernel
stores for a program (read, and devices); futex words.
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from attrs import define, field
from numpy.typing import NDArray

from mmactors.arch.trace import KIND_MASK, MODIFY, SIZE_MASK, SIZE_SHIFT, STORE
from mmactors.checks import HeapChecks
from mmactors.malloc.library import MallocLibrary
from mmactors.sanitize.heap.block import Block, Blocks, Owner
from mmactors.sanitize.law import Law
from mmactors.sanitize.slab.objects import Deed
from mmactors.workload.operation import malloc as op
from mmactors.workload.operation.address import Address, Region, Span
from mmactors.workload.operation.malloc import requested_bytes

Report = Callable[[Law, str, Sequence[str]], None]
_UNSEEN: Final = "{} does not notice it"
_SEEN_LATER: Final = (
    "glibc has the size of the next chunk there, and aborts when it comes to look at it"
)

_SHOWN_MAX: Final = 4
"""So many blocks of one leak are shown."""


@define(eq=False)
class HeapBlocks(HeapChecks):
    """Knows all blocks of all processes."""

    report: Report
    now: Callable[[], Deed]
    heaps: dict[int, Blocks] = field(factory=dict, init=False)
    """By the number of the address space."""

    # -- calls of the library ------------------------------------------------------------------

    def call_begins(self, space: int, owner: object, library: object, call: object) -> object:
        """Look at what is to be freed; return its block if it may be."""
        heap = self.heaps.get(space)
        if heap is None:
            heap = self.heaps[space] = Blocks(_owner(owner), _library(library))
        match call:
            case op.RunHeapTrace():
                heap.forget_freed()
            case op.Free(pointer=name):
                block = self._to_free(heap, name, "freed")
                if block is not None:
                    block.freed = self.now()
            case op.Realloc(name=name, length=length):
                block = self._to_free(heap, name, "given another size")
                if block is not None and length:
                    block.is_moving = True
                elif block is not None:
                    block.freed = self.now()
                return block
        return None

    def call_ended(self, space: int, call: object, begun: object, result: int) -> None:
        """Note the block that a call has returned."""
        old = begun if isinstance(begun, Block) else None
        if old is not None:
            old.is_moving = False
        if not isinstance(call, op.Allocates) or result <= 0:
            return
        heap = self.heaps[space]
        nr_bytes = requested_bytes(call)
        usable = max(heap.library.peek_usable_size(result), nr_bytes)
        if old is not None and old.address == result:
            old.nr_bytes, old.usable, old.resized = nr_bytes, usable, self.now()
            heap.names[call.name] = old
            return
        if old is not None:
            old.freed = self.now()
        block = Block(result, nr_bytes, usable, self.now())
        for other in heap.add(block):
            facts = [*other.story(), f"and {block} is handed out {block.allocated}"]
            facts.append("legal: memory that nobody has")
            self._tell(heap, Law.HEAP_TWICE, f"{block} has memory of {other}", facts)
        heap.names[call.name] = block

    def _to_free(self, heap: Blocks, name: str, what: str) -> Block | None:
        """Return the block that a name means, or report why it means none that is in use."""
        address = heap.owner.names.get(name, (0, 0))[0]
        if not address:
            return None
        block = heap.named(name, address) or heap.by_address.get(address)
        if block is None or (
            block.freed is not None
            and block is not heap.names.get(name)
            and not heap.is_still_there(block)
        ):
            self._tell_no_block(heap, name, address, what)
            return None
        if block.freed is None:
            return block
        facts = [*block.story(), f"and {what} again {self.now()}"]
        other = heap.by_address.get(address)
        if other is not None and other is not block:
            facts += ["by now there is:", *other.story()]
        facts.append("legal: nothing, until it is allocated again")
        what = f"`{name}` is free and is {what}: {block}"
        self._tell(heap, Law.HEAP_DOUBLE_FREE, what, facts)
        return None

    def _tell_no_block(self, heap: Blocks, name: str, address: int, what: str) -> None:
        facts = [f"it is {what} {self.now()}"]
        where = "malloc has not returned it"
        for block in heap.within(address, address + 1):
            state = "" if block.freed is None else ", which is free"
            where = f"it is {address - block.address} bytes behind the begin of {block}{state}"
            facts += [*block.story(), f"legal: {block.address:#x}"]
        what = f"`{name}`, {address:#x}, is {what}: {where}"
        self._tell(heap, Law.HEAP_NO_BLOCK, what, facts)

    # -- accesses ------------------------------------------------------------------------------

    def accessed(
        self, space: int, doing: object, addresses: NDArray[np.int64], meta: NDArray[np.int64]
    ) -> None:
        """Look at accesses that a program has just made."""
        heap = self.heaps.get(space)
        if heap is None or not len(addresses):
            return
        sizes = meta >> SIZE_SHIFT & SIZE_MASK
        name = _base_of(doing)
        if name is not None:
            block = heap.named(name, heap.owner.names.get(name, (0, 0))[0])
            if block is not None:
                self._look(heap, block, doing, addresses, sizes, meta)
                return
        low, high = int(addresses.min()), int((addresses + sizes).max())
        for block in heap.within(low, high):
            first = block.address - heap.library.bytes_before_block
            end = block.address + block.usable
            hits = (addresses < end) & (addresses + sizes > first)
            if hits.any() and (block.freed is None or heap.is_still_there(block)):
                self._look(heap, block, doing, addresses[hits], sizes[hits], meta[hits])

    def _look(
        self,
        heap: Blocks,
        block: Block,
        doing: object,
        addresses: NDArray[np.int64],
        sizes: NDArray[np.int64],
        meta: NDArray[np.int64],
    ) -> None:
        """Look at accesses that are meant for a block, or go to its memory."""
        law = Law.HEAP_USE_AFTER_FREE
        nth = 0
        if block.freed is None:
            law = Law.HEAP_OUT_OF_BOUNDS
            outside = (addresses < block.address) | (
                addresses + sizes > block.address + block.nr_bytes
            )
            if not outside.any():
                return
            nth = int(outside.argmax())
        if (law, doing) in block.told:
            return
        block.told.add((law, doing))
        first = int(addresses[nth]) - block.address
        last = first + int(sizes[nth]) - 1
        is_write = int(meta[nth]) & KIND_MASK in (STORE, MODIFY)
        where = f"byte {first}" if first == last else f"bytes {first} to {last}"
        what = f"`{doing}` {'writes' if is_write else 'reads'} {where} of {block}"
        facts = block.story()
        if law is Law.HEAP_USE_AFTER_FREE:
            other = heap.by_address.get(block.address)
            if other is not None and other is not block:
                facts += ["there is now:", *other.story()]
            facts.append("legal: nothing, until it is allocated again")
            self._tell(heap, law, f"{what}, which is free", facts)
            return
        legal = f"bytes 0 to {block.nr_bytes - 1}" if block.nr_bytes else "no byte"
        facts.append(f"legal: {legal}, which were asked for; usable are {block.usable}")
        facts += [
            f"in the way is {each}, allocated {each.allocated}"
            for each in heap.within(block.address + first, block.address + last + 1)
            if each is not block and each.freed is None
        ]
        is_usable = first >= 0 and last < block.usable
        has_sizes = heap.library.bytes_before_block > 0
        name = "glibc" if has_sizes else "the allocator"
        is_seen = has_sizes and is_write and not is_usable
        facts.append(_SEEN_LATER if is_seen else _UNSEEN.format(name))
        self._tell(heap, law, what, facts)

    # -- processes -----------------------------------------------------------------------------

    def heap_forked(self, parent: int, child: int, owner: object, library: object) -> None:
        """Let a child have its parent's blocks."""
        heap = self.heaps.get(parent)
        if heap is not None:
            self.heaps[child] = heap.copy(_owner(owner), _library(library))

    def exits(self, space: int) -> None:
        """Look for blocks of a process that ends which it cannot reach any more."""
        heap = self.heaps.pop(space, None)
        if heap is None or heap.owner.killed_by is not None:
            return
        pointers = sorted(address for address, _ in heap.owner.names.values())
        lost: dict[tuple[str, object], list[Block]] = {}
        for block in heap:
            if block.freed is None and not _is_reached(block, pointers):
                of = (block.allocated.actor, block.allocated.doing)
                lost.setdefault(of, []).append(block)
        for blocks in lost.values():
            nr_bytes = sum(each.nr_bytes for each in blocks)
            what = f"{blocks[0]}" if len(blocks) == 1 else f"{len(blocks)} blocks"
            told = f"{what} {'is' if len(blocks) == 1 else 'are'} in use, and no name means "
            told += "it" if len(blocks) == 1 else f"them: {nr_bytes} bytes"
            facts = [fact for each in blocks[:_SHOWN_MAX] for fact in each.story()]
            self._tell(heap, Law.HEAP_LEAK, told, facts)

    def _tell(self, heap: Blocks, law: Law, what: str, facts: Sequence[str]) -> None:
        owner = heap.owner
        self.report(law, what, [f"in process {owner.label}, pid {owner.pid}", *facts])


def _is_reached(block: Block, pointers: Sequence[int]) -> bool:
    """Return whether a sorted list of pointers leads into a block."""
    index = bisect_left(pointers, block.address)
    return index < len(pointers) and pointers[index] < block.address + max(block.nr_bytes, 1)


def _base_of(doing: object) -> str | None:
    """Return the name from which an operation's accesses are reckoned; None: there is none."""
    target: Any = getattr(doing, "range", None) or getattr(doing, "address", None)
    if isinstance(target, Region):
        return target.name
    if isinstance(target, Span):
        target = target.address
    return target.base if isinstance(target, Address) else None


def _owner(owner: Any) -> Owner:
    found: Owner = owner
    return found


def _library(library: object) -> MallocLibrary:
    assert isinstance(library, MallocLibrary), f"{library!r} is no allocator"
    return library
