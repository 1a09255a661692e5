"""What the kernel prints about memory while it boots, line by line (v6.1, x86-64).

As `dmesg` shows it, without time stamps: the memory map, with `memblock=debug` each call and both
lists, zones and nodes, per-CPU areas, hash tables, and what is free at the hand-over.

Left out: lines about devices, and hash tables that several nodes take from vmalloc.
"""

from collections.abc import Iterator
from typing import Final

from mmactors.mm.boot.e820 import E820Entry, type_text
from mmactors.mm.boot.memblock import MemblockDump
from mmactors.mm.boot.movable import pfn_ranges
from mmactors.mm.boot.percpu_chunk import unit_layout
from mmactors.mm.boot.regions import Region
from mmactors.mm.boot.sparse import SECTION_BYTES
from mmactors.mm.boot.zone_init import BootedMemory, zone_ranges
from mmactors.mm.page_alloc.gfp import ZONE_MOVABLE
from mmactors.mm.page_alloc.watermark import ZONE_NAMES
from mmactors.mm.page_alloc.zonelist import build_zonelists
from mmactors.mm.slab.boot_option import banner
from mmactors.units import KIB, MIB, PAGE_SHIFT, PAGE_SIZE, TIB

_PAGES_PER_SECTION: Final = SECTION_BYTES >> PAGE_SHIFT
_PAGEBLOCK_PAGES, _MIGRATE_TYPES = 512, 5
_ATOM_BYTES: Final = 2 * MIB
_VMALLOC_BYTES, _PGD_SPAN = 32 * TIB, TIB // 2
"""What the vmalloc area needs page tables for at once, from the page allocator."""
_LINE_CHARS: Final = 60
_INFO: Final = 6
_KIB_PER_PAGE: Final = PAGE_SIZE // KIB


def boot_log(booted: BootedMemory, slab: str = "slub") -> list[str]:
    """Return all lines, in order; `slab` is the allocator of objects."""
    return [
        *_map_lines(booted),
        *_memblock_lines(booted),
        *zone_lines(booted),
        *percpu_lines(booted),
        *hand_over_lines(booted, slab),
    ]


def boot_story(booted: BootedMemory) -> list[str]:
    """Return what the kernel prints, all calls whether it prints them or not, and the hand-over."""
    calls = booted.early.memblock.calls
    return [
        *_map_lines(booted),
        *_calls_and_dumps(booted, 0),
        *zone_lines(booted),
        *percpu_lines(booted),
        *hand_over_lines(booted),
        f"{len(calls)} calls of memblock; what is left goes to the page allocator, in this order:",
        *_free_lines(booted),
    ]


def _free_lines(booted: BootedMemory) -> Iterator[str]:
    for span in booted.spans:
        yield f"Node {span.node}, zone {ZONE_NAMES[span.index]}: {span.managed} pages"
        for start, end in span.free_ranges:
            yield f"  {_mem_of_pfns(start, end)} {end - start} pages"


def kmsg(booted: BootedMemory, slab: str = "slub") -> str:
    """Return the lines as /proc/kmsg has them: level and time, which does not run yet.

    `slab` is the allocator of objects.
    """
    levels = {line: level for level, line in booted.early.arguments.slab.log}
    return "".join(
        f"<{levels.get(line, _INFO)}>[    0.000000] {line}\n" for line in boot_log(booted, slab)
    )


def _map_lines(booted: BootedMemory) -> Iterator[str]:
    early = booted.early
    yield "BIOS-provided physical RAM map:"
    yield from _entries("BIOS-e820", early.firmware.entries)
    if early.arguments.changes_map:
        yield "user-defined physical RAM map:"
        yield from _entries("user", early.user_map)


def _entries(who: str, entries: tuple[E820Entry, ...]) -> Iterator[str]:
    for entry in entries:
        yield f"{who}: {_mem(entry.start, entry.end)} {type_text(entry.type)}"


def _memblock_lines(booted: BootedMemory) -> Iterator[str]:
    """Yield the calls; what is not printed without `memblock=debug` is left out without it."""
    if booted.early.arguments.is_memblock_debug:
        yield from _calls_and_dumps(booted, booted.early.debug_from)


def _calls_and_dumps(booted: BootedMemory, first: int) -> Iterator[str]:
    calls, dumps = booted.early.memblock.calls, booted.early.memblock.dumps
    at = first
    for dump in dumps:
        yield from map(str, calls[at : dump.after_calls])
        yield from _dump_lines(dump)
        at = dump.after_calls
    yield from map(str, calls[at:])


def _dump_lines(dump: MemblockDump) -> Iterator[str]:
    reserved = sum(region.end - region.start for region in dump.reserved)
    yield "MEMBLOCK configuration:"
    yield f" memory size = 0x{dump.memory_size:016x} reserved size = 0x{reserved:016x}"
    for name, regions in (("memory", dump.memory), ("reserved", dump.reserved)):
        yield f" {name}.cnt  = 0x{len(regions):x}"
        for nth, region in enumerate(regions):
            yield (
                f" {name}[0x{nth:x}]\t[0x{region.start:016x}-0x{region.end - 1:016x}], "
                f"0x{region.end - region.start:016x} bytes {region_text(region)}"
            )


def region_text(region: Region) -> str:
    """Return a region's node, if it is known, and its flags, as a dump has them."""
    node = "" if region.node is None else f"on node {region.node} "
    return f"{node}flags: 0x{region.flags:x}"


def zone_range_rows(booted: BootedMemory) -> list[tuple[str, str]]:
    """Return by zone which addresses may be in it; zone Movable has none of its own."""
    ranges = zone_ranges(booted.early.memblock)
    rows = []
    for index, name in enumerate(ZONE_NAMES):
        if index == ZONE_MOVABLE:
            continue
        start, end = ranges.get(index, (0, 0))
        rows.append((name, _mem_of_pfns(start, end) if start < end else "empty"))
    return rows


def zone_lines(booted: BootedMemory) -> Iterator[str]:
    """Yield which memory is in which zone and on which node (free_area_init)."""
    early = booted.early
    for node, at in early.node_data.items():
        end = at + early.node_data_bytes
        yield f"NODE_DATA({node}) allocated {_mem(at, end, width=8)}"
    yield "Zone ranges:"
    for name, text in zone_range_rows(booted):
        yield f"  {name:<8} {text}"
    yield "Movable zone start for each node"
    for node, pfn in booted.movable_pfns.items():
        yield f"  Node {node}: 0x{pfn << PAGE_SHIFT:016x}"
    yield "Early memory node ranges"
    nodes = pfn_ranges(early.memblock)
    ranges = sorted((start, end, node) for node, parts in nodes.items() for start, end in parts)
    for start, end, node in ranges:
        yield f"  node {node:3}: {_mem_of_pfns(start, end)}"
    for node in range(early.nr_nodes):
        parts = nodes.get(node)
        where = _mem_of_pfns(parts[0][0], parts[-1][1]) if parts else "as memoryless"
        yield f"Initmem setup node {node} {where}"
    yield from _unavailable_lines(booted, ranges)


def _unavailable_lines(booted: BootedMemory, ranges: list[tuple[int, int, int]]) -> Iterator[str]:
    """Yield how many struct pages have no memory behind them (memmap_init)."""
    sections = {
        section
        for start, end, _ in ranges
        for section in (start // _PAGES_PER_SECTION, (end - 1) // _PAGES_PER_SECTION)
    }
    hole = 0
    name = ZONE_NAMES[0]
    for start, end, node in ranges:
        for span in booted.spans:
            if span.node != node:
                continue
            name = ZONE_NAMES[span.index]
            low = max(start, span.start_pfn)
            high = min(end, span.start_pfn + span.spanned)
            if low < high:
                yield from _unavailable(hole, low, node, name, sections)
                hole = high
    last = -(-ranges[-1][1] // _PAGES_PER_SECTION) * _PAGES_PER_SECTION
    yield from _unavailable(hole, last, ranges[-1][2], name, sections)


def _unavailable(start: int, end: int, node: int, zone: str, sections: set[int]) -> Iterator[str]:
    pages = 0
    for section in (start // _PAGES_PER_SECTION, end // _PAGES_PER_SECTION):
        low = max(start, section * _PAGES_PER_SECTION)
        high = min(end, (section + 1) * _PAGES_PER_SECTION)
        if section in sections and low < high:
            pages += high - low
        if start // _PAGES_PER_SECTION == end // _PAGES_PER_SECTION:
            break
    if pages:
        yield f"On node {node}, zone {zone}: {pages} pages in unavailable ranges"


def percpu_lines(booted: BootedMemory) -> Iterator[str]:
    """Yield how per-CPU areas lie (pcpu_embed_first_chunk, pcpu_dump_alloc_info)."""
    early = booted.early
    image, cpu_nodes = early.image, early.possible_cpu_nodes
    layout = unit_layout(cpu_nodes, image)
    sizes = (
        f"s{image.percpu_static_bytes} r{image.percpu_reserved_bytes} "
        f"d{image.percpu_dynamic_bytes} u{layout.unit_bytes}"
    )
    yield f"percpu: Embedded {image.percpu_bytes >> PAGE_SHIFT} pages/cpu {sizes}"
    yield f"pcpu-alloc: {sizes} alloc=1*{_ATOM_BYTES}"
    per_alloc = layout.units_per_alloc
    cpu_width, group_width = len(str(len(cpu_nodes))), len(str(len(layout.groups)))
    width = per_alloc * (cpu_width + 1) + group_width + 3
    per_line = 1 << (max(_LINE_CHARS // width, 1).bit_length() - 1)
    allocs = []
    for group, (node, nr_cpus) in enumerate(layout.groups):
        cpus = [f"{cpu:0{cpu_width}}" for cpu, of in enumerate(cpu_nodes) if of == node]
        cpus += ["-" * cpu_width] * (layout.nr_units(nr_cpus) - nr_cpus)
        allocs += [
            f"[{group:0{group_width}}] {' '.join(cpus[at : at + per_alloc])} "
            for at in range(0, len(cpus), per_alloc)
        ]
    for at in range(0, len(allocs), per_line):
        yield f"pcpu-alloc: {''.join(allocs[at : at + per_line])}"


def hand_over_lines(booted: BootedMemory, slab: str = "slub") -> Iterator[str]:
    """Yield zonelists, hash tables, and what is free (build_all_zonelists, mem_init).

    SLUB says that it is there; SLAB and SLOB say nothing.
    """
    early, spans = booted.early, booted.spans
    nodes = early.online_nodes
    orders = build_zonelists(
        [(span.node, span.index) for span in spans],
        nr_nodes=early.nr_nodes,
        cpu_node=(),
    )
    for node in nodes:
        others = dict.fromkeys((node, *(other for other, _ in orders[node])))
        yield f"Fallback order for Node {node}: {' '.join(map(str, others))} "
    pages = booted.nr_kernel_pages
    grouping = "on" if pages >= _PAGEBLOCK_PAGES * _MIGRATE_TYPES else "off"
    yield (f"Built {len(nodes)} zonelists, mobility grouping {grouping}.  Total pages: {pages}")
    policy = max((span.index for span in spans if span.index != ZONE_MOVABLE), default=0)
    yield f"Policy zone: {ZONE_NAMES[policy]}"
    yield f"Kernel command line: {early.arguments.text}"
    if slab == "slub":
        yield from (line for _, line in early.arguments.slab.log)
    for name, buckets in early.hash_tables:
        nr_bytes = buckets * early.image.hash_bucket_bytes
        order = max((nr_bytes - 1 >> PAGE_SHIFT).bit_length(), 0)
        yield (f"{name} hash table entries: {buckets} (order: {order}, {nr_bytes} bytes, linear)")
    yield memory_line(booted)
    if slab == "slub":
        nr_nodes = 1 + max(nodes)
        yield banner(early.arguments.slab, nr_cpu_ids=early.nr_possible_cpus, nr_nodes=nr_nodes)


def memory_line(booted: BootedMemory) -> str:
    """Return what is free when the page allocator takes over (mem_init_print_info)."""
    image = booted.early.image
    used = _VMALLOC_BYTES // _PGD_SPAN * _KIB_PER_PAGE
    free, present, total = (
        sum(getattr(span, name) for span in booted.spans) * _KIB_PER_PAGE
        for name in ("managed_first", "present", "managed_at_mem_init")
    )
    return (
        f"Memory: {free - used}K/{present}K available ({image.code_kib}K kernel code, "
        f"{image.rwdata_kib}K rwdata, {image.rodata_kib}K rodata, {image.init_kib}K init, "
        f"{image.bss_kib}K bss, {present - total}K reserved, 0K cma-reserved)"
    )


def _mem(start: int, end: int, *, width: int = 16) -> str:
    return f"[mem 0x{start:0{width}x}-0x{end - 1:0{width}x}]"


def _mem_of_pfns(start: int, end: int) -> str:
    return _mem(start << PAGE_SHIFT, end << PAGE_SHIFT)
