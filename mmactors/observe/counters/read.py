"""The values of all counters, read off a machine that stands still; nothing is counted here."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import numpy as np
from attrs import asdict, frozen

from mmactors.actors.program.memory import MemoryActor
from mmactors.actors.program.process import Process
from mmactors.actors.state.kernel import Kernel
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
)
from mmactors.observe.counters.table import CPUS, HARDWARE, CounterGroup, counters_of
from mmactors.observe.proc.of_memory import vmstat_lines

TLB: Final = "TLB"
_UNPRINTED: Final = np.array(
    [item not in PRINTED_IN_THP for item in range(len(NODE_STAT_NAMES))], bool
)


def nr_accesses(hardware: Hardware) -> int:
    """Return the accesses of user programs: fetches, reads, writes."""
    counts = [hardware.statistics(cpu) for cpu in range(hardware.nr_cpus)]
    return sum(one.fetch.references + one.read.references + one.write.references for one in counts)


def process_name(process: Process) -> str:
    """Return what `process[...]` says: its comm, behind it the name that a fork gave it."""
    return process.leader.comm


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
            owner = f"process[{process_name(process)}]"
            counters |= _prefixed(owner, process_counters(process, now_ns))
        return counters

    def machine(self, now_ns: int) -> dict[str, int]:
        """Return the machine's own counters."""
        kernel, processes = self.kernel, self.processes()
        counters = dict(vmstat_lines(kernel))
        counters |= _sums(HARDWARE, [_hardware(kernel, cpu) for cpu in kernel.cpus])
        counters |= _sums(CPUS, [_cpu(cpu, now_ns) for cpu in kernel.cpus])
        counters["memory_lines"] = self.dram.nr_lines
        counters["memory_queued_ns"] = self.dram.queued_ns
        counters["forks"] = sum(len(process.tasks) for process in processes)
        counters["processes_killed"] = sum(process.killed_by is not None for process in processes)
        return counters

    def reader(self, names: Sequence[str]) -> Callable[[int], list[int]]:
        """Return what reads these counters at a time; a process that is not there has zeros."""
        owners = {name.rpartition("]")[0] for name in names}

        def read(now_ns: int) -> list[int]:
            counters = self.machine(now_ns) if "" in owners else {}
            for cpu in self.kernel.cpus:
                if f"cpu[{cpu.index}" in owners:
                    own = cpu_counters(self.kernel, cpu, now_ns)
                    counters |= _prefixed(f"cpu[{cpu.index}]", own)
            for process in self.processes():
                if f"process[{process_name(process)}" in owners:
                    own = process_counters(process, now_ns)
                    counters |= _prefixed(f"process[{process_name(process)}]", own)
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
    values += vmstat.event_words[index].tolist()
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
        values += [0] * 8
        values += [process.maxrss_pages]
    else:
        mm = space.mm
        members = (MM_ANONPAGES, MM_FILEPAGES, MM_SHMEMPAGES, MM_SWAPENTS)
        values += [max(mm.rss[member], 0) for member in members]
        values += [mm.total_vm, mm.locked_vm, mm.pgtables_bytes]
        values += [max(mm.hiwater_vm, mm.total_vm), max(mm.hiwater_rss, mm.get_mm_rss())]
    return dict(zip(counters_of("process"), values, strict=True))


def _sums(group: CounterGroup, rows: list[list[int]]) -> dict[str, int]:
    """Return the counters of a group, added up over all CPUs, whose values `rows` are."""
    names = [counter.name for counter in group.counters]
    return {name: sum(column) for name, *column in zip(names, *rows, strict=True)}


def _hardware(kernel: Kernel, cpu: Cpu) -> list[int]:
    statistics = asdict(kernel.hardware.statistics(cpu.index))
    return list(_flat(statistics.values()))


def _flat(values: Any) -> Iterator[int]:
    for value in values:
        if isinstance(value, dict):
            yield from value.values()
        else:
            yield value


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
