"""What a machine cannot mean by its kernel arguments, and what to try.

The kernel itself refuses nothing: it hands to init what it does not know. A machine here runs no
init, and has only the memory that it has.
"""

import difflib
from collections.abc import Iterator
from typing import Final

from mmactors.mm.boot.boot import MemoryConfig
from mmactors.mm.boot.booted import BootedMemory
from mmactors.mm.boot.cmdline import DEFAULT_COMMAND_LINE, MODELLED, parse_command_line
from mmactors.mm.boot.regions import RegionList
from mmactors.mm.page_alloc.gfp import ZONE_MOVABLE
from mmactors.units import format_bytes

COMMAND_LINE_SIZE: Final = 2048
_BY_OPTIONS: Final = {
    "hugepages": "a machine here has no hugetlbfs; leave it out",
    "numa": "say it with nr_nodes",
    "transparent_hugepage": "say it with the option transparent_hugepage",
}


def cmdline_problems(config: MemoryConfig) -> Iterator[tuple[str, str, str]]:
    """Yield what is wrong with the words, as found, legal and advice."""
    if config.cmdline is None:
        return
    most = COMMAND_LINE_SIZE - len(DEFAULT_COMMAND_LINE) - 2
    if len(config.cmdline) > most:
        yield (
            f"cmdline has {len(config.cmdline)} characters",
            f"expected at most {most}: the kernel keeps {COMMAND_LINE_SIZE} with its own",
            "leave some out",
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
    for word in arguments.refused:
        name = word.partition("=")[0]
        yield (
            f"cmdline has {word!r}",
            "expected a value the kernel understands: it would go on without it",
            _BY_OPTIONS.get(name, "sizes are numbers with K, M, G or T behind them: mem=512M"),
        )
    for name in ("hugepages", "transparent_hugepage"):
        words = [word for word in config.cmdline.split() if word.partition("=")[0] == name]
        if words and words[0] not in arguments.refused:
            yield (f"cmdline has {words[0]!r}", "expected it elsewhere", _BY_OPTIONS[name])


def booted_problems(config: MemoryConfig, booted: BootedMemory) -> Iterator[tuple[str, str, str]]:
    """Yield what the kernel believes by its arguments and is not so."""
    early = booted.early
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
