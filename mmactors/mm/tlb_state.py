"""What a CPU knows of the address spaces in its TLB (arch/x86/mm/tlb.c, Linux 6.1).

A CPU keeps six address spaces in its TLB at a time, each under an ASID of its own (PCID = ASID +
1). `tlb_gen` of an address space grows with every flush; a CPU that comes back to it and missed
some flushes the ASID. Left out: lazy mode's skipping of interrupts, PTI, global flushes.

Invariant: `slots[asid]` is what the TLB entries tagged with that ASID belong to, or None.
"""

from typing import Final

from attrs import define, field, frozen

from mmactors.mm.mm_struct import MmStruct

TLB_NR_DYN_ASIDS: Final = 6
TLB_SINGLE_PAGE_FLUSH_CEILING: Final = 33
"""Beyond so many pages the whole address space is flushed."""


@frozen
class Switched:
    """What loading an address space needs of the hardware."""

    pcid: int
    needs_flush: bool
    """Entries under this PCID belong to another address space, or are out of date."""


@define(eq=False)
class _Slot:
    ctx_id: int
    tlb_gen: int


@define(eq=False)
class TlbState:
    """struct tlb_state of one CPU."""

    cpu_index: int
    loaded_mm: MmStruct | None = None
    loaded_asid: int = 0
    slots: list[_Slot | None] = field(factory=lambda: [None] * TLB_NR_DYN_ASIDS)
    _next_asid: int = 0

    def switch_mm(self, mm: MmStruct) -> Switched:
        """Make `mm` the loaded address space (switch_mm_irqs_off)."""
        before = self.loaded_mm
        if before is not None and before is not mm:
            before.mm_cpumask &= ~(1 << self.cpu_index)
        mm.mm_cpumask |= 1 << self.cpu_index
        self.loaded_mm = mm
        asid, needs_flush = self._choose_asid(mm)
        self.loaded_asid = asid
        self.slots[asid] = _Slot(mm.ctx_id, mm.tlb_gen)
        return Switched(pcid=asid + 1, needs_flush=needs_flush)

    def _choose_asid(self, mm: MmStruct) -> tuple[int, bool]:
        for asid, slot in enumerate(self.slots):
            if slot is not None and slot.ctx_id == mm.ctx_id:
                return asid, slot.tlb_gen < mm.tlb_gen
        asid = self._next_asid
        self._next_asid = (asid + 1) % TLB_NR_DYN_ASIDS
        return asid, True

    def catch_up(self, mm: MmStruct) -> int:
        """Note that the loaded address space was flushed up to its tlb_gen; return the PCID."""
        assert self.loaded_mm is mm, "only the loaded address space is flushed"
        slot = self.slots[self.loaded_asid]
        assert slot is not None, "the loaded address space has a slot"
        slot.tlb_gen = mm.tlb_gen
        return self.loaded_asid + 1

    def leave_mm(self, mm: MmStruct) -> None:
        """Forget an address space that ends; its ASID's entries go when the ASID is reused."""
        if self.loaded_mm is mm:
            self.loaded_mm = None
        mm.mm_cpumask &= ~(1 << self.cpu_index)
