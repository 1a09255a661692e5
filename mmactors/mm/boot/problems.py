"""Why a configured machine does not boot, and what to try."""

from typing import Final

from attrs import evolve

from mmactors.errors import Place, Problem
from mmactors.mm.boot.boot import (
    MAX_NUMNODES,
    NODE_ALIGN_BYTES,
    SIZE_MAX,
    MemoryConfig,
    boot_zones,
    cpu_nodes_of,
)
from mmactors.mm.boot.cmdline_problems import booted_problems, cmdline_problems
from mmactors.mm.boot.memblock import OutOfBootMemoryError
from mmactors.mm.boot.regions import PHYS_ADDR_MAX
from mmactors.mm.page_alloc.watermark import DEFAULT_LOWMEM_RESERVE_RATIO
from mmactors.units import KIB, MIB, PAGE_SHIFT, PAGE_SIZE, format_bytes

_KERNEL_RUNS_BYTES: Final = 4 * MIB
"""With less free memory than this the allocator has nothing above its watermarks to give."""


def problems_of(config: MemoryConfig, nr_cpus: int, place: Place) -> list[Problem]:
    """Return everything that keeps this machine from booting; empty if it boots."""
    problems = [
        Problem(place=place, found=found, legal=legal, advice=advice)
        for found, legal, advice in (
            *_size_problems(config),
            *_node_problems(config, nr_cpus),
            *cmdline_problems(config),
        )
    ]
    if problems:
        return problems
    failure = _boot_failure(config, nr_cpus)
    if failure is None:
        booted = boot_zones(config, cpu_nodes_of(config, nr_cpus))
        return [
            Problem(place=place, found=found, legal=legal, advice=advice)
            for found, legal, advice in booted_problems(config, booted)
        ]
    smallest = _smallest_size(config, nr_cpus)
    return [
        Problem(
            place=place,
            found=f"size is {format_bytes(config.size)}: the kernel finds {failure}",
            legal="memory must hold the kernel, the initramfs and the kernel's tables"
            if smallest is None
            else f"this kernel boots with {format_bytes(smallest)} or more",
            advice=f"lower {_lowerable(config)}, or free some of reserved_ranges or cmdline"
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
    if config.size > SIZE_MAX:
        problems.append(
            (
                f"size is {format_bytes(config.size)}",
                f"expected at most {format_bytes(SIZE_MAX)}",
                "the links of page lists have 32 bits; choose a smaller machine",
            )
        )
    if config.size + config.hotplug > SIZE_MAX >= max(config.size, config.hotplug):
        problems.append(
            (
                f"size and hotplug are {format_bytes(config.size + config.hotplug)} together",
                f"expected at most {format_bytes(SIZE_MAX)}",
                f"lower hotplug to {format_bytes(SIZE_MAX - config.size)} or less",
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
    most = min(max(config.size // NODE_ALIGN_BYTES, 1), MAX_NUMNODES)
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
        spans = boot_zones(config, cpu_nodes_of(config, nr_cpus)).spans
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
