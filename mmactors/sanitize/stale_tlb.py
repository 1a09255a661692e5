"""O1: an access through a translation that outlived its page or its page table.

The hardware compares, in the compiled loop, the generation that an entry remembers with that of
its page (hw/tlb.py, `is_stale`) and stops before the access. Here the message is made, also for
entries that were marked because they were revoked (O2, `revoked.py`).
"""

from attrs import define

from mmactors.hw.hardware import Hardware
from mmactors.hw.watch import CachedEntry
from mmactors.sanitize.law import Law
from mmactors.sanitize.page_history import PageHistory
from mmactors.sanitize.revoked import Revoked


@define(eq=False)
class StaleTlb:
    """Explains stops of the hardware."""

    hardware: Hardware
    history: PageHistory
    revoked: Revoked | None

    def explain(self, cpu: int, entry: CachedEntry, address: int) -> tuple[Law, str, list[str]]:
        """Return law, head and facts of an access of `cpu` that was stopped at `entry`."""
        kind = "page" if entry.place == "TLB" else "page table"
        now = self.hardware.generation_of(entry.pfn)
        is_freed = entry.generation != now
        law = Law.STALE_TRANSLATION if is_freed else Law.STALE_AFTER_REVOKE
        why = f"whose {kind} was freed" if is_freed else "that was to be forgotten"
        head = f"cpu{cpu} reaches {address:#x} through an entry of its {entry.place} {why}"
        age = f"; it is {now} now" if is_freed else " and still is"
        filled = (
            f"the entry: {entry.start:#x} to {entry.end:#x} is page {entry.pfn:#x}, filled at "
            f"t={entry.fill_ns} ns when the {kind} was generation {entry.generation}{age}"
        )
        facts = [filled]
        if self.revoked is not None:
            facts += self.revoked.describe(cpu, entry)
        if is_freed:
            facts += self.history.describe(entry.pfn)
        return law, head, facts
