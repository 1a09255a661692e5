"""O1: an access through a translation that outlived its page or its page table.

The hardware compares, in the compiled loop, the generation that an entry remembers with that of
its page (hw/tlb.py, `is_stale`) and stops before the access. Here the message is made.
"""

from attrs import define

from mmactors.hw.hardware import Hardware
from mmactors.hw.watch import CachedEntry
from mmactors.sanitize.finding import Law
from mmactors.sanitize.page_history import PageHistory


@define(eq=False)
class StaleTlb:
    """Explains stops of the hardware."""

    hardware: Hardware
    history: PageHistory

    def explain(self, cpu: int, entry: CachedEntry, address: int) -> tuple[Law, str, list[str]]:
        """Return law, head and facts of an access of `cpu` that was stopped at `entry`."""
        kind = "page" if entry.place == "TLB" else "page table"
        head = (
            f"cpu{cpu} reaches {address:#x} through an entry of its {entry.place} whose {kind} "
            "was freed"
        )
        now = self.hardware.generation_of(entry.pfn)
        filled = (
            f"the entry: {entry.start:#x} to {entry.end:#x} is page {entry.pfn:#x}, filled at "
            f"t={entry.fill_ns} ns when the {kind} was generation {entry.generation}; it is {now} "
            "now"
        )
        return Law.STALE_TRANSLATION, head, [filled, *self.history.describe(entry.pfn)]
