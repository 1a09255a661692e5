"""From a memory size to the zones the page allocator starts with (Linux 6.1, x86-64).

The firmware's map and the command line fill memblock, the booting kernel takes its share
(mm/boot/bootmem.py), what is left is cut into zones and handed over (mm/boot/zone_init.py).

Left out: CMA; of memory hotplug, memory that the firmware calls hotpluggable.
"""

from functools import lru_cache
from typing import Final

from attrs import frozen

from mmactors.mm.boot.bootmem import EarlyBoot, memmap_pages
from mmactors.mm.boot.cmdline import DEFAULT_COMMAND_LINE, parse_command_line
from mmactors.mm.boot.e820 import (
    MACHINES,
    E820Entry,
    e820_map,
    last_usable_below_4g,
    ram_below_4g,
)
from mmactors.mm.boot.firmware import Firmware, NodeRange, memory_affinity
from mmactors.mm.boot.kernel_image import (
    DEBIAN_6_1,
    INITRAMFS_BYTES,
    KERNEL_IMAGE_BYTES,
    KernelImage,
)
from mmactors.mm.boot.memblock import OutOfBootMemoryError
from mmactors.mm.boot.movable import PfnRange, find_zone_movable_pfns
from mmactors.mm.boot.zone_init import BootedMemory, ZoneSpan, zone_limits, zone_spans
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
from mmactors.mm.slab.boot_option import SlabArguments
from mmactors.option import option
from mmactors.units import GIB, KIB, MIB, PAGE_SHIFT, PAGE_SIZE, TIB

NODE_ALIGN_BYTES: Final = 8 * MIB
MAX_NUMNODES: Final = 1024
SIZE_MAX: Final = 4 * TIB
"""The links of page lists have 32 bits, and PFNs reach a little further than memory."""


@frozen(kw_only=True)
class MemoryConfig:
    """How much memory the machine has, on which nodes, and the settings made after boot."""

    size: int = option(
        1 * GIB, doc="RAM of the machine.", unit="bytes", minimum=16 * MIB, maximum=SIZE_MAX
    )
    nr_nodes: int = option(
        1,
        doc="NUMA nodes; memory is split evenly, in pieces of 8 MiB.",
        minimum=1,
        maximum=MAX_NUMNODES,
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
        maximum=SIZE_MAX,
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
    cmdline: str | None = option(
        None,
        doc="Kernel arguments about memory, behind those of every boot: mem=, memmap=, "
        "kernelcore=, movablecore=, crashkernel=, slub_debug= and others.",
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

    @property
    def cmdline_text(self) -> str:
        """The whole command line, as /proc/cmdline has it."""
        return f"{DEFAULT_COMMAND_LINE} {self.cmdline or ''}".rstrip()


def boot_memory(config: MemoryConfig, nr_cpus: int, slab: str = "slub") -> MemoryLayout:
    """Return the zones of a machine with `nr_cpus` CPUs after boot.

    `slab` is its allocator of objects.

    The configuration must have no problems (`problems_of`).
    """
    booted = boot_zones(config, cpu_nodes_of(config, nr_cpus))
    spans = booted.spans
    cpu_node = booted.early.possible_cpu_nodes[:nr_cpus]
    settings = ZoneSettings(
        min_free_kbytes=config.min_free_kbytes,
        watermark_scale_factor=config.watermark_scale_factor,
        lowmem_reserve_ratio=tuple(config.lowmem_reserve_ratio),
        percpu_pagelist_high_fraction=config.percpu_pagelist_high_fraction,
        is_transparent_hugepage=config.transparent_hugepage != "never",
    )
    limits = zone_limits(
        spans, nr_cpus=nr_cpus, cpus_of_node=booted.early.cpus_of_node(nr_cpus), settings=settings
    )
    layout = MemoryLayout(
        nr_frames=max(span.start_pfn + span.spanned for span in spans),
        zones=tuple(_layout_of(*pair) for pair in zip(spans, limits.zones, strict=True)),
        zonelists=build_zonelists(
            [(span.node, span.index) for span in spans],
            nr_nodes=booted.early.nr_nodes,
            cpu_node=(),
        ),
        cpu_node=cpu_node,
        possible_cpu_node=booted.early.possible_cpu_nodes,
        percpu_areas=booted.early.percpu_areas,
        settings=settings,
        min_free_kbytes=limits.min_free_kbytes,
        has_khugepaged=limits.has_khugepaged,
        boot_texts={
            "cmdline": lambda: f"{booted.early.arguments.text}\n",
            "iomem": lambda: _iomem(booted),
            "kmsg": lambda: _kmsg(booted, slab),
        },
    )
    return with_hotplug(layout, config.hotplug >> PAGE_SHIFT) if config.hotplug else layout


def _iomem(booted: BootedMemory) -> str:
    from mmactors.mm.boot.iomem import iomem  # noqa: PLC0415 - few runs are asked for it

    return iomem(booted)


def _kmsg(booted: BootedMemory, slab: str) -> str:
    from mmactors.mm.boot.boot_log import kmsg  # noqa: PLC0415 - few runs are asked for it

    return kmsg(booted, slab)


def cpu_nodes_of(config: MemoryConfig, nr_cpus: int) -> tuple[int, ...]:
    """Return each CPU's node: as configured, or consecutive CPUs node by node."""
    if config.cpu_nodes is not None:
        return config.cpu_nodes
    per_node = -(-nr_cpus // config.nr_nodes)
    return tuple(cpu // per_node for cpu in range(nr_cpus))


@lru_cache(maxsize=64)  # Who checks a configuration boots it, and who runs it boots it again.
def boot_zones(config: MemoryConfig, cpu_node: tuple[int, ...]) -> BootedMemory:
    """Boot up to the hand-over of memory.

    Raises OutOfBootMemoryError if the kernel's own tables do not fit.
    """
    image = DEBIAN_6_1.sized(config.kernel_image)
    firmware = firmware_of(config, cpu_node, image)
    return boot_kernel(
        firmware,
        config.cmdline_text,
        image=image,
        reserved=config.reserved_ranges,
    )


def slab_arguments_of(config: MemoryConfig, nr_cpus: int) -> tuple[SlabArguments, int]:
    """Return what the command line says of caches of objects, and how many CPUs may come.

    The configuration must have no problems (`problems_of`).
    """
    early = boot_zones(config, cpu_nodes_of(config, nr_cpus)).early
    return early.arguments.slab, early.nr_possible_cpus


def boot_kernel(
    firmware: Firmware,
    command_line: str,
    *,
    image: KernelImage = DEBIAN_6_1,
    reserved: tuple[tuple[int, int], ...] = (),
) -> BootedMemory:
    """Boot a kernel on what the firmware says; `reserved` bytes are never handed out.

    Raises OutOfBootMemoryError.
    """
    early = EarlyBoot(
        firmware=firmware,
        arguments=parse_command_line(command_line),
        image=image,
        reserved=reserved,
    )
    early.run_setup_arch()
    early.run_paging_init()
    movable = find_zone_movable_pfns(early.memblock, early.arguments)
    nr_kernel_pages = _nr_kernel_pages(
        zone_spans(early.memblock, movable=movable), early.dma_reserve_pages
    )
    early.run_start_kernel()
    early.run_mm_init(nr_kernel_pages=nr_kernel_pages)
    late = [
        *(
            (start >> PAGE_SHIFT, end >> PAGE_SHIFT)
            for start, end in (*early.memblock.discard(), early.initramfs)
        ),
        *(piece for piece in image.freed if piece[1] <= image.kernel_end >> PAGE_SHIFT),
    ]
    alternatives = image.smp_alternatives
    may_add_cpus = early.nr_online_cpus == 1 < early.nr_possible_cpus
    is_freed = alternatives[1] <= image.kernel_end >> PAGE_SHIFT and not may_add_cpus
    return BootedMemory(
        early=early,
        spans=zone_spans(
            early.memblock,
            movable=movable,
            is_deferred=not early.arguments.is_page_ext_early,
            freed_early=_unreserved([alternatives] if is_freed else [], reserved),
            freed_late=_unreserved(late, reserved),
        ),
        movable_pfns=movable,
        nr_kernel_pages=nr_kernel_pages,
    )


def firmware_of(config: MemoryConfig, cpu_node: tuple[int, ...], image: KernelImage) -> Firmware:
    """Return what the firmware and the boot loader of a machine leave for the kernel.

    Raises OutOfBootMemoryError if the kernel or its initramfs do not fit below 4 GiB.
    """
    entries = e820_map(config.size, machine=config.machine, firmware_tables=config.firmware_tables)
    affinity: tuple[NodeRange, ...] = ()
    if config.nr_nodes > 1:
        affinity = memory_affinity(
            _node_sizes(config), ram_below_4g=ram_below_4g(config.size, machine=config.machine)
        )
    return Firmware(
        entries=entries,
        cpu_node=cpu_node,
        memory_affinity=affinity,
        machine=config.machine,
        initramfs=place_initramfs(entries, config.initramfs, image),
    )


def place_initramfs(
    entries: tuple[E820Entry, ...], nr_bytes: int, image: KernelImage
) -> tuple[int, int]:
    """Return the bytes of the initramfs: the last pages of low memory, as boot loaders do."""
    low_end = last_usable_below_4g(entries)
    start = (low_end - nr_bytes) // PAGE_SIZE * PAGE_SIZE
    if low_end < image.kernel_end:
        raise OutOfBootMemoryError("the kernel image", image.kernel_end - image.text_start)
    if start < image.kernel_end:
        raise OutOfBootMemoryError("the initramfs", nr_bytes)
    return start, low_end


def _node_sizes(config: MemoryConfig) -> list[int]:
    """Return by node its RAM: even parts, the last takes the remainder."""
    share = config.size // config.nr_nodes // NODE_ALIGN_BYTES * NODE_ALIGN_BYTES
    return [share] * (config.nr_nodes - 1) + [config.size - share * (config.nr_nodes - 1)]


def _unreserved(ranges: list[PfnRange], reserved: tuple[tuple[int, int], ...]) -> list[PfnRange]:
    """Return `ranges` without those that a configured reservation touches: it keeps them."""
    return [
        (start, end)
        for start, end in ranges
        if not any(low < end << PAGE_SHIFT and start << PAGE_SHIFT < high for low, high in reserved)
    ]


def _nr_kernel_pages(spans: tuple[ZoneSpan, ...], dma_reserve_pages: int) -> int:
    """Return the kernel's early count of usable pages: present without memmap.

    What is taken of the first 16 MiB counts as lost, too (free_area_init_core).
    """
    pages = 0
    for span in spans:
        free = span.present
        lost = memmap_pages(spanned=span.spanned, present=span.present)
        if free >= lost:
            free -= lost
        if span.index == ZONE_DMA and free > dma_reserve_pages:
            free -= dma_reserve_pages
        pages += free
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
