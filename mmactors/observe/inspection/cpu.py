"""CPUs: who is on them, what their TLBs hold, what they have counted."""

from collections.abc import Mapping
from functools import cached_property
from types import MappingProxyType

from attrs import field, frozen

from mmactors.actors.state.kernel import Kernel
from mmactors.engine.cpu import Cpu
from mmactors.engine.cpu_times import CpuUsage, cpu_usage
from mmactors.hw.statistics import HardwareStatistics
from mmactors.mm.area.mm_struct import MmStruct
from mmactors.mm.entries.tlb_state import TlbState
from mmactors.mm.vmstat import VM_EVENT_NAMES
from mmactors.observe.counters.read import cpu_counters
from mmactors.observe.inspection.entry import flag_names
from mmactors.observe.inspection.moment import Moment
from mmactors.observe.inspection.table import Table


@frozen(kw_only=True)
class TlbEntry:
    """One entry of a TLB or walk cache."""

    tlb: str
    """As in `machine.hardware`: `dtlb`, `stlb_2m`, `pmd_cache`."""
    start: int = field(repr=hex)
    """First byte that it covers."""
    end: int = field(repr=hex)
    pcid: int
    """0 if it is global."""
    is_global: bool
    pfn: int = field(repr=hex)
    """The page, or in a walk cache the table, that it points to."""
    flags: tuple[str, ...]
    """The permissions of all levels combined, and A and D as they were."""
    generation: int
    """Of the page it points to, when it was filled."""
    fill_ns: int


@frozen(kw_only=True)
class LoadedAsid:
    """An address space that a CPU keeps in its TLB (struct tlb_context)."""

    asid: int
    pcid: int
    ctx_id: int
    tlb_gen: int
    """Up to which generation it was flushed."""
    is_loaded: bool
    """CR3 points to it."""


@frozen(eq=False, kw_only=True)
class CpuInspection:
    """One CPU at the moment of its inspection; what its TLB holds is read when it is asked for."""

    _moment: Moment = field(repr=False)
    _kernel: Kernel = field(repr=False)
    index: int
    node: int
    now_ns: int
    """Its clock."""
    current: str | None
    """The thread that is on it; None: it is idle."""
    contexts: tuple[str, ...]
    """Interrupts that it is in, the innermost last."""
    loaded_ctx_id: int | None
    """The address space in CR3, 0 the kernel's own; None: it is just being changed."""
    is_lazy: bool
    """It has an address space loaded of which it runs nothing."""
    usage: CpuUsage
    """Where its time went: user, system, idle, iowait, irq."""
    context_switches: int
    """From one thread to another, to idle and from idle."""
    interrupts: Mapping[str, int]
    """Interrupts taken, by vector: `LOC`, `TLB`, `CAL`."""

    @cached_property
    def counters(self) -> Mapping[str, int]:
        """Its counters by name (docs/counters.md); of zone and node items what it has not folded.

        `cpu[1].pgfault` of the machine's counters is `cpus[1].counters["pgfault"]`.
        """
        kernel, cpu = self._kernel, self._kernel.cpus[self.index]
        now_ns = self._moment.now_ns
        return self._moment.look(lambda: MappingProxyType(cpu_counters(kernel, cpu, now_ns)))

    @cached_property
    def lru_batch_pfns(self) -> tuple[int, ...]:
        """Pages that wait in its batches for their LRU lists, once for each reference."""
        lru = self._kernel.lru[self.index]
        return self._moment.look(lambda: tuple(lru.held_pages()))

    @cached_property
    def hardware(self) -> HardwareStatistics:
        """What its caches and TLBs have counted."""
        return self._moment.look(lambda: self._kernel.hardware.statistics(self.index))

    @cached_property
    def events(self) -> Mapping[str, int]:
        """Events of /proc/vmstat that happened on it, those that never did left out."""
        counts = self._kernel.vmstat.events[self.index]
        return self._moment.look(
            lambda: MappingProxyType(
                {name: n for name, n in zip(VM_EVENT_NAMES, counts.tolist(), strict=True) if n}
            )
        )

    @cached_property
    def asids(self) -> Table[LoadedAsid]:
        """The address spaces that its TLB keeps apart."""
        return self._moment.look(lambda: _asids(self._kernel.tlb_states[self.index]))

    @cached_property
    def tlb(self) -> Table[TlbEntry]:
        """What its TLBs and walk caches hold, TLB by TLB, in the order of their sets."""
        return self._moment.look(lambda: _tlb(self._kernel, self.index))

    def translations(self, address: int) -> Table[TlbEntry]:
        """Return the entries of TLBs, walk caches left out, that cover an address."""
        return Table(
            entry
            for entry in self.tlb
            if not entry.tlb.endswith("_cache") and entry.start <= address < entry.end
        )


def inspect_cpu(moment: Moment, kernel: Kernel, cpu: Cpu) -> CpuInspection:
    """Return the CPU at `moment`."""
    state = kernel.tlb_states[cpu.index]
    loaded = state.loaded_mm
    return CpuInspection(
        moment=moment,
        kernel=kernel,
        index=cpu.index,
        node=kernel.cpu_node[cpu.index],
        now_ns=cpu.clock.now,
        current=None if cpu.current is cpu.idle else cpu.current.name,
        contexts=tuple(cpu.contexts),
        loaded_ctx_id=loaded.ctx_id if isinstance(loaded, MmStruct) else None,
        is_lazy=state.is_lazy,
        usage=cpu_usage(cpu, moment.now_ns),
        context_switches=cpu.context_switches,
        interrupts=MappingProxyType(dict(cpu.interrupts)),
    )


def _asids(state: TlbState) -> Table[LoadedAsid]:
    return Table(
        LoadedAsid(
            asid=asid,
            pcid=state.pcid_of(asid),
            ctx_id=context.ctx_id,
            tlb_gen=context.tlb_gen,
            is_loaded=asid == state.loaded_asid,
        )
        for asid, context in enumerate(state.contexts)
        if context is not None
    )


def _tlb(kernel: Kernel, cpu: int) -> Table[TlbEntry]:
    return Table(
        TlbEntry(
            tlb=name,
            start=entry.start,
            end=entry.end,
            pcid=entry.pcid,
            is_global=entry.is_global,
            pfn=entry.pfn,
            flags=flag_names(entry.pte),
            generation=entry.generation,
            fill_ns=entry.fill_ns,
        )
        for name, entry in kernel.hardware.cached_entries(cpu)
    )
