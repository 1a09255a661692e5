"""What each step of the hardware costs: one table, each entry with its source and its range.

Figures are for a core at about 4 GHz. A cost is added to the CPU's time as if nothing overlapped:
an out-of-order core hides part of what the L1 and L2 cost, and almost nothing of what DRAM does.
"""

from attrs import frozen

from mmactors.option import option


@frozen(kw_only=True)
class HardwareCosts:
    """Times of the access path. `_ps` is picoseconds: one instruction is less than a nanosecond."""

    fetch_ps: int = option(
        250,
        doc="an instruction fetched from the L1I: one a cycle at 4 GHz (range 60 to 1000: four a"
        " cycle at 4 GHz to one at 1 GHz; Intel 248966, Optimization Reference Manual)",
        minimum=0,
        maximum=1_000_000,
    )
    l1_hit_ps: int = option(
        1000,
        doc="a load or store that hits the L1D: 4 cycles (range 0 to 1250; 248966, cache"
        " parameters of Haswell)",
        minimum=0,
        maximum=1_000_000,
    )
    l2_hit_ns: int = option(
        3,
        doc="an L1 miss that hits the L2: 11 to 12 cycles (range 3 to 5; 248966, as above)",
        unit="ns",
        minimum=0,
        maximum=1_000,
    )
    llc_hit_ns: int = option(
        11,
        doc="an L2 miss that hits the LLC: 34 to 44 cycles on a client part (range 9 to 22, larger"
        " on a server's mesh; 248966, cache parameters of Haswell)",
        unit="ns",
        minimum=0,
        maximum=10_000,
    )
    snoop_ns: int = option(
        16,
        doc="asking other private caches and awaiting their answers, in addition to the LLC"
        " (range 5 to 60; order of magnitude from Molka, Hackenberg, Schoene and Nagel, Cache"
        " Coherence Protocol and Memory Performance of the Intel Haswell-EP, ICPP 2015)",
        unit="ns",
        minimum=0,
        maximum=10_000,
    )
    forward_ns: int = option(
        10,
        doc="a dirty line that another core hands over, in addition to the snoop (range 5 to 30;"
        " the same paper)",
        unit="ns",
        minimum=0,
        maximum=10_000,
    )
    memory_ns: int = option(
        60,
        doc="an LLC miss served by idle DRAM, beyond the LLC's own time (range 50 to 100; the"
        " same paper measures about 96 ns on a server; client parts have 60 to 70); queueing is"
        " added by the memory actor",
        unit="ns",
        minimum=0,
        maximum=100_000,
    )
    stlb_hit_ns: int = option(
        2,
        doc="a first-level TLB miss that hits the second level: 7 to 8 cycles (range 1 to 3;"
        " 248966, penalty of an STLB hit)",
        unit="ns",
        minimum=0,
        maximum=1_000,
    )
    walk_ns: int = option(
        2,
        doc="starting a page walk, beyond what its reads cost (range 0 to 8, assumed)",
        unit="ns",
        minimum=0,
        maximum=1_000,
    )
    walk_read_ns: int = option(
        1,
        doc="one read of a page walk, if the caches are not asked (range 1 to 100)",
        unit="ns",
        minimum=0,
        maximum=10_000,
    )
