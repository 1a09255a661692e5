"""What the kernel's log says when objects go wrong, in the words of mm/slub.c (Linux 6.1).

Left out: registers and stack traces of an oops, which nothing simulated has.
"""

from typing import Final

from mmactors.arch.page import PG_HEAD, PG_SLAB
from mmactors.mm.page_alloc.gfp import GFP_BITS
from mmactors.mm.slab.caller import SlabCaller
from mmactors.mm.slab.oops import STRUCT_PAGE_SIZE, VMEMMAP, pointer
from mmactors.mm.slab.slub.cache import KmemCache
from mmactors.mm.slab.slub.debug.track import tracking
from mmactors.mm.slab.slub.layout import get_order
from mmactors.mm.slab.slub.lists import nr_partial_free
from mmactors.mm.slab.slub.struct_slab import (
    COUNTERS_INUSE,
    COUNTERS_OBJECTS,
    NR_SLABS,
    OBJECTS_SHIFT,
    TOTAL_OBJECTS,
)
from mmactors.units import PAGE_SHIFT

_ROW: Final = 16
_DOUBLE: Final = "=" * 77
_SINGLE: Final = "-" * 77
_TAINTS: Final = "FSRMBUDAWCIOELKXTN"
"""In the order in which they are told (taint_flags)."""
_NODE_SHIFT: Final = 54
_ZONE_SHIFT: Final = 51
_CPUPID_SHIFT: Final = 30
_LAST_CPUPID: Final = (1 << 21) - 1
"""No CPU and no task (page_cpupid_reset_last)."""


def hex_dump(text: str, memory: memoryview, first: int, length: int) -> list[str]:
    """Return memory as print_hex_dump prints it: 16 bytes a line, with their letters."""
    lines = []
    for begin in range(first, first + length, _ROW):
        row = bytes(memory[begin : min(begin + _ROW, first + length)])
        letters = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        lines.append(f"{text}{pointer(begin)}: {row.hex(' '):49}{letters}")
    return lines


def slab_bug(s: KmemCache, what: str) -> list[str]:
    """Return how a report begins; what follows taints the kernel."""
    head = f"BUG {s.name} ({_print_tainted(s.slabs.taints)}): {what}"
    s.slabs.taints += "B"
    return [_DOUBLE, head, _SINGLE, ""]


def _print_tainted(taints: str) -> str:
    if not taints:
        return "Not tainted"
    return "Tainted: G" + "".join(letter if letter in taints else " " for letter in _TAINTS)


def slab_info(s: KmemCache, slab: int) -> str:
    """Return the line that describes a slab (print_slab_info)."""
    pages = s.slabs.pages
    counters = pages.private_view[slab]
    return (
        f"Slab 0x{VMEMMAP + slab * STRUCT_PAGE_SIZE:016x} "
        f"objects={counters >> OBJECTS_SHIFT & COUNTERS_OBJECTS} used={counters & COUNTERS_INUSE} "
        f"fp=0x{pointer(pages.index_view[slab])} flags={_page_flags(s, slab)}"
    )


def _page_flags(s: KmemCache, slab: int) -> str:
    """Return what %pGp prints."""
    flags = s.slabs.pages.flags_view[slab]
    node, zone = s.slabs.zones[s.slabs.pages.zone_view[slab] - 1]
    names = [name for flag, name in ((PG_SLAB, "slab"), (PG_HEAD, "head")) if flags & flag]
    word = node << _NODE_SHIFT | zone << _ZONE_SHIFT | _LAST_CPUPID << _CPUPID_SHIFT
    word |= flags & (PG_SLAB | PG_HEAD)
    text = "|".join([*names, f"node={node}", f"zone={zone}", f"lastcpupid={_LAST_CPUPID:#x}"])
    return f"{word:#x}({text})"


def objects_remaining(s: KmemCache, slab: int, caller: SlabCaller) -> tuple[str, ...]:
    """Return what the shutdown of a cache says of a slab that is not empty."""
    lines = slab_bug(s, f"Objects remaining in {s.name} on __kmem_cache_shutdown()")
    lines.append(slab_info(s, slab))
    pages = s.slabs.pages
    is_free = set(s.chain(pages.index_view[slab]))
    objects = pages.private_view[slab] >> OBJECTS_SHIFT & COUNTERS_OBJECTS
    for nth in range(objects):
        thing = s.first_object(slab) + nth * s.size
        if thing not in is_free:
            lines.append(f"Object 0x{pointer(thing)} @offset={thing - (slab << PAGE_SHIFT)}")
            lines += tracking(s, thing, caller.jiffies)
    return tuple(lines)


def no_memory(s: KmemCache, gfp: int, node: int | None) -> tuple[str, ...]:
    """Return what an allocation that failed says (slab_out_of_memory)."""
    layout, view = s.layout, s.slabs.view
    where = -1 if node is None else node
    sizes = f"object size: {s.object_size}, buffer size: {layout.size}"
    orders = f"default order: {layout.order}, min order: {layout.min_order}"
    lines = [
        f"SLUB: Unable to allocate memory on node {where}, gfp={gfp & GFP_BITS:#x}",
        f"  cache: {s.name}, {sizes}, {orders}",
    ]
    if layout.min_order > get_order(s.object_size):
        lines.append(f"  {s.name} debugging increased min order, use slub_debug=O to disable.")
    for each in range(s.slabs.nr_nodes):
        nr_free = nr_partial_free(s, each)
        word = s.node(each)
        lines.append(
            f"  node {each}: slabs: {view[word + NR_SLABS]}, objs: {view[word + TOTAL_OBJECTS]}, "
            f"free: {nr_free}"
        )
    return tuple(lines)
