"""The first chunk of per-CPU areas (mm/percpu.c, v6.1, x86-64). Amounts are bytes."""

from typing import Final, NamedTuple

from mmactors.mm.boot.kernel_image import DEBIAN_6_1, KernelImage
from mmactors.mm.boot.memblock import Memblock, OutOfBootMemoryError
from mmactors.mm.boot.sparse import MAX_DMA_ADDRESS
from mmactors.units import MIB, PAGE_SHIFT, PAGE_SIZE

_ATOM_BYTES: Final = 2 * MIB
_MIN_ALLOC_BYTES: Final = 4
_LONG_BYTES, _LONG_BITS = 8, 64
_INFO_BYTES, _GROUP_INFO_BYTES, _CPU_MAP_BYTES = 64, 24, 4
_SLOT_SHIFT: Final = 5
_LIST_HEAD_BYTES: Final = 16


class UnitLayout(NamedTuple):
    """How CPUs share allocations of 2 MiB (struct pcpu_alloc_info)."""

    units_per_alloc: int
    groups: tuple[tuple[int, int], ...]
    """By group of near CPUs: its node and its CPUs."""

    @property
    def unit_bytes(self) -> int:
        """Distance of two units."""
        return _ATOM_BYTES // self.units_per_alloc

    def nr_units(self, nr_cpus: int) -> int:
        """Return the units of a group with so many CPUs: whole allocations."""
        return -(-nr_cpus // self.units_per_alloc) * self.units_per_alloc

    @property
    def all_units(self) -> int:
        """Units of all groups."""
        return sum(self.nr_units(nr_cpus) for _, nr_cpus in self.groups)


def unit_layout(cpu_node: tuple[int, ...], image: KernelImage = DEBIAN_6_1) -> UnitLayout:
    """Return how units lie: as many in 2 MiB as waste at most a third (pcpu_build_alloc_info)."""
    groups = tuple((node, cpu_node.count(node)) for node in dict.fromkeys(cpu_node))
    best, last_allocs = 1, None
    for units in range(_ATOM_BYTES // image.percpu_bytes, 0, -1):
        if _ATOM_BYTES % (units * PAGE_SIZE):
            continue
        allocs = sum(-(-cpus // units) for _, cpus in groups)
        wasted = sum(-(-cpus // units) * units - cpus for _, cpus in groups)
        if wasted > len(cpu_node) // 3:
            continue
        if last_allocs is not None and allocs > last_allocs:
            break
        best, last_allocs = units, allocs
    return UnitLayout(units_per_alloc=best, groups=groups)


def percpu_pages(cpu_node: tuple[int, ...]) -> int:
    """Return the pages of the first chunk of per-CPU areas, by CPU its node given.

    Units without a CPU count like others (pcpu_setup_first_chunk).
    """
    return unit_layout(cpu_node).all_units * (DEBIAN_6_1.percpu_bytes >> PAGE_SHIFT)


def embed_first_chunk(
    memblock: Memblock, image: KernelImage, cpu_node: tuple[int, ...]
) -> tuple[int, ...]:
    """Take the areas, group by group, and give back what units do not use; return where they are.

    Raises OutOfBootMemoryError. Source: pcpu_embed_first_chunk.
    """
    caller = "pcpu_embed_first_chunk"
    layout = unit_layout(cpu_node, image)
    info_bytes = _pages(
        _INFO_BYTES + _GROUP_INFO_BYTES * len(layout.groups) + _CPU_MAP_BYTES * layout.all_units
    )
    info = _take(memblock, info_bytes, align=PAGE_SIZE, caller="pcpu_build_alloc_info")
    areas_bytes = _pages(len(layout.groups) * _LONG_BYTES)
    areas = _take(memblock, areas_bytes, caller=caller)
    groups = []
    for node, nr_cpus in layout.groups:
        nr_bytes = layout.nr_units(nr_cpus) * layout.unit_bytes
        at = _take(
            memblock,
            nr_bytes,
            align=_ATOM_BYTES,
            start=MAX_DMA_ADDRESS,
            node=node,
            caller="pcpu_fc_alloc",
        )
        groups.append((at, nr_cpus))
    for area, nr_cpus in groups:
        for unit in range(layout.nr_units(nr_cpus)):
            at = area + unit * layout.unit_bytes
            used = image.percpu_bytes if unit < nr_cpus else 0
            memblock.phys_free(at + used, at + layout.unit_bytes, caller=caller)
    _setup_first_chunk(memblock, image, layout, nr_cpus=len(cpu_node))
    memblock.phys_free(info, info + info_bytes, caller=caller)
    memblock.phys_free(areas, areas + areas_bytes, caller=caller)
    return tuple(at for at, _ in groups)


def _setup_first_chunk(
    memblock: Memblock, image: KernelImage, layout: UnitLayout, *, nr_cpus: int
) -> None:
    """Take the tables of groups, CPUs and slots, then the reserved and the dynamic part's."""
    nr_groups = len(layout.groups)
    # A chunk is in the slot of the magnitude of its free bytes; three slots are special.
    nr_slots = max(layout.unit_bytes.bit_length() - _SLOT_SHIFT + 2, 1) + 4
    sizes = (
        nr_groups * _LONG_BYTES,
        nr_groups * _LONG_BYTES,
        nr_cpus * _CPU_MAP_BYTES,
        nr_cpus * _LONG_BYTES,
        nr_slots * _LIST_HEAD_BYTES,
    )
    for nr_bytes in sizes:
        _take(memblock, nr_bytes, caller="pcpu_setup_first_chunk")
    static = image.percpu_static_bytes
    for start, map_bytes in (
        (static, image.percpu_reserved_bytes),
        (static + image.percpu_reserved_bytes, image.percpu_dynamic_bytes),
    ):
        region_bytes = _pages(start % PAGE_SIZE + map_bytes)
        nr_pages, nr_bits = region_bytes >> PAGE_SHIFT, region_bytes // _MIN_ALLOC_BYTES
        for nr_bytes in (
            image.percpu_chunk_bytes + _bitmap_bytes(nr_pages),
            _bitmap_bytes(nr_bits),
            _bitmap_bytes(nr_bits + 1),
            nr_pages * image.percpu_block_bytes,
        ):
            _take(memblock, nr_bytes, caller="pcpu_alloc_first_chunk")


def _take(
    memblock: Memblock,
    nr_bytes: int,
    *,
    caller: str,
    align: int = 64,
    start: int = 0,
    node: int | None = None,
) -> int:
    at = memblock.alloc(nr_bytes, align=align, start=start, node=node, caller=caller)
    if at is None:
        raise OutOfBootMemoryError("per-CPU areas", nr_bytes)
    return at


def _bitmap_bytes(nr_bits: int) -> int:
    return -(-nr_bits // _LONG_BITS) * _LONG_BYTES


def _pages(nr_bytes: int) -> int:
    return -(-nr_bytes // PAGE_SIZE) * PAGE_SIZE
