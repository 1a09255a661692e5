"""Recordings of cachegrind and of the TLB simulator against the hardware that `run` uses.

A geometry of the recording becomes a machine of one CPU. Its page tables map every page of the
trace to itself, accessed and dirty already, so that nothing faults and physical addresses are the
virtual ones. Cachegrind's geometry (valgrind 3.19.0, cg_sim.c) is a machine without an L2, with
cachegrind's rule for accesses over two lines; that of a TLB a machine with the TLBs of one page
size, no walk caches, and that page size everywhere.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
from attrs import Factory, evolve, frozen
from numpy.typing import NDArray

from mmactors.arch.arena import Arena
from mmactors.arch.memory import PhysicalMemory
from mmactors.arch.pte import ACCESSED, DIRTY, PFN_SHIFT, PRESENT, PSE, RW, USER
from mmactors.arch.trace import SIZE_MASK, SIZE_SHIFT, Trace
from mmactors.errors import Place, Problem, UserError
from mmactors.hw.config import CacheConfig, HardwareConfig, TlbConfig
from mmactors.hw.hardware import Hardware
from mmactors.hw.statistics import HardwareStatistics
from mmactors.mm.page_table.page_table import PageTable
from mmactors.validate.result import CaseResult

CACHEGRIND_FIELDS: Final = (
    "Ir",
    "I1mr",
    "ILmr",
    "Dr",
    "D1mr",
    "DLmr",
    "Dw",
    "D1mw",
    "DLmw",
)
TLB_FIELDS: Final = tuple(
    f"{letter}_{name}" for letter in "irw" for name in ("lookups", "l1_misses", "walks")
)
PAGE_SHIFTS: Final = {12: "", 21: "_2m", 30: "_1g"}
"""By log2 of the page's bytes: how the fields of HardwareConfig for it end."""

Words = NDArray[np.int64]


@frozen(kw_only=True)
class CachegrindCase:
    """One geometry of a recording: bytes, ways, bytes in a line of each cache."""

    I1: tuple[int, int, int]
    D1: tuple[int, int, int]
    LL: tuple[int, int, int]
    counts: list[int]
    equals_cachegrind_run: bool = True
    cachegrind_run: list[int] = Factory(list)
    """What cachegrind itself counted in another run of a program that never runs twice alike."""


@frozen(kw_only=True)
class TlbCase:
    """One geometry of a recording: entries and ways of each TLB."""

    itlb: tuple[int, int]
    dtlb: tuple[int, int]
    stlb: tuple[int, int]
    page_shift: int
    counts: list[int]


def validate_cachegrind(
    case: str, path: str, trace: Trace, recorded: Sequence[CachegrindCase], fields: Sequence[str]
) -> Iterator[CaseResult]:
    """Compare the nine counts of every geometry."""
    if not recorded:
        return
    result = CaseResult(topic="traces", case=case, path=path)
    mapping = _Identity(trace, page_shift=21)
    for index, geometry in enumerate(recorded):
        place = f"cachegrind[{index}]"
        config = _cachegrind_config(geometry)
        problems = config.problems(Place(path), place, nr_cpus=1)
        if problems:
            raise UserError(problems)
        counts = _by_field(Place(path), place, fields, CACHEGRIND_FIELDS, geometry.counts)
        ours = dict(zip(CACHEGRIND_FIELDS, mapping.run(config).cachegrind(), strict=True))
        for field, count in counts.items():
            result.compare(f"{place}.{field}", count, ours[field])
        result.listed += len(geometry.cachegrind_run)
    yield result


def validate_tlb(
    case: str, path: str, trace: Trace, recorded: Sequence[TlbCase], fields: Sequence[str]
) -> Iterator[CaseResult]:
    """Compare the nine counts of every geometry; one the machine cannot have is its own case."""
    result = CaseResult(topic="traces", case=case, path=path)
    mappings: dict[int, _Identity] = {}
    for index, geometry in enumerate(recorded):
        place = f"tlb[{index}]"
        reason = _not_a_machine(Place(path), place, geometry)
        if reason is not None:
            yield CaseResult(
                topic="traces", case=f"{case}[{index}]", path=path, not_validated=reason
            )
            continue
        config = _tlb_config(geometry)
        shift = geometry.page_shift
        if shift not in mappings:
            mappings[shift] = _Identity(trace, page_shift=shift)
        counts = _by_field(Place(path), place, fields, TLB_FIELDS, geometry.counts)
        ours = dict(zip(TLB_FIELDS, mappings[shift].run(config).tlb(), strict=True))
        for field, count in counts.items():
            result.compare(f"{place}.{field}", count, ours[field])
    if mappings:
        yield result


def _by_field(
    place: Place, name: str, fields: Sequence[str], known: Sequence[str], counts: Sequence[int]
) -> dict[str, int]:
    """Return recorded counts by field; `fields` is the file's own list of them."""
    if len(fields) != len(counts) or not set(fields) <= set(known):
        named = " ".join(fields) or "no fields"
        raise UserError(
            Problem(
                place=place,
                found=f"{name}.counts has {len(counts)} counts, of {named}",
                legal=f"expected one for each field, from {' '.join(known)}",
                advice="tests/reference/traces/README.md describes the fields",
            )
        )
    return dict(zip(fields, counts, strict=True))


def _cache(size_ways_line: tuple[int, int, int]) -> CacheConfig:
    size_bytes, ways, line_bytes = size_ways_line
    return CacheConfig(size_bytes=size_bytes, ways=ways, line_bytes=line_bytes)


def _cachegrind_config(geometry: CachegrindCase) -> HardwareConfig:
    return HardwareConfig(
        l1i=_cache(geometry.I1),
        l1d=_cache(geometry.D1),
        l2=None,
        llc=_cache(geometry.LL),
        index="virtual",
        crossing="one_miss",
        kernel_caching=False,
    )


def _tlb_config(geometry: TlbCase) -> HardwareConfig:
    suffix = PAGE_SHIFTS[geometry.page_shift]
    tlbs: dict[str, Any] = {
        f"{name}{suffix}": TlbConfig(entries=entries, ways=ways)
        for name, (entries, ways) in (
            ("itlb", geometry.itlb),
            ("dtlb", geometry.dtlb),
            ("stlb", geometry.stlb),
        )
    }
    plain = HardwareConfig(
        pmd_cache=None, pud_cache=None, p4d_cache=None, pgd_cache=None, kernel_caching=False
    )
    return evolve(plain, **tlbs)


def _not_a_machine(place: Place, name: str, geometry: TlbCase) -> str | None:
    """Return why no TLB of the machine is like this, or None.

    Raises UserError for what is no geometry at all.
    """
    problems = []
    for field, (entries, ways) in (
        ("itlb", geometry.itlb),
        ("dtlb", geometry.dtlb),
        ("stlb", geometry.stlb),
    ):
        if ways < 1 or entries < ways or entries % ways:
            problems.append(
                Problem(
                    place=place,
                    found=f"{name}.{field} has {entries} entries of {ways} ways",
                    legal="expected a multiple of at least one way",
                    advice="64 entries of 4 ways are usual",
                )
            )
    if problems:
        raise UserError(problems)
    if geometry.page_shift not in PAGE_SHIFTS:
        return f"{name} has pages of 1 << {geometry.page_shift} bytes, which x86-64 does not"
    problems = _tlb_config(geometry).problems(place, name, nr_cpus=1)
    return f"{problems[0].found}; {problems[0].legal}" if problems else None


class _Identity:
    """A trace, and page tables that map each of its pages to itself."""

    def __init__(self, trace: Trace, *, page_shift: int) -> None:
        self._trace: Final = trace
        pages = _pages_of(trace, page_shift)
        level = (page_shift - PFN_SHIFT) // 9 + 1
        # No more tables than a chain of four for each page.
        self._memory: Final = PhysicalMemory(2 + 4 * len(pages))
        table = PageTable(self._memory, pgd_pfn=1)
        free_pfn = 2
        flags = PRESENT | RW | USER | ACCESSED | DIRTY | (PSE if level > 1 else 0)
        for page in pages.tolist():
            address = page << page_shift
            adding = table.alloc(address, level)
            try:
                next(adding)
                while True:
                    free_pfn += 1
                    adding.send(free_pfn - 1)
            except StopIteration as done:
                self._memory.view[done.value] = address | flags
        self._generation: Final = np.zeros(1, np.int32)

    def run(self, config: HardwareConfig) -> HardwareStatistics:
        """Run the whole trace on a machine of one CPU that has done nothing before."""
        hardware = Hardware(
            config, nr_cpus=1, memory=self._memory, arena=Arena(), generation=self._generation
        )
        hardware.load_cr3(0, 1, 0)
        row = hardware.run(0, self._trace, 0)
        assert row == len(self._trace), f"row {row} of {len(self._trace)} faulted"
        return hardware.statistics(0)


def _pages_of(trace: Trace, page_shift: int) -> Words:
    """Return the numbers of all pages that the accesses of `trace` touch, ascending."""
    assert trace.line_bytes is None, "runs of fetches may reach over more than two pages"
    sizes = np.maximum((trace.meta >> SIZE_SHIFT) & SIZE_MASK, 1)
    first = trace.address >> page_shift
    last = (trace.address + sizes - 1) >> page_shift
    pages = np.unique(np.concatenate([first, last]))
    # An access may reach over whole pages between its first and its last one.
    return np.unique(np.concatenate([pages, *_between(first, last)]))


def _between(first: Words, last: Words) -> Iterator[Words]:
    for start, end in np.unique(np.stack([first, last])[:, last - first > 1], axis=1).T:
        yield np.arange(start, end)
