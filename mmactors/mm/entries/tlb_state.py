"""What a CPU knows of the address spaces in its TLB (arch/x86/mm/tlb.c, Linux 6.1).

A CPU keeps six address spaces in its TLB at a time, each under an ASID of its own (PCID = ASID +
1). `tlb_gen` of an address space grows with every flush; a CPU that comes back to it and missed
some flushes the ASID. A CPU that runs nothing of the address space it has loaded is lazy: it keeps
the translations, is spared most interrupts, and compares tlb_gen when it goes on. Without PCIDs
there is one ASID, and every load of CR3 flushes it.

Left out: page-table isolation (the user PCIDs, invalidate_other), mitigations; trimming mm_cpumask,
in which no CPU stands here that has another address space loaded.

Invariants: `contexts[asid]` is what the TLB entries tagged with that ASID belong to, or None; its
tlb_gen is at most that of the address space. While `loaded_mm` is LOADED_MM_SWITCHING, CR3 is about
to change.
"""

from enum import Enum
from typing import Final, Literal

from attrs import define, field, frozen

from mmactors.mm.area.mm_struct import MmStruct
from mmactors.rules import Rules
from mmactors.units import PAGE_SHIFT

TLB_NR_DYN_ASIDS: Final = 6
TLB_SINGLE_PAGE_FLUSH_CEILING: Final = 33
"""Beyond so many pages the whole address space is flushed."""
TLB_FLUSH_ALL: Final = -1
"""As an end: the whole address space; as a number of pages: all."""
TLB_GENERATION_INVALID: Final = 0
"""Of a flush of several address spaces: whatever each has missed."""


class Switching(Enum):
    """The type of LOADED_MM_SWITCHING."""

    SWITCHING = 1


LOADED_MM_SWITCHING: Final = Switching.SWITCHING


@frozen
class Switched:
    """What loading an address space needs of the hardware."""

    asid: int
    needs_flush: bool
    """Entries under this ASID belong to another address space, or are out of date."""


@define(eq=False)
class Context:
    """struct tlb_context: what is in the TLB under one ASID."""

    ctx_id: int
    tlb_gen: int
    """Up to which generation it was flushed."""


@frozen(kw_only=True)
class FlushTlbInfo:
    """What CPUs have to forget (struct flush_tlb_info)."""

    mm: MmStruct | None
    """None: every address space whose tlb_gen was raised."""
    start: int
    end: int
    """Bytes, or TLB_FLUSH_ALL."""
    new_tlb_gen: int
    """The generation that this flush made, or TLB_GENERATION_INVALID."""
    stride_shift: int
    """log2 of the bytes that one entry maps."""
    freed_tables: bool
    """Page tables go too: a CPU in lazy mode must not walk them either."""
    initiating_cpu: int

    @property
    def nr_entries(self) -> int:
        """Entries to flush one by one, or TLB_FLUSH_ALL."""
        if self.end == TLB_FLUSH_ALL:
            return TLB_FLUSH_ALL
        return (self.end - self.start) >> self.stride_shift

    @property
    def nr_pages(self) -> int:
        """The length in 4 KiB pages, or TLB_FLUSH_ALL."""
        return TLB_FLUSH_ALL if self.end == TLB_FLUSH_ALL else (self.end - self.start) >> PAGE_SHIFT

    def is_partial(self, *, local_tlb_gen: int, mm_tlb_gen: int) -> bool:
        """Say whether the range is all that a CPU at `local_tlb_gen` has missed."""
        return self.end != TLB_FLUSH_ALL and self.new_tlb_gen == local_tlb_gen + 1 == mm_tlb_gen


@define(eq=False)
class TlbState:
    """struct tlb_state and tlb_state_shared of one CPU."""

    loaded_mm: MmStruct | Literal[Switching.SWITCHING]
    """The address space in CR3; init_mm after boot."""
    has_pcid: bool = field(default=True, kw_only=True)
    loaded_asid: int = 0
    is_lazy: bool = False
    contexts: list[Context | None] = field(factory=lambda: [None] * TLB_NR_DYN_ASIDS)
    _next_asid: int = 1

    def __attrs_post_init__(self) -> None:
        assert isinstance(self.loaded_mm, MmStruct), "a CPU starts with init_mm"
        self.contexts[0] = Context(self.loaded_mm.ctx_id, self.loaded_mm.tlb_gen)

    @property
    def loaded_context(self) -> Context:
        """The context of the ASID in use."""
        context = self.contexts[self.loaded_asid]
        assert context is not None, f"ASID {self.loaded_asid} is in use and has no context"
        return context

    def choose_new_asid(self, mm: MmStruct, mm_tlb_gen: int) -> Switched:
        """Return the ASID to load `mm` under; one that the CPU does not know takes the next."""
        if not self.has_pcid:
            return Switched(0, needs_flush=True)
        for asid, context in enumerate(self.contexts):
            if context is not None and context.ctx_id == mm.ctx_id:
                return Switched(asid, needs_flush=context.tlb_gen < mm_tlb_gen)
        asid = self._next_asid
        self._next_asid += 1
        if asid >= TLB_NR_DYN_ASIDS:
            asid = 0
            self._next_asid = 1
        return Switched(asid, needs_flush=True)

    def use(self, mm: MmStruct, switched: Switched, mm_tlb_gen: int) -> int:
        """Note that CR3 is about to hold `mm` under that ASID; return the PCID."""
        if switched.needs_flush:
            self.contexts[switched.asid] = Context(mm.ctx_id, mm_tlb_gen)
        return self.pcid_of(switched.asid)

    def pcid_of(self, asid: int) -> int:
        """Return what CR3 says for an ASID (kern_pcid): PCID 0 is for those who have none."""
        return asid + 1 if self.has_pcid else 0

    def should_flush(self, info: FlushTlbInfo, rules: Rules) -> bool:
        """Say whether a flush needs an interrupt of this CPU (should_flush_tlb).

        A lazy CPU looks at tlb_gen when it goes on. One that is switching may have entries of
        either address space.
        """
        if self.is_lazy:
            return False
        if self.loaded_mm is LOADED_MM_SWITCHING and rules.should_flush_counts_switching_cpus:
            return True
        return info.mm is None or self.loaded_mm is info.mm
