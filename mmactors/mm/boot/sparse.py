"""Sections of memory and their struct pages (mm/sparse.c, mm/sparse-vmemmap.c, v6.1).

A section is 128 MiB; its struct pages are one piece of 2 MiB. Addresses are bytes.
"""

from collections.abc import Mapping
from itertools import groupby
from operator import itemgetter
from typing import Final

from mmactors.mm.boot.kernel_image import KernelImage
from mmactors.mm.boot.memblock import Memblock, OutOfBootMemoryError
from mmactors.units import GIB, MIB, PAGE_SHIFT, PAGE_SIZE, TIB

SECTION_BYTES: Final = 128 * MIB
MAX_DMA_ADDRESS: Final = 16 * MIB
_NR_SECTIONS: Final = 64 * TIB // SECTION_BYTES
_POINTER_BYTES: Final = 8
_VMEMMAP_PIECE_BYTES: Final = 2 * MIB
_TABLE_SPANS: Final = (TIB // 2, 1 * GIB)
"""Of vmemmap, of one page of PUDs and of one page of PMDs."""


def sparse_init(memblock: Memblock, image: KernelImage, *, node_data: Mapping[int, int]) -> None:
    """Take the tables of sections, then node by node the maps, as sections follow each other.

    Raises OutOfBootMemoryError.
    """
    sections = _memory_present(memblock, image)
    tables: set[tuple[int, int]] = set()
    for node, of_node in groupby(sorted(sections.items()), key=itemgetter(1)):
        numbers = [number for number, _ in of_node]
        _take_usage(memblock, image, node_data.get(node, 0), len(numbers))
        _take_maps(memblock, image, node, numbers, tables)


def _memory_present(memblock: Memblock, image: KernelImage) -> dict[int, int]:
    """Take the roots of the section table; return each section's node."""
    per_root = PAGE_SIZE // image.section_bytes
    nr_bytes = _NR_SECTIONS // per_root * _POINTER_BYTES
    _take(memblock, nr_bytes, "section roots", caller="sparse_init")
    sections: dict[int, int] = {}
    roots: set[int] = set()
    for region in memblock.memory.regions:
        node = region.node or 0
        for number in range(region.start // SECTION_BYTES, -(-region.end // SECTION_BYTES)):
            if number // per_root not in roots:
                roots.add(number // per_root)
                _take(memblock, PAGE_SIZE, "a section root", node=node, caller="sparse_index_alloc")
            sections.setdefault(number, node)
    return sections


def _take_usage(memblock: Memblock, image: KernelImage, node_data: int, nr_sections: int) -> None:
    """Take the usage maps, if possible in the section of the node's pg_data_t."""
    nr_bytes = image.section_usage_bytes * nr_sections
    goal = node_data // SECTION_BYTES * SECTION_BYTES
    node = memblock.node_of(goal) or 0
    for limit in (goal + SECTION_BYTES, 0):
        at = memblock.alloc(nr_bytes, start=goal, end=limit, node=node, caller="sparse_init_nid")
        if at is not None:
            return
    raise OutOfBootMemoryError("section usage", nr_bytes)


def _take_maps(
    memblock: Memblock,
    image: KernelImage,
    node: int,
    sections: list[int],
    tables: set[tuple[int, int]],
) -> None:
    """Take the struct pages of a node's sections and the page tables that map them.

    One piece on the node for all sections; without one, each section for itself anywhere.
    """
    map_bytes = (SECTION_BYTES >> PAGE_SHIFT) * image.struct_page_bytes
    buffer = memblock.alloc(
        map_bytes * len(sections),
        align=map_bytes,
        start=MAX_DMA_ADDRESS,
        node=node,
        exact_node=True,
        function="memblock_alloc_exact_nid_raw",
        caller="sparse_init_nid",
    )
    for number in sections:
        at = number * map_bytes
        for span in _TABLE_SPANS:
            if (span, at // span) not in tables:
                tables.add((span, at // span))
                _take_vmemmap(memblock, PAGE_SIZE, node, "vmemmap_alloc_block_zero")
        if buffer is None:
            for _ in range(map_bytes // _VMEMMAP_PIECE_BYTES):
                _take_vmemmap(memblock, _VMEMMAP_PIECE_BYTES, node, "vmemmap_alloc_block")


def _take_vmemmap(memblock: Memblock, nr_bytes: int, node: int, caller: str) -> None:
    at = memblock.alloc(
        nr_bytes,
        align=nr_bytes,
        start=MAX_DMA_ADDRESS,
        node=node,
        function="memblock_alloc_try_nid_raw",
        caller=caller,
    )
    if at is None:
        raise OutOfBootMemoryError("the memmap", nr_bytes)


def _take(
    memblock: Memblock, nr_bytes: int, what: str, *, caller: str, node: int | None = None
) -> None:
    if memblock.alloc(nr_bytes, node=node, caller=caller) is None:
        raise OutOfBootMemoryError(what, nr_bytes)
