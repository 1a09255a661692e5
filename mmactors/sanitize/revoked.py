"""O2: an access that a translation still allows although the call that forbade it has returned.

When an actor changes the entries of a range (`revoke`, under the page-table lock), the translations
that TLBs hold of it at this moment are noted. When its call returns, each of them that still stands
where it stood, and still grants more than the page tables do, is marked in the TLB; the hardware
stops at a marked entry that an access goes through, and only then something is found. So a CPU that
keeps old entries but never uses them, because it is lazy and will flush first, is not blamed; nor
is a call that is still under way, however many others are. What one call promises does not depend
on another: a madvise that finds the entry cleared already promises the same (A11, A4).

An entry grants writes without a look at the page table only if its dirty bit is set, so that a
clean one is as good as one without RW. Not seen: execution (NX), and what a walk cache leads to as
long as the table is not freed.
"""

from collections.abc import Callable

from attrs import define, field, frozen

from mmactors.arch.pte import DIRTY, PFN_MASK, PRESENT, RW
from mmactors.hw.hardware import Hardware
from mmactors.hw.watch import CachedEntry
from mmactors.label import Mode, tlb
from mmactors.mm.area.mm_struct import MmStruct
from mmactors.mm.entries.tlb_state import TlbState
from mmactors.sanitize.page_history import Moment
from mmactors.sanitize.tables import entry_of

_WRITES = RW | DIRTY


@frozen
class _Seen:
    """A translation that was there when its entry was changed."""

    cpu: int
    entry: CachedEntry
    changed: Moment


@frozen
class _Promise:
    """What should be gone, and since when."""

    changed: Moment
    returned: Moment


@define(eq=False)
class Revoked:
    """Knows which translations should be gone."""

    hardware: Hardware
    tlb_states: list[TlbState]
    touch: Callable[[str, Mode], None]
    """Told of the TLBs whose entries are marked."""
    _seen: dict[tuple[str, int], list[_Seen]] = field(factory=dict)
    """By actor and address space: what it revoked in the call that it is in."""
    _promises: dict[tuple[int, int, int], _Promise] = field(factory=dict)
    """By CPU, address and entry."""

    def revoke(self, mm: MmStruct, start: int, end: int, now: Moment) -> None:
        """Note which translations of a range are there while its entries are changed."""
        seen = self._seen.setdefault((now.actor, mm.ctx_id), [])
        for cpu, state in enumerate(self.tlb_states):
            for asid, context in enumerate(state.contexts):
                if context is not None and context.ctx_id == mm.ctx_id:
                    pcid = state.pcid_of(asid)
                    entries = self.hardware.entries_within(cpu, pcid, start, end)
                    seen += [_Seen(cpu, entry, now) for entry in entries]

    def completed(self, mm: MmStruct, now: Moment) -> None:
        """Mark what the running actor revoked and what still stands."""
        for seen in self._seen.pop((now.actor, mm.ctx_id), ()):
            entry = seen.entry
            real = entry_of(mm.page_table.memory, mm.page_table, entry.start)
            is_gone = not real & PRESENT or (real ^ entry.pte) & PFN_MASK != 0
            is_lowered = entry.pte & _WRITES == _WRITES and real & _WRITES != _WRITES
            if (is_gone or is_lowered) and self.hardware.mark_revoked(
                entry, is_write_only=not is_gone
            ):
                key = (seen.cpu, entry.start, entry.pte)
                self._promises[key] = _Promise(seen.changed, now)
                self.touch(tlb(seen.cpu), Mode.WRITE)

    def describe(self, cpu: int, entry: CachedEntry) -> list[str]:
        """Return who promised that this entry would be gone."""
        promise = self._promises.get((cpu, entry.start, entry.pte))
        if promise is None:
            return []
        under_way = dict.fromkeys(
            seen.changed
            for of_call in self._seen.values()
            for seen in of_call
            if seen.cpu == cpu and seen.entry.start == entry.start
        )
        return [
            *(f"the entry in memory was changed {each}, who is still at it" for each in under_way),
            f"the entry in memory was changed {promise.changed}",
            f"that call returned at t={promise.returned.t_ns} ns",
        ]
