"""What counters there are: name, unit, source, whose it is, and whether CPUs add up to the machine.

The order within a group is the order in which `read.py` reads it.
"""

import inspect
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from functools import cache
from typing import Any, Final, Literal

from attrs import fields, frozen, has

from mmactors.engine.chance import FAULTS
from mmactors.hw.statistics import HardwareStatistics
from mmactors.mm.vmstat import (
    NODE_STAT_NAMES,
    NUMA_EVENT_NAMES,
    PRINTED_IN_THP,
    VM_EVENT_NAMES,
    ZONE_STAT_NAMES,
)
from mmactors.observe.counters.heap import HEAP_COUNTERS
from mmactors.observe.counters.meanings import VMSTAT_MEANINGS

NOT_COUNTED: Final = "Stays 0: not counted here."
Scope = Literal["machine", "cpu", "process"]
"""Whose number it is; `cpu[1].NAME` and `process[a].NAME` are the last two."""

_EVERYWHERE: Final[tuple[Scope, ...]] = ("machine", "cpu")
_MACHINE: Final[tuple[Scope, ...]] = ("machine",)
_PROCESS: Final[tuple[Scope, ...]] = ("process",)


@frozen(kw_only=True)
class Counter:
    """One counter."""

    name: str
    unit: str
    meaning: str = ""
    scopes: tuple[Scope, ...] = _EVERYWHERE
    is_additive: bool = True
    """The values of all CPUs add up to the machine's."""


@frozen(kw_only=True)
class CounterGroup:
    """Counters of one source, in the order in which they are read."""

    title: str
    source: str
    """Where Linux has them, or who counts them."""
    notes: str
    counters: tuple[Counter, ...]


_UNITS: Final[Sequence[tuple[str, str]]] = (
    ("pgpgin", "KiB"),
    ("pgpgout", "KiB"),
    ("nr_kernel_stack", "KiB"),
    ("nr_*hugepages", "huge pages"),
    ("nr_*_pmdmapped", "huge pages"),
    ("workingset_node*", "tree nodes"),
    ("nr_*", "pages"),
    ("workingset_*", "pages"),
    ("numa_hint_*", "events"),
    ("numa_*_updates", "events"),
    ("numa_pages_migrated", "pages"),
    ("numa_*", "allocations"),
    ("pgalloc_*", "pages"),
    ("pgfree", "pages"),
    ("pswp*", "pages"),
    ("pgskip_*", "pages"),
    ("pgactivate", "pages"),
    ("pgdeactivate", "pages"),
    ("pglazyfree*", "pages"),
    ("pgrefill", "pages"),
    ("pgsteal_*", "pages"),
    ("pgdemote_*", "pages"),
    ("pgscan_direct_throttle", "events"),
    ("pgscan_*", "pages"),
    ("*inodesteal", "pages"),
    ("slabs_scanned", "objects"),
    ("pgrotated", "pages"),
    ("pgmigrate_*", "pages"),
    ("pgpromote_*", "pages"),
    ("compact_*scanned", "pages"),
    ("compact_isolated", "pages"),
    ("unevictable_pgs_*", "pages"),
    ("balloon_migrate", "events"),
    ("balloon_*", "pages"),
    ("swap_ra*", "pages"),
)
"""Of /proc/vmstat: the first that fits; what fits none counts events."""


def _unit(name: str) -> str:
    return next((unit for glob, unit in _UNITS if fnmatchcase(name, glob)), "events")


def _named(names: Iterable[str], *, is_additive: bool = True) -> tuple[Counter, ...]:
    return tuple(_vmstat(name, is_additive=is_additive) for name in names)


def _vmstat(
    name: str, *, is_additive: bool = False, scopes: tuple[Scope, ...] = _EVERYWHERE
) -> Counter:
    return Counter(
        name=name,
        unit=_unit(name),
        meaning=VMSTAT_MEANINGS.get(name, NOT_COUNTED),
        scopes=scopes,
        is_additive=is_additive,
    )


def _node_items() -> tuple[Counter, ...]:
    return tuple(
        _vmstat(name, scopes=_MACHINE if item in PRINTED_IN_THP else _EVERYWHERE)
        for item, name in enumerate(NODE_STAT_NAMES)
    )


_HARDWARE_UNITS: Final = {
    "references": "accesses",
    "l1_misses": "misses",
    "l2_misses": "misses",
    "llc_misses": "lines",
    "lookups": "lookups",
    "misses": "misses",
    "walks": "walks",
    "modifies": "accesses",
    "dirty_walks": "walks",
    "forwards": "lines",
    "back_invalidations": "lines",
    "memory_reads": "lines",
    "memory_writes": "lines",
    "ns": "ns",
}


def _hardware() -> tuple[Counter, ...]:
    counters = []
    docs = _attribute_docs(HardwareStatistics)
    for whole in fields(HardwareStatistics):
        if whole.type is not None and has(whole.type):
            part_docs = _attribute_docs(whole.type)
            counters += [
                Counter(
                    name=f"{whole.name}.{part.name}",
                    unit=_HARDWARE_UNITS[part.name],
                    meaning=part_docs.get(part.name, ""),
                )
                for part in fields(whole.type)
            ]
        else:
            unit = _HARDWARE_UNITS.get(whole.name, "events")
            meaning = docs.get(whole.name, "")
            counters.append(Counter(name=whole.name, unit=unit, meaning=meaning))
    return tuple(counters)


def _attribute_docs(documented: type[Any]) -> dict[str, str]:
    """Return the texts that stand below the fields of a class in its source."""
    docs: dict[str, str] = {}
    known = {attribute.name for attribute in fields(documented)}
    field = None
    for line in inspect.getsource(documented).splitlines():
        text = line.strip()
        if text.startswith('"""') and field is not None:
            docs[field] = text.strip('"')
        name = text.partition(":")[0]
        field = name if name in known else None
    return docs


VMSTAT_GROUPS: Final = (
    CounterGroup(
        title="Zone items",
        source="`enum zone_stat_item`, include/linux/mmzone.h; /proc/vmstat",
        notes="The machine's number lags: a CPU keeps what it has changed until that exceeds its "
        "stat_threshold. The CPU's number is what it has not folded yet; the exact number is that "
        "of the machine plus those of all CPUs. A number below 0 is shown as 0.",
        counters=_named(ZONE_STAT_NAMES, is_additive=False),
    ),
    CounterGroup(
        title="NUMA events",
        source="`enum numa_stat_item`, include/linux/mmzone.h; /proc/vmstat",
        notes="By the node they came from.",
        counters=_named(NUMA_EVENT_NAMES),
    ),
    CounterGroup(
        title="Node items",
        source="`enum node_stat_item`, include/linux/mmzone.h; /proc/vmstat",
        notes="As zone items: the CPU's number is what it has not folded yet.",
        counters=_node_items(),
    ),
    CounterGroup(
        title="Thresholds",
        source="mm/page-writeback.c; /proc/vmstat",
        notes="Lines of /proc/vmstat that count nothing.",
        counters=tuple(
            _vmstat(name, scopes=_MACHINE)
            for name in ("nr_dirty_threshold", "nr_dirty_background_threshold")
        ),
    ),
    CounterGroup(
        title="Events",
        source="`enum vm_event_item`, include/linux/vm_event_item.h; /proc/vmstat",
        notes="Each CPU counts for itself.",
        counters=_named(VM_EVENT_NAMES),
    ),
    CounterGroup(
        title="Lines without a counter",
        source="vmstat_text, mm/vmstat.c; /proc/vmstat",
        notes="Kept by Linux for old readers.",
        counters=(_vmstat("nr_unstable", scopes=_MACHINE),),
    ),
)
"""In the order of /proc/vmstat."""

HARDWARE: Final = CounterGroup(
    title="Hardware",
    source="the simulated TLBs, page walks and caches; names as in valgrind's and perf's reports",
    notes="`fetch`, `read`, `write` are accesses of programs, `walk` those of the page walker, "
    "`kernel` those of kernel paths; `*_tlb` are lookups of translations.",
    counters=_hardware(),
)
CPUS: Final = CounterGroup(
    title="CPUs",
    source="kernel/sched/cputime.c, kernel/sched/core.c, arch/x86/kernel/irq.c; /proc/stat, "
    "/proc/interrupts",
    notes="The five times of a CPU add up to what has passed on it.",
    counters=(
        Counter(name="user_ns", unit="ns", meaning="Threads in user mode."),
        Counter(
            name="system_ns",
            unit="ns",
            meaning="Threads in the kernel: calls, faults, switches to them.",
        ),
        Counter(name="idle_ns", unit="ns", meaning="No thread could run."),
        Counter(
            name="iowait_ns",
            unit="ns",
            meaning="Idle while a thread waited for the contents of a page, as far as an "
            "interrupt ended it.",
        ),
        Counter(name="irq_ns", unit="ns", meaning="Handlers of interrupts."),
        Counter(
            name="context_switches",
            unit="switches",
            meaning="`ctxt`: from thread to thread, to idle, from idle.",
        ),
        Counter(name="interrupts", unit="interrupts", meaning="`intr`: taken, of all vectors."),
        Counter(
            name="tlb_shootdowns",
            unit="interrupts",
            meaning="`TLB` of /proc/interrupts: flushes for another CPU.",
        ),
        Counter(name="procs_running", unit="threads", meaning="That run or could run now."),
        Counter(
            name="procs_blocked",
            unit="threads",
            meaning="That sleep until a page has its contents (io_schedule).",
        ),
    ),
)
MACHINE: Final = CounterGroup(
    title="Machine",
    source="the memory channels; kernel/fork.c, kernel/signal.c",
    notes="",
    counters=(
        Counter(
            name="memory_lines",
            unit="lines",
            meaning="Moved by the memory channels.",
            scopes=_MACHINE,
            is_additive=False,
        ),
        Counter(
            name="memory_queued_ns",
            unit="ns",
            meaning="By how much batches ended later because the channels were busy.",
            scopes=_MACHINE,
            is_additive=False,
        ),
        Counter(
            name="forks",
            unit="threads",
            meaning="`processes` of /proc/stat: all that were ever made (total_forks).",
            scopes=_MACHINE,
            is_additive=False,
        ),
        Counter(
            name="processes_killed",
            unit="processes",
            meaning="By a fatal signal.",
            scopes=_MACHINE,
            is_additive=False,
        ),
        *(
            Counter(
                name=f"injected_{fault}",
                unit="faults",
                meaning="How often the scenario's `faults` did that.",
                scopes=_MACHINE,
                is_additive=False,
            )
            for fault in FAULTS
        ),
    ),
)


def _of_process(name: str, unit: str, meaning: str) -> Counter:
    return Counter(name=name, unit=unit, meaning=meaning, scopes=_PROCESS, is_additive=False)


PROCESSES: Final = CounterGroup(
    title="Processes",
    source="`struct signal_struct`, include/linux/sched/signal.h; `struct mm_struct`, "
    "include/linux/mm_types.h; /proc/PID/stat, /proc/PID/status",
    notes="Of all its threads together. Names that begin with `c` are what children had that were "
    "waited for, and theirs (wait4). Sizes are 0 before a process begins and when it has given its "
    "address space back.",
    counters=(
        _of_process("min_flt", "faults", "Without waiting for a disk."),
        _of_process("maj_flt", "faults", "With waiting for a disk."),
        _of_process("cmin_flt", "faults", ""),
        _of_process("cmaj_flt", "faults", ""),
        _of_process("utime_ns", "ns", "In user mode."),
        _of_process("stime_ns", "ns", "In the kernel, interrupts left out."),
        _of_process("cutime_ns", "ns", ""),
        _of_process("cstime_ns", "ns", ""),
        _of_process("nvcsw", "switches", "Voluntary: a thread slept or ended."),
        _of_process("nivcsw", "switches", "A slice was used up, or a thread moved."),
        _of_process("cnvcsw", "switches", ""),
        _of_process("cnivcsw", "switches", ""),
        _of_process("nr_threads", "threads", "Alive."),
        _of_process("anon_rss", "pages", "MM_ANONPAGES, as far as threads have told of it."),
        _of_process("file_rss", "pages", "MM_FILEPAGES."),
        _of_process("shmem_rss", "pages", "MM_SHMEMPAGES."),
        _of_process("swap_entries", "pages", "MM_SWAPENTS."),
        _of_process("anon_pages", "pages", "As `anon_rss`, with what threads have not told yet."),
        _of_process("total_vm", "pages", "Mapped."),
        _of_process("locked_vm", "pages", "In areas with VM_LOCKED."),
        _of_process("pgtables_bytes", "bytes", "Page tables."),
        _of_process("hiwater_vm", "pages", "Peak of `total_vm`."),
        _of_process("maxrss", "pages", "Peak of all resident pages (hiwater_rss); it stays."),
    ),
)

HEAPS: Final = CounterGroup(
    title="Heaps",
    source="the C library's allocator: `struct mallinfo2` of malloc.h, and what was asked of it",
    notes="Of processes whose program calls it, else 0; they stay when a process has ended. "
    "Fragmentation inside is `malloc_usable_bytes` less `malloc_live_bytes`, outside "
    "`malloc_system_bytes` less `malloc_usable_bytes`. Blocks that the library or pthread_create "
    "has for itself are not live, but are from the kernel, too.",
    counters=tuple(_of_process(*each) for each in HEAP_COUNTERS),
)

GROUPS: Final = (*VMSTAT_GROUPS, HARDWARE, CPUS, MACHINE, PROCESSES, HEAPS)


@cache
def counters_of(scope: Scope) -> dict[str, Counter]:
    """Return the counters that a machine, a CPU or a process has, by name, as they are read."""
    return {
        counter.name: counter
        for group in GROUPS
        for counter in group.counters
        if scope in counter.scopes
    }
