"""From a memory size to the zones the page allocator starts with (Linux 6.1, x86-64).

The firmware's map fills memblock, the booting kernel takes its share (mm/boot/bootmem.py), what is
left is cut into zones and handed over (mm/boot/zone_init.py).

Left out: memory hotplug, movablecore and kernelcore, `mem=`, crashkernel, CMA.
"""

from functools import lru_cache
from typing import Final

from attrs import evolve, frozen

from mmactors.errors import Place, Problem
from mmactors.mm.boot.bootmem import (
    INITRAMFS_BYTES,
    KERNEL_FREED,
    KERNEL_IMAGE_BYTES,
    KERNEL_START,
    SMP_ALTERNATIVES,
    EarlyBoot,
    OutOfBootMemoryError,
    memmap_pages,
)
from mmactors.mm.boot.e820 import (
    ABOVE_4G_START,
    MACHINES,
    E820Entry,
    e820_map,
    last_usable_below_4g,
    ram_below_4g,
)
from mmactors.mm.boot.memblock import PHYS_ADDR_MAX
from mmactors.mm.boot.zone_init import (
    PfnRange,
    ZoneSpan,
    zone_limits,
    zone_spans,
)
from mmactors.mm.page_alloc.gfp import ZONE_DMA
from mmactors.mm.page_alloc.layout import (
    MemoryLayout,
    ZoneLayout,
    ZoneLimits,
    ZoneSettings,
    with_hotplug,
)
from mmactors.mm.page_alloc.watermark import (
    DEFAULT_LOWMEM_RESERVE_RATIO,
    DEFAULT_WATERMARK_SCALE_FACTOR,
    ZONE_NAMES,
)
from mmactors.mm.page_alloc.zonelist import build_zonelists
from mmactors.option import option
from mmactors.units import GIB, KIB, MIB, PAGE_SHIFT, PAGE_SIZE, TIB, format_bytes

_NODE_ALIGN_BYTES: Final = 8 * MIB
_MAX_NUMNODES: Final = 1024
_SIZE_MAX: Final = 4 * TIB
"""The links of page lists have 32 bits, and PFNs reach a little further than memory."""
_KERNEL_RUNS_BYTES: Final = 4 * MIB
"""With less free memory than this the allocator has nothing above its watermarks to give."""


@frozen(kw_only=True)
class MemoryConfig:
    """How much memory the machine has, on which nodes, and the settings made after boot."""

    size: int = option(
        1 * GIB, doc="RAM of the machine.", unit="bytes", minimum=16 * MIB, maximum=_SIZE_MAX
    )
    nr_nodes: int = option(
        1,
        doc="NUMA nodes; memory is split evenly, in pieces of 8 MiB.",
        minimum=1,
        maximum=_MAX_NUMNODES,
    )
    cpu_nodes: tuple[int, ...] | None = option(
        None, doc="By CPU: its node. Default: consecutive CPUs fill one node after the other."
    )
    hotplug: int = option(
        0,
        doc="RAM behind `size` that boot does not see; online_pages makes it zone Movable of the "
        "last node.",
        unit="bytes",
        minimum=0,
        maximum=_SIZE_MAX,
    )
    machine: str = option(
        "pc", doc="Where the PCI hole lies: at 3 GiB (pc) or 2 GiB (q35).", choices=MACHINES
    )
    firmware_tables: int = option(
        128 * KIB, doc="ACPI tables at the end of low memory.", unit="bytes", minimum=0
    )
    kernel_image: int = option(
        KERNEL_IMAGE_BYTES, doc="Kernel image from 16 MiB on, with bss.", unit="bytes", minimum=0
    )
    initramfs: int = option(
        INITRAMFS_BYTES,
        doc="Initramfs at the end of low memory, given back at the end of boot.",
        unit="bytes",
        minimum=0,
    )
    reserved_ranges: tuple[tuple[int, int], ...] = option(
        (), doc="Physical ranges [start, end), in bytes, that are never handed out."
    )
    min_free_kbytes: int | None = option(
        None, doc="vm.min_free_kbytes, in KiB. Default: what boot computes.", minimum=0
    )
    watermark_scale_factor: int = option(
        DEFAULT_WATERMARK_SCALE_FACTOR,
        doc="Distance between watermarks in 1/10000 of the zone.",
        minimum=1,
        maximum=3000,
    )
    lowmem_reserve_ratio: tuple[int, ...] = option(
        DEFAULT_LOWMEM_RESERVE_RATIO,
        doc="By zone: it keeps 1/ratio of the zones above from requests that could use those.",
    )
    percpu_pagelist_high_fraction: int = option(
        0,
        doc="Per-CPU lists hold 1/fraction of a zone, 8 or more; 0: its low watermark.",
        minimum=0,
    )
    transparent_hugepage: str = option(
        "always",
        doc="Unless never, khugepaged raises min_free_kbytes on machines of 512 MiB or more.",
        choices=("always", "madvise", "never"),
    )


def boot_memory(config: MemoryConfig, nr_cpus: int) -> MemoryLayout:
    """Return the zones of a machine with `nr_cpus` CPUs after boot.

    The configuration must have no problems (`problems_of`).
    """
    cpu_node = cpu_nodes_of(config, nr_cpus)
    spans = boot_zones(config, cpu_node)
    settings = ZoneSettings(
        min_free_kbytes=config.min_free_kbytes,
        watermark_scale_factor=config.watermark_scale_factor,
        lowmem_reserve_ratio=tuple(config.lowmem_reserve_ratio),
        percpu_pagelist_high_fraction=config.percpu_pagelist_high_fraction,
        is_transparent_hugepage=config.transparent_hugepage != "never",
    )
    limits = zone_limits(spans, cpu_node=cpu_node, settings=settings)
    layout = MemoryLayout(
        nr_frames=max(span.start_pfn + span.spanned for span in spans),
        zones=tuple(_layout_of(*pair) for pair in zip(spans, limits.zones, strict=True)),
        zonelists=build_zonelists(
            [(span.node, span.index) for span in spans],
            nr_nodes=config.nr_nodes,
            cpu_node=cpu_node,
        ),
        cpu_node=cpu_node,
        settings=settings,
        min_free_kbytes=limits.min_free_kbytes,
        has_khugepaged=limits.has_khugepaged,
    )
    return with_hotplug(layout, config.hotplug >> PAGE_SHIFT) if config.hotplug else layout


def cpu_nodes_of(config: MemoryConfig, nr_cpus: int) -> tuple[int, ...]:
    """Return each CPU's node: as configured, or consecutive CPUs node by node."""
    if config.cpu_nodes is not None:
        return config.cpu_nodes
    per_node = -(-nr_cpus // config.nr_nodes)
    return tuple(cpu // per_node for cpu in range(nr_cpus))


def problems_of(config: MemoryConfig, nr_cpus: int, place: Place) -> list[Problem]:
    """Return everything that keeps this machine from booting; empty if it boots."""
    problems = [
        Problem(place=place, found=found, legal=legal, advice=advice)
        for found, legal, advice in (*_size_problems(config), *_node_problems(config, nr_cpus))
    ]
    if problems:
        return problems
    failure = _boot_failure(config, nr_cpus)
    if failure is None:
        return []
    smallest = _smallest_size(config, nr_cpus)
    return [
        Problem(
            place=place,
            found=f"size is {format_bytes(config.size)}: the kernel finds {failure}",
            legal="memory must hold the kernel, the initramfs and the kernel's tables"
            if smallest is None
            else f"this kernel boots with {format_bytes(smallest)} or more",
            advice=f"lower {_lowerable(config)}, or free some of reserved_ranges"
            if smallest is None
            else f"set size to {format_bytes(smallest)}, or lower {_lowerable(config)}",
        )
    ]


def _size_problems(config: MemoryConfig) -> list[tuple[str, str, str]]:
    problems = []
    for name in ("size", "firmware_tables"):
        value = getattr(config, name)
        if value % PAGE_SIZE:
            nearest = -(-value // PAGE_SIZE) * PAGE_SIZE
            problems.append(
                (
                    f"{name} is {value}",
                    f"expected a multiple of the page size, {PAGE_SIZE}",
                    f"did you mean {format_bytes(nearest)}?",
                )
            )
    if config.size > _SIZE_MAX:
        problems.append(
            (
                f"size is {format_bytes(config.size)}",
                f"expected at most {format_bytes(_SIZE_MAX)}",
                "the links of page lists have 32 bits; choose a smaller machine",
            )
        )
    if config.size + config.hotplug > _SIZE_MAX >= max(config.size, config.hotplug):
        problems.append(
            (
                f"size and hotplug are {format_bytes(config.size + config.hotplug)} together",
                f"expected at most {format_bytes(_SIZE_MAX)}",
                f"lower hotplug to {format_bytes(_SIZE_MAX - config.size)} or less",
            )
        )
    for index, (start, end) in enumerate(config.reserved_ranges):
        if start >= 1 << 64 or end - start >= 1 << 64:
            problems.append(
                (
                    f"reserved_ranges[{index}] is [{start:#x}, {end:#x}]",
                    "expected a start and a length below 2^64",
                    f"physical addresses have 64 bits: end it at {PHYS_ADDR_MAX:#x} or before",
                )
            )
        elif not 0 <= start < end:
            problems.append(
                (
                    f"reserved_ranges[{index}] is [{start}, {end}]",
                    "expected 0 <= start < end, in bytes",
                    "give first the start, then the end",
                )
            )
    if 0 < config.percpu_pagelist_high_fraction < 8:
        problems.append(
            (
                f"percpu_pagelist_high_fraction is {config.percpu_pagelist_high_fraction}",
                "expected 0 or at least 8",
                "0 lets the low watermark decide",
            )
        )
    ratios = config.lowmem_reserve_ratio
    if len(ratios) != len(DEFAULT_LOWMEM_RESERVE_RATIO) or min(ratios) < 0:
        problems.append(
            (
                f"lowmem_reserve_ratio is {list(ratios)}",
                "expected four numbers of at least 0: for DMA, DMA32, Normal, Movable",
                f"the default is {list(DEFAULT_LOWMEM_RESERVE_RATIO)}",
            )
        )
    return problems


def _node_problems(config: MemoryConfig, nr_cpus: int) -> list[tuple[str, str, str]]:
    problems = []
    most = min(max(config.size // _NODE_ALIGN_BYTES, 1), _MAX_NUMNODES)
    if not 1 <= config.nr_nodes <= most:
        problems.append(
            (
                f"nr_nodes is {config.nr_nodes}",
                f"expected 1 to {most}: a node has 8M or more of {format_bytes(config.size)}",
                "use fewer nodes or more memory",
            )
        )
    cpu_nodes = config.cpu_nodes
    if cpu_nodes is None:
        return problems
    if len(cpu_nodes) != nr_cpus:
        problems.append(
            (
                f"cpu_nodes names {len(cpu_nodes)} CPUs",
                f"expected one node for each of the {nr_cpus} CPUs",
                "leave it out to spread the CPUs over the nodes",
            )
        )
    wrong = sorted({node for node in cpu_nodes if not 0 <= node < config.nr_nodes})
    if wrong:
        problems.append(
            (
                f"cpu_nodes names node {wrong[0]}",
                f"expected 0 to {config.nr_nodes - 1}",
                f"raise nr_nodes to {max(wrong) + 1}" if wrong[0] >= 0 else "nodes count from 0",
            )
        )
    return problems


def _boot_failure(config: MemoryConfig, nr_cpus: int) -> str | None:
    """Return why this machine does not boot, or None."""
    try:
        spans = boot_zones(config, cpu_nodes_of(config, nr_cpus))
    except OutOfBootMemoryError as error:
        return str(error)
    free = sum(span.managed_at_init for span in spans) << PAGE_SHIFT
    if free < _KERNEL_RUNS_BYTES:
        return f"only {format_bytes(free)} left after its own tables"
    above = free - (config.min_free_kbytes or 0) * KIB
    if above < _KERNEL_RUNS_BYTES:
        return f"only {format_bytes(max(above, 0))} above min_free_kbytes"
    return None


def _lowerable(config: MemoryConfig) -> str:
    """Return the options of which less lets a machine boot."""
    return (
        "kernel_image or initramfs"
        if config.min_free_kbytes is None
        else "min_free_kbytes, kernel_image or initramfs"
    )


def _smallest_size(config: MemoryConfig, nr_cpus: int) -> int | None:
    """Return the least number of whole MiB that boots, or None if four times as much does not."""
    low, high = config.size // MIB, max(config.size * 4 // MIB, 1024)
    if _boot_failure(evolve(config, size=high * MIB), nr_cpus) is not None:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        if _boot_failure(evolve(config, size=middle * MIB), nr_cpus) is None:
            high = middle
        else:
            low = middle
    return high * MIB


@lru_cache(maxsize=64)  # Who checks a configuration boots it, and who runs it boots it again.
def boot_zones(config: MemoryConfig, cpu_node: tuple[int, ...]) -> tuple[ZoneSpan, ...]:
    """Boot up to the hand-over of memory and return the zones.

    Raises OutOfBootMemoryError if the kernel's own tables do not fit.
    """
    entries = e820_map(config.size, machine=config.machine, firmware_tables=config.firmware_tables)
    kernel_end = KERNEL_START + config.kernel_image
    initramfs = _initramfs_range(config, entries, kernel_end)
    boot = EarlyBoot(entries=entries, cpu_node=cpu_node, nr_nodes=config.nr_nodes)
    boot.setup_arch(
        kernel_image=config.kernel_image, initramfs=initramfs, reserved=config.reserved_ranges
    )
    boot.init_nodes(_node_ranges(config, entries))
    boot.sparse_init()
    boot.setup_resources()
    boot.setup_per_cpu_areas()
    boot.setup_log_buf()
    before = zone_spans(boot.memblock)
    boot.mm_init(nr_kernel_pages=_nr_kernel_pages(before))
    kernel_end_pfn = kernel_end >> PAGE_SHIFT
    late = [
        (initramfs[0] >> PAGE_SHIFT, initramfs[1] >> PAGE_SHIFT),
        *(piece for piece in KERNEL_FREED if piece[1] <= kernel_end_pfn),
    ]
    early = [SMP_ALTERNATIVES] if SMP_ALTERNATIVES[1] <= kernel_end_pfn else []
    return zone_spans(
        boot.memblock,
        freed_early=_unreserved(early, config),
        freed_late=_unreserved(late, config),
    )


def _initramfs_range(
    config: MemoryConfig, entries: tuple[E820Entry, ...], kernel_end: int
) -> tuple[int, int]:
    """Return the bytes of the initramfs: the last pages of low memory, as boot loaders do."""
    low_end = last_usable_below_4g(entries)
    start = (low_end - config.initramfs) // PAGE_SIZE * PAGE_SIZE
    if low_end < kernel_end:
        raise OutOfBootMemoryError("the kernel image", config.kernel_image)
    if start < kernel_end:
        raise OutOfBootMemoryError("the initramfs", config.initramfs)
    return start, low_end


def _unreserved(ranges: list[PfnRange], config: MemoryConfig) -> list[PfnRange]:
    """Return `ranges` without those that a configured reservation touches: it keeps them."""
    return [
        (start, end)
        for start, end in ranges
        if not any(
            low < end << PAGE_SHIFT and start << PAGE_SHIFT < high
            for low, high in config.reserved_ranges
        )
    ]


def _node_ranges(
    config: MemoryConfig, entries: tuple[E820Entry, ...]
) -> tuple[tuple[tuple[int, int], ...], ...]:
    """Return by node its physical ranges: even parts of RAM, the last takes the remainder."""
    low = ram_below_4g(config.size, machine=config.machine)
    last_usable = max(entry.start for entry in entries if entry.usable)
    shift = last_usable - low if last_usable >= ABOVE_4G_START else 0
    share = config.size // config.nr_nodes // _NODE_ALIGN_BYTES * _NODE_ALIGN_BYTES
    ranges = []
    for node in range(config.nr_nodes):
        start = node * share
        end = config.size if node == config.nr_nodes - 1 else start + share
        parts = [(start, min(end, low)), (max(start, low) + shift, end + shift)]
        ranges.append(tuple(part for part in parts if part[0] < part[1]))
    return tuple(ranges)


def _nr_kernel_pages(spans: tuple[ZoneSpan, ...]) -> int:
    """Return the kernel's early count of usable pages: present without memmap.

    What is taken of the first 16 MiB counts as lost, too (free_area_init_core).
    """
    pages = 0
    for span in spans:
        pages += span.present - memmap_pages(spanned=span.spanned, present=span.present)
        if span.index == ZONE_DMA:
            pages -= span.present - span.managed
    return pages


def _layout_of(span: ZoneSpan, limits: ZoneLimits) -> ZoneLayout:
    return ZoneLayout(
        node=span.node,
        index=span.index,
        name=ZONE_NAMES[span.index],
        start_pfn=span.start_pfn,
        spanned_pages=span.spanned,
        present_pages=span.present,
        managed_pages=span.managed,
        watermark_min_pages=limits.watermarks.min,
        watermark_low_pages=limits.watermarks.low,
        watermark_high_pages=limits.watermarks.high,
        watermark_promo_pages=limits.watermarks.promo,
        lowmem_reserve_pages=limits.lowmem_reserve,
        stat_threshold=limits.stat_threshold,
        percpu_drift_mark_pages=limits.percpu_drift_mark,
        pcp_high=limits.pcp_high,
        pcp_batch=limits.pcp_batch,
        free_ranges=span.free_ranges,
    )
