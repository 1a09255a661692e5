"""What the hardware of one CPU has counted, by name."""

from attrs import frozen


@frozen(kw_only=True)
class References:
    """References of one kind to the caches, and how far down they had to go."""

    references: int
    """Instructions fetched, or data accesses; an access over two lines is one of them."""
    l1_misses: int
    """Misses of the L1: lines, or accesses under the one-miss rule."""
    l2_misses: int
    """Misses of the L2; without one, equal to `l1_misses`."""
    llc_misses: int
    """Lines that came from memory."""


@frozen(kw_only=True)
class Translations:
    """Lookups of one kind in the TLBs."""

    lookups: int
    """One for each page that an access touches."""
    misses: int
    """Misses of the first-level TLB."""
    walks: int
    """Misses of both levels. A walk that only sets the dirty bit is none: see `dirty_walks`."""


@frozen(kw_only=True)
class HardwareStatistics:
    """Counts of one CPU since it was made. An access that faults counts when it is done again."""

    fetch: References
    read: References
    """Loads and modifies: a modify is one read, as in cachegrind."""
    write: References
    """Stores."""
    walk: References
    """The page walker's reads and writes of page tables."""
    kernel: References
    """What the kernel said it touches by `Hardware.kernel_access`."""
    fetch_tlb: Translations
    read_tlb: Translations
    write_tlb: Translations
    modifies: int
    faults: int
    dirty_walks: int
    """Walks of accesses whose translation was there, but not dirty yet or too weak."""
    snoops: int
    """Requests for which private caches of other CPUs were asked."""
    forwards: int
    """Dirty lines that other CPUs handed over."""
    upgrades: int
    """Stores to a line that the CPU held as SHARED."""
    back_invalidations: int
    """Lines taken from private caches to make room in the LLC or the snoop filter."""
    memory_reads: int
    """Lines read from memory, for whatever reason."""
    memory_writes: int
    """Dirty lines that left the LLC for memory."""
    tlb_flushes: int
    """Calls of flush_page, flush_pcid, flush_all."""
    ns: int
    """Time spent in batches."""

    def cachegrind(self) -> tuple[int, ...]:
        """Return Ir I1mr ILmr Dr D1mr DLmr Dw D1mw DLmw."""
        return tuple(
            count
            for who in (self.fetch, self.read, self.write)
            for count in (who.references, who.l1_misses, who.llc_misses)
        )

    def tlb(self) -> tuple[int, ...]:
        """Return lookups, first-level misses and walks of fetches, then reads, then writes."""
        return tuple(
            count
            for who in (self.fetch_tlb, self.read_tlb, self.write_tlb)
            for count in (who.lookups, who.misses, who.walks)
        )
