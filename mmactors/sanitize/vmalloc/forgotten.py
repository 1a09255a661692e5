"""O14: translations of the kernel's own that all CPUs should have forgotten, and uses of them.

What is unmapped of vmalloc's stays known to TLBs for a while, and that is legal: nobody is to use
such addresses. They are used again, and aliases of pages are gone, when a purge or vm_unmap_aliases
has ended. So what TLBs know of addresses that were given back is noted when one begins, and what
still stands of that when it ends, and was promised, is told of and marked; the hardware stops at an
access that goes through it. What is being given back meanwhile nobody has promised.
"""

from collections.abc import Callable
from typing import Final

from attrs import define, field, frozen

from mmactors.arch.pte import PFN_MASK, PRESENT
from mmactors.hw.hardware import Hardware
from mmactors.hw.watch import CachedEntry
from mmactors.label import Mode, tlb
from mmactors.mm.page_table.page_table import PageTable
from mmactors.mm.vmalloc.kernel_mapping import VMALLOC_START
from mmactors.sanitize.page_history import Moment
from mmactors.sanitize.tables import entry_of

_TAG_BITS: Final = 57
"""A TLB's tags have so many bits of an address."""
_START: Final = VMALLOC_START % (1 << _TAG_BITS)
_END: Final = 1 << _TAG_BITS


def kernel_address(start: int) -> int:
    """Return the signed address that an entry of the kernel's begins with."""
    return start - (1 << _TAG_BITS)


@frozen
class Known:
    """A translation that a CPU has."""

    cpu: int
    entry: CachedEntry


@define(eq=False)
class Forgotten:
    """Knows which of them should be gone."""

    hardware: Hardware
    table: PageTable
    """init_mm's."""
    touch: Callable[[str, Mode], None]
    """Told of the TLBs that are looked at."""
    _begun: dict[str, list[list[Known]]] = field(factory=dict)
    """By actor: what was there when each call began that it is in."""
    _promised: dict[tuple[int, int, int], Moment] = field(factory=dict)
    """By CPU, address and entry: when it should have been gone."""
    _marked: set[tuple[int, int]] = field(factory=set)
    """By place and time of fill: those that were told of."""

    def begins(self, now: Moment, is_given_back: Callable[[int], bool]) -> None:
        """Note what TLBs know of addresses that were given back."""
        seen: list[Known] = []
        for cpu in range(self.hardware.nr_cpus):
            self.touch(tlb(cpu), Mode.READ)
            seen += [
                Known(cpu, entry)
                for entry in self.hardware.entries_within(cpu, 0, _START, _END)
                if entry.is_global
                and self._is_unmapped(entry)
                and is_given_back(kernel_address(entry.start))
            ]
        self._begun.setdefault(now.actor, []).append(seen)

    def ended(self, now: Moment, is_promised: Callable[[int], bool]) -> list[Known]:
        """Mark what still stands of it and was promised to be gone; return it."""
        still: dict[tuple[int, int], Known] = {}
        for seen in self._begun[now.actor].pop():
            entry = seen.entry
            if (entry.index, entry.filled) in self._marked or not is_promised(
                kernel_address(entry.start)
            ):
                continue
            if self.hardware.mark_revoked(entry, is_write_only=False):
                self._marked.add((entry.index, entry.filled))
                self._promised[seen.cpu, entry.start, entry.pte] = now
                self.touch(tlb(seen.cpu), Mode.WRITE)
                still[seen.cpu, entry.start] = seen
        return list(still.values())

    def describe(self, cpu: int, entry: CachedEntry) -> list[str]:
        """Return who promised that this entry would be gone."""
        moment = self._promised.get((cpu, entry.start, entry.pte))
        return [] if moment is None else [f"it was to be forgotten {moment}"]

    def _is_unmapped(self, entry: CachedEntry) -> bool:
        real = entry_of(self.table.memory, self.table, kernel_address(entry.start))
        return not real & PRESENT or (real ^ entry.pte) & PFN_MASK != 0
