"""Why a configured machine does not boot, and what to try.

Of kernel arguments the kernel itself refuses nothing: it hands to init what it does not know. A
machine here runs no init, and has only the memory that it has.
"""

import difflib
from collections.abc import Iterator
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
from mmactors.mm.boot.cmdline import DEFAULT_COMMAND_LINE, MODELLED, parse_command_line
from mmactors.mm.boot.memblock import OutOfBootMemoryError
from mmactors.mm.boot.regions import PHYS_ADDR_MAX, RegionList
from mmactors.mm.boot.zone_init import BootedMemory
from mmactors.mm.page_alloc.gfp import ZONE_MOVABLE
from mmactors.mm.page_alloc.order import MAX_ORDER
from mmactors.mm.page_alloc.watermark import DEFAULT_LOWMEM_RESERVE_RATIO
from mmactors.mm.slab.boot_option import foreign_words, why_no_caches
from mmactors.units import KIB, MIB, PAGE_SHIFT, PAGE_SIZE, format_bytes

_KERNEL_RUNS_BYTES: Final = 4 * MIB
"""With less free memory than this the allocator has nothing above its watermarks to give."""
_COMMAND_LINE_SIZE: Final = 2048
_SHOWN_CHARS: Final = 60
_BY_OPTIONS: Final = {
    "hugepages": "a machine here has no hugetlbfs; leave it out",
    "numa": "say it with nr_nodes",
    "transparent_hugepage": "say it with the option transparent_hugepage",
    "maxcpus": "say it with cpus",
    "nosmp": "say it with cpus",
    **dict.fromkeys(
        (
            "hugepagesz",
            "default_hugepagesz",
            "percpu_alloc",
            "initrdmem",
            "iommu",
        ),
        "it would move memory in a way that is not modelled; leave it out",
    ),
}
_ELSEWHERE: Final = frozenset(_BY_OPTIONS) - {"numa"}


def problems_of(
    config: MemoryConfig, nr_cpus: int, place: Place, slab: str = "slub"
) -> list[Problem]:
    """Return everything that keeps this machine from booting; empty if it boots.

    `slab` is its allocator of objects.
    """
    problems = [
        Problem(place=place, found=found, legal=legal, advice=advice)
        for found, legal, advice in (
            *_size_problems(config),
            *_node_problems(config, nr_cpus),
            *_cmdline_problems(config, slab),
        )
    ]
    if problems:
        return problems
    failure = _boot_failure(config, nr_cpus)
    if failure is None:
        booted = boot_zones(config, cpu_nodes_of(config, nr_cpus))
        return [
            Problem(place=place, found=found, legal=legal, advice=advice)
            for found, legal, advice in _booted_problems(config, booted, slab)
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


def _cmdline_problems(config: MemoryConfig, slab: str) -> Iterator[tuple[str, str, str]]:
    """Yield what is wrong with the words, as found, legal and advice."""
    if config.cmdline is None:
        return
    most = _COMMAND_LINE_SIZE - len(DEFAULT_COMMAND_LINE) - 2
    if len(config.cmdline) > most:
        yield (
            f"cmdline has {len(config.cmdline)} characters",
            f"expected at most {most}: the kernel keeps {_COMMAND_LINE_SIZE} with its own",
            "leave some out",
        )
        return
    if not (config.cmdline.isascii() and config.cmdline.isprintable()):
        yield (
            f"cmdline is {config.cmdline[:_SHOWN_CHARS]!a}",
            "expected printable ASCII characters",
            "write words with spaces between them",
        )
        return
    arguments = parse_command_line(config.cmdline)
    for word in arguments.unknown:
        name = word.partition("=")[0]
        near = difflib.get_close_matches(name, MODELLED, 1)
        yield (
            f"cmdline has {word!r}, which this kernel does not know",
            f"expected parameters about memory: {', '.join(MODELLED)}",
            f"did you mean {near[0]}?" if near else "leave it out: nothing here would read it",
        )
    for word, knows in foreign_words(arguments.slab, slab):
        yield (
            f"cmdline has {word!r}, which a kernel with {slab.upper()} does not know",
            "expected parameters of its own allocator: others go to init, which nothing here runs",
            f"leave it out, or say `kernel: {{slab: {knows}}}`",
        )
    for word in arguments.refused:
        name = word.partition("=")[0]
        yield (
            f"cmdline has {word!r}",
            "expected a value the kernel understands: it would go on without it",
            _BY_OPTIONS.get(name, "sizes are numbers with K, M, G or T behind them: mem=512M"),
        )
    for word in config.cmdline.split():
        name = word.partition("=")[0]
        is_fake = word.startswith("numa=fake=")
        if word not in arguments.refused and (is_fake or name in _ELSEWHERE):
            yield (f"cmdline has {word!r}", "expected it elsewhere", _BY_OPTIONS[name])


def _booted_problems(
    config: MemoryConfig, booted: BootedMemory, slab: str
) -> Iterator[tuple[str, str, str]]:
    """Yield what the kernel believes by its arguments and is not so."""
    early = booted.early
    slub = early.arguments.slab.slub_config(nr_cpus=1, nr_cpu_ids=1)
    panic = why_no_caches(slub, early.nr_nodes) if slab == "slub" else None
    if panic is not None:
        yield (
            f"cmdline makes the kernel panic: {panic}",
            f"expected slub_min_order= from 0 to {MAX_ORDER - 1}",
            "lower it, or leave it out",
        )
        return
    ram = RegionList()
    ends = {entry.end for entry in early.firmware.entries if entry.usable}
    for entry in early.firmware.entries:
        if entry.usable or entry.start in ends:  # the firmware keeps the end of RAM
            ram.add(entry.start, entry.end)
    for entry in early.e820.entries:
        gaps = ram.gaps(entry.start, entry.end) if entry.usable else []
        if gaps:
            start, end = gaps[0]
            yield (
                f"cmdline says that there is memory at {start:#x} to {end - 1:#x}",
                f"expected memory that the machine has: {format_bytes(config.size)}",
                "raise size, or give memmap= less",
            )
            return
    nr_cpus = len(early.firmware.cpu_node)
    if early.nr_possible_cpus < nr_cpus:
        yield (
            f"cmdline says that {early.nr_possible_cpus} CPUs are possible",
            f"expected the {nr_cpus} that the machine has, or more",
            "leave possible_cpus= out, or lower cpus",
        )
        return
    for node in range(early.nr_nodes):
        if node not in early.node_data:
            yield (
                f"cmdline leaves node {node} without memory",
                f"expected memory on each of {config.nr_nodes} nodes",
                "raise mem=, or use fewer nodes",
            )
            return
    last = max(span.node for span in booted.spans)
    if config.hotplug and any(
        span.node == last and span.index == ZONE_MOVABLE for span in booted.spans
    ):
        yield (
            "hotplug and a zone Movable of boot are on one node",
            "expected one of them: hotplug makes a zone Movable of its own",
            "leave out kernelcore= and movablecore=, or hotplug",
        )
