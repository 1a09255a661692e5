"""Loads and stores of who has a pointer to an object, wherever it points (memset, memcpy; v6.1).

Bytes are those of pages that hold objects, of whatever cache. What else lies in memory keeps no
bytes here but page tables, which are left out: stores there are lost, and loads find zeros.
"""

from collections.abc import Callable
from typing import Final

from mmactors.label import Mode
from mmactors.mm.slab.oops import oops, wild_pointer
from mmactors.mm.slab.request import SlabSteps
from mmactors.mm.slab.slab_common import PAGE_OFFSET, ZERO_SIZE_PTR
from mmactors.mm.slab.slab_memory import SlabMemory, step, touches_slab
from mmactors.units import PAGE_SHIFT, PAGE_SIZE

WORD_SEEN: Final = 4
"""So many bytes of what is read are told."""


def access_bytes(
    memory: SlabMemory,
    thing: int,
    offset: int,
    nr_bytes: int,
    *,
    value: int | None,
    seen: Callable[[], None],
) -> SlabSteps[int]:
    """Write `nr_bytes` bytes of `value` at `offset` from `thing`, or read there (None).

    Return the first bytes as they are then, up to WORD_SEEN, the lowest first. `seen` is called
    when it happens. Raise KernelOopsError where there is no memory.
    """
    address = thing + offset
    if 0 <= thing <= ZERO_SIZE_PTR:
        oops(memory, *wild_pointer(address - PAGE_OFFSET))
    if not 0 < address <= memory.nr_bytes - nr_bytes:
        oops(
            memory, *wild_pointer(address if not 0 < address < memory.nr_bytes else memory.nr_bytes)
        )
    parts = list(_parts(address, nr_bytes))
    holding = [part for part in parts if memory.memory.holds_objects(part[0] >> PAGE_SHIFT)]
    if memory.wants_step():
        mode = Mode.READ if value is None else Mode.WRITE
        heads = dict.fromkeys(memory.head_of(first) for first, _ in holding)
        text = "read bytes" if value is None else "write bytes"
        yield step(text, *(touches_slab(head, mode) for head in heads if head is not None))
    seen()
    if value is not None:
        for first, end in holding:
            memory.bytes_view[first:end] = bytes([value]) * (end - first)
        if memory.checks is not None:
            memory.checks.object_written(address, nr_bytes)
    word = bytearray(min(nr_bytes, WORD_SEEN))
    for nth in range(len(word)):
        if memory.memory.holds_objects((address + nth) >> PAGE_SHIFT):
            word[nth] = memory.bytes_view[address + nth]
    return int.from_bytes(word, "little")


def _parts(address: int, nr_bytes: int) -> list[tuple[int, int]]:
    """Return a range of bytes page by page, each half open."""
    end = address + nr_bytes
    firsts = range(address >> PAGE_SHIFT << PAGE_SHIFT, end, PAGE_SIZE)
    return [(max(first, address), min(first + PAGE_SIZE, end)) for first in firsts]
