"""Recorded page faults: the cases of userland/faults on the machine that `run` runs.

Besides what userland/vma compares, the counters of /proc/vmstat after each operation. Determined
ones must be equal where all runs gave the same number. How many pages already waited in the CPU's
batches for the LRU lists when a case began is its phase, a number below 15 for each batch: the ones
that explain the case are looked for, and with them all sizes of LRU lists have to be equal, too.

Not compared, listed: what also depends on the fill of per-CPU page lists (nr_free_pages, pgalloc,
pgfree) and what the recorder and the file system do themselves. Left out: swap, huge pages.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from attrs import define, evolve, field, frozen

from mmactors.actors.state.kernel import Kernel
from mmactors.arch.page import PG_SWAPBACKED
from mmactors.mm.lru.folio_batch import PAGEVEC_SIZE
from mmactors.mm.page_alloc.gfp import GFP_HIGHUSER_MOVABLE
from mmactors.validate.result import CaseResult, NotModelled
from mmactors.validate.userland.case import UserlandCase, exact, read_case
from mmactors.validate.userland.machine import OpRecord, RecordedMachine, run_recorded
from mmactors.validate.userland.vma import Comparison, why_not_known
from mmactors.workload.operation import all as op
from mmactors.workload.operation.all import parse_operation

_DETERMINED: Final = (
    "pgfault",
    "pgmajfault",
    "pgreuse",
    "nr_anon_pages",
    "nr_mapped",
    "nr_shmem",
    "nr_file_pages",
    "nr_page_table_pages",
    "nr_mlock",
    "unevictable_pgs_culled",
    "unevictable_pgs_scanned",
    "unevictable_pgs_rescued",
    "unevictable_pgs_mlocked",
    "unevictable_pgs_munlocked",
    "unevictable_pgs_cleared",
    "unevictable_pgs_stranded",
    "drop_pagecache",
    "drop_slab",
    "pswpin",
    "pswpout",
)
_LISTS: Final = ("inactive_anon", "active_anon", "unevictable")
_PHASE: Final = (
    *(f"nr_{name}" for name in _LISTS),
    *(f"nr_zone_{name}" for name in _LISTS),
    "pgactivate",
    "pgdeactivate",
    "pglazyfree",
)
_OF_JOURNAL: Final = op.Open | op.Fsync
"""They also bring pages of the file system's own into the page cache."""


@frozen(kw_only=True)
class Phase:
    """How many pages of somebody else wait in the CPU's batches when a case begins."""

    nr_added: int = 0
    """Of anonymous memory, new."""
    nr_activated: int = 0
    """Of files, used for the second time."""
    is_child_first: bool = False
    """After a fork the child, not the parent, is the first to write the top page of the stack."""

    def fill(self, machine: RecordedMachine) -> None:
        """Let them wait, and no others; they are freed much later."""
        kernel = machine.wired.kernel
        lru = kernel.lru[0]
        lru.drain()
        files = [_alloc_page(kernel) for _ in range(self.nr_activated)]
        for pfn in files:
            lru.add_page(pfn)
        lru.drain()
        for pfn in files:
            lru.mark_accessed(pfn)
            lru.mark_accessed(pfn)
        for _ in range(self.nr_added):
            pfn = _alloc_page(kernel)
            kernel.pages.flags_view[pfn] |= PG_SWAPBACKED
            lru.add_page(pfn)


_Vary = Callable[[Phase], list[Phase]]
_VARIATIONS: Final[tuple[_Vary, ...]] = (
    lambda phase: [evolve(phase, nr_added=number) for number in range(PAGEVEC_SIZE)],
    lambda phase: [evolve(phase, nr_activated=number) for number in range(PAGEVEC_SIZE)],
    lambda phase: [evolve(phase, is_child_first=True)],
)
"""What a phase says, one after the other, as it is looked for."""


def _alloc_page(kernel: Kernel) -> int:
    allocator = kernel.allocator
    pfn = allocator.perform(allocator.alloc_pages(0, 0, GFP_HIGHUSER_MOVABLE))
    if pfn is None:
        raise NotModelled("the guest has no memory left")
    return pfn


def validate_faults(path: Path) -> Iterator[CaseResult]:
    """Run one case; raise UserError for a file that is none."""
    case = read_case(path)
    result = _result(case, path)
    result.not_validated = why_not_known(case)
    if result.not_validated is None:
        found = _find_phase(case, path)
        if isinstance(found, CaseResult):
            result = found
        else:
            try:
                _run(case, found, result, stops=False)
            except NotModelled as reason:
                result.not_validated = str(reason)
    yield result


def _find_phase(case: UserlandCase, path: Path) -> Phase | CaseResult:
    """Return the result with a phase that explains everything.

    If there is none, return the phase with which the first difference comes last.
    """
    phase, most = Phase(), -1
    for vary in _VARIATIONS:
        for candidate in vary(phase):
            result = _result(case, path)
            try:
                comparison = _run(case, candidate, result, stops=True)
            except NotModelled:
                return phase
            if result.passed:
                return result
            if result.equal > most:
                phase, most = candidate, result.equal
            if comparison.is_determined:
                break  # Whatever waits in the batches.
    return phase


def _result(case: UserlandCase, path: Path) -> CaseResult:
    return CaseResult(topic=f"userland/{case.topic}", case=case.name, path=str(path))


def _run(
    case: UserlandCase, phase: Phase, result: CaseResult, *, stops: bool
) -> "_FaultComparison":
    comparison = _FaultComparison(case, result, stops)
    run_recorded(case, watch=comparison.look, begin=phase.fill, is_child_first=phase.is_child_first)
    return comparison


@define(eq=False)
class _FaultComparison(Comparison):
    """Compares counters, too."""

    stops: bool
    """At the first difference: what comes later does not tell more."""
    is_determined: bool = field(default=False, init=False)
    """The first difference is of something that no number of waiting pages changes."""

    def look_at(self, machine: RecordedMachine, recorded: dict[str, Any], ours: OpRecord) -> None:
        """Compare an operation of which there is a record."""
        super().look_at(machine, recorded, ours)
        operation = parse_operation(self.case.op_list[recorded["i"]])
        plain = operation.operation if isinstance(operation, op.By) else operation
        counted = recorded.get("vmstat", {})
        if isinstance(plain, _OF_JOURNAL):
            counted = {**counted, "nr_file_pages": None}
        if isinstance(plain, op.Exit):
            # The recorder looks while the process ends: how far it came is up to chance.
            self.result.listed += len(counted)
            return
        change = dict(ours.vmstat)
        if isinstance(plain, op.Kill):
            counted, change = _with_sums(counted), _with_sums(change)
        self._compare_counters(f"ops[{recorded['i']}].vmstat", counted, change)
        if self.stops and self.result.equal < self.result.compared:
            machine.stop()

    def _compare_counters(
        self, place: str, counted: dict[str, Any], change: dict[str, int]
    ) -> None:
        result = self.result
        for names in (_DETERMINED, _PHASE):
            for name in names:
                number = exact(counted.get(name, 0))
                if number is None:
                    result.listed += 1
                else:
                    result.compare(f"{place} {name}", number, change.get(name, 0))
            if names is _DETERMINED:
                self.is_determined = result.equal < result.compared
        result.listed += len(counted.keys() - {*_DETERMINED, *_PHASE})
        result.listed -= bool(counted)  # It was listed as a whole.


def _with_sums(counters: dict[str, Any]) -> dict[str, Any]:
    """Count active pages as inactive ones, and activations not at all.

    When a process ends, pages of its program become active that were used once before: which ones
    is up to the cases before this one.
    """
    changed = dict(counters)
    changed.pop("pgactivate", None)
    for prefix in ("nr_", "nr_zone_"):
        active = exact(changed.pop(f"{prefix}active_anon", 0)) or 0
        inactive = exact(changed.get(f"{prefix}inactive_anon", 0))
        if inactive is not None:
            changed[f"{prefix}inactive_anon"] = inactive + active
    return changed
