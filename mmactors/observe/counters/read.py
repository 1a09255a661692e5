"""The values of all counters, read off a machine that stands still; nothing is counted here."""

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Final

import numpy as np
from attrs import frozen

from mmactors.actors.program.memory import MemoryActor
from mmactors.actors.program.process import Process
from mmactors.actors.state.kernel import Kernel
from mmactors.engine.chance import FAULTS
from mmactors.engine.cpu import Cpu
from mmactors.engine.cpu_times import cpu_usage
from mmactors.hw.hardware import Hardware
from mmactors.mm.area.mm_struct import (
    MM_ANONPAGES,
    MM_FILEPAGES,
    MM_SHMEMPAGES,
    MM_SWAPENTS,
)
from mmactors.mm.vmstat import (
    NODE_STAT_NAMES,
    NR_VM_NODE_STAT_ITEMS,
    NR_VM_ZONE_STAT_ITEMS,
    NUMA_EVENTS,
    PRINTED_IN_THP,
    printed_events,
)
from mmactors.observe.counters.heap import NR_HEAP
from mmactors.observe.counters.table import (
    CPUS,
    HARDWARE,
    MACHINE,
    VMSTAT_GROUPS,
    CounterGroup,
    counters_of,
)
from mmactors.observe.proc.of_memory import vmstat_lines

TLB: Final = "TLB"
_UNPRINTED: Final = np.array(
    [item not in PRINTED_IN_THP for item in range(len(NODE_STAT_NAMES))], bool
)

Read = Callable[[int], dict[str, int]]
"""Returns counters as they are at a time."""
_HARDWARE_VALUES: Final = attrgetter(*(counter.name for counter in HARDWARE.counters))


def nr_accesses(hardware: Hardware) -> int:
    """Return the accesses of user programs: fetches, reads, writes."""
    counts = [hardware.statistics(cpu) for cpu in range(hardware.nr_cpus)]
    return sum(one.fetch.references + one.read.references + one.write.references for one in counts)


@frozen(kw_only=True)
class Counted:
    """What the counters of a machine are read off."""

    kernel: Kernel
    processes: Callable[[], Sequence[Process]]
    dram: MemoryActor

    def all(self, now_ns: int) -> dict[str, int]:
        """Return the machine's counters, then those of each CPU, then those of each process."""
        counters = self.machine(now_ns)
        for cpu in self.kernel.cpus:
            counters |= _prefixed(f"cpu[{cpu.index}]", cpu_counters(self.kernel, cpu, now_ns))
        for process in self.processes():
            owner = f"process[{process.label}]"
            counters |= _prefixed(owner, process_counters(process, now_ns))
        return counters

    def machine(self, now_ns: int) -> dict[str, int]:
        """Return the machine's own counters."""
        counters: dict[str, int] = {}
        for _, read in self._parts:
            counters |= read(now_ns)
        return counters

    @property
    def _parts(self) -> tuple[tuple[tuple[CounterGroup, ...], Read], ...]:
        """Which of the machine's counters can be read without the others, and how."""
        return (
            (VMSTAT_GROUPS, lambda _: dict(vmstat_lines(self.kernel))),
            ((HARDWARE,), lambda _: self._sums(HARDWARE, _hardware)),
            ((CPUS,), lambda now_ns: self._sums(CPUS, lambda _, cpu: _cpu(cpu, now_ns))),
            ((MACHINE,), lambda _: self._rest()),
        )

    def _sums(
        self, group: CounterGroup, read: Callable[[Kernel, Cpu], Sequence[int]]
    ) -> dict[str, int]:
        """Return the counters of a group, added up over all CPUs."""
        names = [counter.name for counter in group.counters]
        rows = [read(self.kernel, cpu) for cpu in self.kernel.cpus]
        return {name: sum(column) for name, *column in zip(names, *rows, strict=True)}

    def _rest(self) -> dict[str, int]:
        processes = self.processes()
        decider = self.kernel.engine.decider
        injected = {} if decider is None else decider.counts()
        return {
            "memory_lines": self.dram.nr_lines,
            "memory_queued_ns": self.dram.queued_ns,
            "forks": sum(len(process.tasks) for process in processes),
            "processes_killed": sum(process.killed_by is not None for process in processes),
            **{f"injected_{fault}": injected.get(fault, 0) for fault in FAULTS},
        }

    def reader(self, names: Sequence[str]) -> Callable[[int], list[int]]:
        """Return what reads these counters at a time; a process that is not there has zeros."""
        owners = {name.rpartition("]")[0] for name in names}
        wanted = set(names)
        parts = [
            read_part
            for groups, read_part in self._parts
            if any(counter.name in wanted for group in groups for counter in group.counters)
        ]

        def read(now_ns: int) -> list[int]:
            counters: dict[str, int] = {}
            for read_part in parts:
                counters |= read_part(now_ns)
            for cpu in self.kernel.cpus:
                if f"cpu[{cpu.index}" in owners:
                    own = cpu_counters(self.kernel, cpu, now_ns)
                    counters |= _prefixed(f"cpu[{cpu.index}]", own)
            for process in self.processes():
                if f"process[{process.label}" in owners:
                    own = process_counters(process, now_ns)
                    counters |= _prefixed(f"process[{process.label}]", own)
            return [counters.get(name, 0) for name in names]

        return read


def _prefixed(owner: str, counters: dict[str, int]) -> dict[str, int]:
    return {f"{owner}.{name}": value for name, value in counters.items()}


def cpu_counters(kernel: Kernel, cpu: Cpu, now_ns: int) -> dict[str, int]:
    """Return the counters of one CPU; of zone and node items what it has not folded yet."""
    vmstat, index = kernel.vmstat, cpu.index
    zones = vmstat.cpu_zone_words[index].sum(axis=0)
    nodes = vmstat.cpu_node_words[index, :, :NR_VM_NODE_STAT_ITEMS].sum(axis=0)
    values: list[int] = zones[:NR_VM_ZONE_STAT_ITEMS].tolist()
    values += zones[NUMA_EVENTS:].tolist()
    values += nodes[_UNPRINTED].tolist()
    values += printed_events(vmstat.event_words[index])
    values += _hardware(kernel, cpu)
    values += _cpu(cpu, now_ns)
    return dict(zip(counters_of("cpu"), values, strict=True))


def process_counters(process: Process, now_ns: int) -> dict[str, int]:
    """Return the counters of one process."""
    usage = process.usage(now_ns)
    values = [process.min_flt, process.maj_flt, process.cmin_flt, process.cmaj_flt]
    values += [usage.user_ns, usage.system_ns, process.cuser_ns, process.csystem_ns]
    values += [process.nvcsw, process.nivcsw, process.cnvcsw, process.cnivcsw]
    values += [process.nr_live_threads]
    space = process.space
    if space is None:
        values += [0] * 9
        values += [process.maxrss_pages]
    else:
        mm = space.mm
        members = (MM_ANONPAGES, MM_FILEPAGES, MM_SHMEMPAGES, MM_SWAPENTS)
        values += [max(mm.rss[member], 0) for member in members]
        untold = sum(task.rss.count[MM_ANONPAGES] for task in process.tasks if task.mm is mm)
        values.append(mm.rss[MM_ANONPAGES] + untold)
        values += [mm.total_vm, mm.locked_vm, mm.pgtables_bytes]
        values += [max(mm.hiwater_vm, mm.total_vm), max(mm.hiwater_rss, mm.get_mm_rss())]
    heap = process.heap
    values += [0] * NR_HEAP if heap is None else heap.counters()
    return dict(zip(counters_of("process"), values, strict=True))


def _hardware(kernel: Kernel, cpu: Cpu) -> tuple[int, ...]:
    values: tuple[int, ...] = _HARDWARE_VALUES(kernel.hardware.statistics(cpu.index))
    return values


def _cpu(cpu: Cpu, now_ns: int) -> list[int]:
    usage = cpu_usage(cpu, now_ns)
    interrupts = cpu.interrupts
    return [
        usage.user_ns,
        usage.system_ns,
        usage.idle_ns,
        usage.iowait_ns,
        usage.irq_ns,
        cpu.context_switches,
        sum(interrupts.values()),
        interrupts[TLB],
        cpu.nr_running(now_ns),
        cpu.nr_iowait,
    ]
