"""Options of the hardware. The defaults are one real machine, Intel's Haswell client (i7-4770).

Sources: Intel 248966, Optimization Reference Manual, Haswell microarchitecture, the tables of cache
parameters and of TLB parameters. Intel does not publish its walk caches; their sizes are as
van Schaik, Razavi, Gras, Bos and Giuffrida measured (RevAnC, EuroSec 2017), their ways assumed.
Departures: the LLC is not inclusive by default, as one of 8 MiB could not include the L2s of 64
CPUs, and it is in one piece.
"""

from typing import Final, Literal

from attrs import evolve, frozen

from mmactors.errors import Place, Problem
from mmactors.hw.costs import HardwareCosts
from mmactors.hw.geometry import geometry_problems
from mmactors.option import option
from mmactors.units import KIB, MIB

_MACHINE_REPLACEMENT: Final = ("lru", "fifo", "random", "plru")


@frozen(kw_only=True)
class CacheConfig:
    """One cache."""

    size_bytes: int = option(doc="capacity", unit="bytes", minimum=16)
    ways: int = option(doc="lines in a set", minimum=1, maximum=1024)
    line_bytes: int = option(
        64, doc="length of a line", unit="bytes", minimum=16, maximum=4096, power_of_two=True
    )
    replacement: str = option(
        "lru", doc="which line of a full set has to go", choices=_MACHINE_REPLACEMENT
    )

    def problems(self, place: Place, name: str) -> list[Problem]:
        """Return what makes this cache impossible."""
        return geometry_problems(
            place,
            name,
            size_bytes=self.size_bytes,
            ways=self.ways,
            line_bytes=self.line_bytes,
            replacement=self.replacement,
        )


@frozen(kw_only=True)
class TlbConfig:
    """One translation lookaside buffer, or one walk cache."""

    entries: int = option(doc="how many translations it holds", minimum=1, maximum=1 << 16)
    ways: int = option(doc="entries in a set", minimum=1, maximum=1024)
    replacement: str = option(
        "lru", doc="which entry of a full set has to go", choices=_MACHINE_REPLACEMENT
    )

    def problems(self, place: Place, name: str) -> list[Problem]:
        """Return what makes this TLB impossible: it is a cache of entries of 16 bytes."""
        problems = geometry_problems(
            place,
            name,
            size_bytes=self.entries * 16,
            ways=self.ways,
            line_bytes=16,
            replacement=self.replacement,
        )
        return [
            evolve(
                problem,
                found=f"{name} has {self.entries} entries of {self.ways} ways",
                legal="expected entries / ways to be a power of two: page bits choose the set",
                advice="64 entries of 4 ways are possible; so is ways equal to entries",
            )
            if ".size_bytes" in problem.found
            else problem
            for problem in problems
        ]


def _l1() -> CacheConfig:
    return CacheConfig(size_bytes=32 * KIB, ways=8)


def _l2() -> CacheConfig:
    return CacheConfig(size_bytes=256 * KIB, ways=8)


def _llc() -> CacheConfig:
    return CacheConfig(size_bytes=8 * MIB, ways=16)


@frozen(kw_only=True)
class HardwareConfig:
    """The caches, TLBs and rules of the machine; every CPU is alike."""

    l1i: CacheConfig = option(factory=_l1, doc="first-level instruction cache, private")
    l1d: CacheConfig = option(factory=_l1, doc="first-level data cache, private")
    l2: CacheConfig | None = option(
        factory=_l2, doc="second-level cache, private; null: there is none"
    )
    llc: CacheConfig = option(factory=_llc, doc="last-level cache, shared by all CPUs")
    llc_inclusion: Literal["non_inclusive", "inclusive"] = option(
        "non_inclusive",
        doc="inclusive: a line that leaves the LLC leaves all private caches too",
        choices=("non_inclusive", "inclusive"),
    )
    snoop_filter_percent: int = option(
        200,
        doc="entries of the snoop filter as a percentage of the lines of all private caches,"
        " rounded up to a power of two of sets",
        minimum=10,
        maximum=1000,
    )
    l1d_write: Literal["write_back", "write_through"] = option(
        "write_back",
        doc="write_through: a store goes on to the next level at once",
        choices=("write_back", "write_through"),
    )
    l1d_write_miss: Literal["allocate", "no_allocate"] = option(
        "allocate",
        doc="no_allocate: a store that misses the L1D writes the next level only",
        choices=("allocate", "no_allocate"),
    )
    index: Literal["physical", "virtual"] = option(
        "physical",
        doc="which addresses caches are looked up with; virtual is for one address space on one"
        " CPU, to compare with simulators that know no translation",
        choices=("physical", "virtual"),
    )
    crossing: Literal["each_line", "one_miss"] = option(
        "each_line",
        doc="what an access over two lines is: each_line: a reference to each; one_miss: one"
        " reference, one miss if either missed, looked up at every level by its own line length,"
        " data cut to the shortest line, as cachegrind does (one CPU, no L2)",
        choices=("each_line", "one_miss"),
    )
    kernel_caching: bool = option(
        default=True,
        doc="page walks and the kernel's own accesses go through the caches; false: they cost"
        " walk_read_ns and leave no trace",
    )
    levels: int = option(4, doc="levels of the page tables: 4 or 5 (la57)", minimum=4, maximum=5)

    pcid: bool = option(
        default=True,
        doc="TLBs tell address spaces apart (process-context identifiers); false: every switch to"
        " another address space flushes",
    )

    itlb: TlbConfig = option(
        factory=lambda: TlbConfig(entries=128, ways=4), doc="instruction TLB, 4 KiB pages"
    )
    itlb_2m: TlbConfig = option(
        factory=lambda: TlbConfig(entries=8, ways=8), doc="instruction TLB, 2 MiB pages"
    )
    itlb_1g: TlbConfig = option(
        factory=lambda: TlbConfig(entries=4, ways=4),
        doc="instruction TLB, 1 GiB pages (Haswell breaks them into 2 MiB entries)",
    )
    dtlb: TlbConfig = option(
        factory=lambda: TlbConfig(entries=64, ways=4), doc="data TLB, 4 KiB pages"
    )
    dtlb_2m: TlbConfig = option(
        factory=lambda: TlbConfig(entries=32, ways=4), doc="data TLB, 2 MiB pages"
    )
    dtlb_1g: TlbConfig = option(
        factory=lambda: TlbConfig(entries=4, ways=4), doc="data TLB, 1 GiB pages"
    )
    stlb: TlbConfig = option(
        factory=lambda: TlbConfig(entries=1024, ways=8),
        doc="second-level TLB for instructions and data, 4 KiB pages and, unless stlb_2m is given,"
        " 2 MiB pages",
    )
    stlb_2m: TlbConfig | None = option(
        None, doc="second-level TLB of 2 MiB pages alone; null: they share `stlb`"
    )
    stlb_1g: TlbConfig = option(
        factory=lambda: TlbConfig(entries=16, ways=4),
        doc="second-level TLB, 1 GiB pages (Broadwell's; Haswell has none)",
    )
    pmd_cache: TlbConfig | None = option(
        factory=lambda: TlbConfig(entries=32, ways=4), doc="walk cache of PMD entries"
    )
    pud_cache: TlbConfig | None = option(
        factory=lambda: TlbConfig(entries=4, ways=4), doc="walk cache of PUD entries"
    )
    p4d_cache: TlbConfig | None = option(
        factory=lambda: TlbConfig(entries=2, ways=2),
        doc="walk cache of P4D entries (with 4 levels: of the top level)",
    )
    pgd_cache: TlbConfig | None = option(
        factory=lambda: TlbConfig(entries=2, ways=2),
        doc="walk cache of PGD entries, with 5 levels only",
    )
    costs: HardwareCosts = option(factory=HardwareCosts, doc="what each step costs")

    @property
    def caches(self) -> dict[str, CacheConfig]:
        """The caches there are, by the name of their field."""
        named = {"l1i": self.l1i, "l1d": self.l1d, "l2": self.l2, "llc": self.llc}
        return {name: cache for name, cache in named.items() if cache is not None}

    @property
    def tlbs(self) -> list[tuple[str, TlbConfig | None]]:
        """All TLBs, then all walk caches, in the order of the registers in `layout`."""
        names = [f"{tlb}{size}" for tlb in ("itlb", "dtlb", "stlb") for size in ("", "_2m", "_1g")]
        names += ["pmd_cache", "pud_cache", "p4d_cache", "pgd_cache"]
        return [(name, getattr(self, name)) for name in names]

    def problems(self, place: Place, name: str, *, nr_cpus: int) -> list[Problem]:
        """Return all that makes this machine impossible; empty: it can be built.

        `name` is how the user calls this object, such as `machine.hardware`.
        """
        problems = []
        for field, cache in self.caches.items():
            problems += cache.problems(place, f"{name}.{field}")
        for field, tlb in self.tlbs:
            if tlb is not None:
                problems += tlb.problems(place, f"{name}.{field}")

        def problem(found: str, legal: str, advice: str) -> None:
            problems.append(
                Problem(place=place, found=f"{name}.{found}", legal=legal, advice=advice)
            )

        lengths = {cache.line_bytes for cache in self.caches.values()}
        if self.crossing == "each_line" and len(lengths) > 1:
            legal = "expected one length for all caches"
            problem(f"line_bytes differ: {sorted(lengths)}", legal, "64 everywhere is usual")
        if self.crossing == "one_miss" and self.l2 is not None:
            problem("crossing is 'one_miss'", "expected l2 to be null with it", "set l2: null")
        for field, value, usual in (
            ("crossing", "one_miss", "each_line"),
            ("index", "virtual", "physical"),
        ):
            if nr_cpus > 1 and getattr(self, field) == value:
                legal = f"expected {usual!r} on {nr_cpus} CPUs: the directory needs it"
                problem(f"{field} is {value!r}", legal, f"set {field}: {usual}, or use one CPU")
        if nr_cpus > MAX_CPUS:
            legal = f"expected at most {MAX_CPUS} CPUs"
            problem(f"nr_cpus is {nr_cpus}", legal, f"use {MAX_CPUS}")
        return problems


MAX_CPUS: Final = 1024
"""A sharer mask has 64 bits, each for up to 16 CPUs."""
