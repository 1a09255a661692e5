"""Recorded shootdowns and uses of mmap_lock: userland/tlb and userland/mmap_lock on the machine.

Compared for each operation: interrupts received by each CPU, tlb_flush events, page faults, and
the tracepoints of mmap_lock. A number that all runs gave must be equal; one that varied must lie
within what was recorded. Reasons and pages of flushes are those of one more run, which was traced;
they are compared, in any order, where that run had as many of them as all others.

While an operation that nobody waits for (`T1& churn ...`) runs beside others, what one operation
counts is how far the others came until the recorder looked: such numbers are listed, also where
three runs gave the same. What the case as a whole counts does not depend on that: page faults,
times that mmap_lock was released, and downgrades are compared.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from mmactors.validate.result import CaseResult, NotModelled
from mmactors.validate.userland.case import UserlandCase, exact, read_case
from mmactors.validate.userland.case_form import FLUSH_EVENT
from mmactors.validate.userland.machine import OpRecord, run_recorded
from mmactors.validate.userland.vma import why_not_known
from mmactors.workload.operation import all as op
from mmactors.workload.operation.all import parse_operation

_FLUSH: Final = "tlb:tlb_flush"
_START_LOCKING: Final = "mmap_lock:mmap_lock_start_locking"
_ACQUIRE_RETURNED: Final = "mmap_lock:mmap_lock_acquire_returned"
_RELEASED: Final = "mmap_lock:mmap_lock_released"
_PAGE_FAULT: Final = "exceptions:page_fault_user"
_HUGE_PAGES: Final = "/sys/kernel/mm/transparent_hugepage/enabled"
_END_LOCKS: Final = 3
"""How often the recorder takes mmap_lock after the last operation: it reads its maps in two pieces,
the second of which is empty, and its smaps_rollup."""


def validate_tlb(path: Path) -> Iterator[CaseResult]:
    """Run one case; raise UserError for a file that is none."""
    case = read_case(path)
    result = CaseResult(topic=f"userland/{case.topic}", case=case.name, path=str(path))
    result.not_validated = _why_not(case)
    if result.not_validated is None:
        ours: dict[int, OpRecord] = {}
        try:
            run_recorded(case, watch=lambda _machine, nth, record: ours.update({nth: record}))
        except NotModelled as reason:
            result.not_validated = str(reason)
        else:
            _compare_all(result, case, ours)
    yield result


def _compare_all(result: CaseResult, case: UserlandCase, ours: dict[int, OpRecord]) -> None:
    nothing = OpRecord(shootdowns=[0] * case.vcpus)
    racing = _racing(case.op_list)
    for recorded in case.ops:
        nth = recorded["i"]
        _compare_op(result, case, recorded, ours.get(nth, nothing), is_racing=nth in racing)
    if racing:
        _compare_totals(result, case, list(ours.values()))


def _why_not(case: UserlandCase) -> str | None:
    unknown = why_not_known(case)
    if unknown is not None:
        return unknown
    for setting in case.settings:
        name, _, value = setting.partition(" ")
        if name == _HUGE_PAGES and value != "never":
            return "huge pages are not modelled yet"
    return None


def _racing(op_list: list[str]) -> set[int]:
    """Return which operations run while another does that nobody waits for."""
    racing = set()
    running: set[str] = set()
    for nth, text in enumerate(op_list):
        operation = parse_operation(text)
        if isinstance(operation, op.By):
            running.discard(operation.name)  # It is waited for before it gets something new.
            if not operation.waits and not isinstance(operation.operation, op.Spin):
                running.add(operation.name)
        if running:
            racing.add(nth)
        if isinstance(operation, op.Wait):
            running.clear()
    return racing


def _compare_op(
    result: CaseResult,
    case: UserlandCase,
    recorded: dict[str, Any],
    ours: OpRecord,
    *,
    is_racing: bool,
) -> None:
    counted = recorded.get("tp", {})
    numbers: dict[str, tuple[object, int]] = {
        f"TLB of cpu{cpu}": (number, ours.shootdowns[cpu])
        for cpu, number in enumerate(recorded["irq"]["TLB"])
    }
    for name, our_number in (
        (_FLUSH, len(ours.flushes)),
        (_START_LOCKING, ours.start_locking),
        (_ACQUIRE_RETURNED, ours.acquire_returned),
        (_RELEASED, ours.released),
    ):
        numbers[name] = counted.get(name, 0), our_number
    numbers["pgfault"] = recorded.get("vmstat", {}).get("pgfault", 0), ours.vmstat["pgfault"]
    events = case.events.get(recorded["i"], [])
    if is_racing:
        result.listed += len(numbers) + len(events)
        return
    place = f"ops[{recorded['i']}] {recorded['op']}"
    for name, (number, our_number) in numbers.items():
        _compare(result, f"{place}: {name}", number, our_number)
    flushes = [flush for text in events if (flush := _flush_of_text(text)) is not None]
    if len(flushes) == len(events) == counted.get(_FLUSH, 0):
        result.compare(f"{place}: flushes", sorted(flushes), sorted(ours.flushes))
    else:
        result.listed += len(events)


def _compare_totals(result: CaseResult, case: UserlandCase, ours: list[OpRecord]) -> None:
    """Compare what a case with races counts in all."""
    totals = {
        "pgfault": sum(counts.vmstat["pgfault"] for counts in ours),
        _PAGE_FAULT: sum(counts.page_fault_user for counts in ours),
        _RELEASED: sum(counts.released for counts in ours) + _END_LOCKS,
    }
    for name, number in totals.items():
        recorded = exact(case.totals.get(name))
        if recorded is None:
            result.listed += 1
        else:
            result.compare(f"case: {name}", recorded, number)
    started, returned = case.totals.get(_START_LOCKING), case.totals.get(_ACQUIRE_RETURNED)
    if isinstance(started, list) and isinstance(returned, list):
        # Each varies, their difference does not: it is the number of downgrades.
        recorded_downgrades = {late - early for early, late in zip(started, returned, strict=True)}
        downgrades = sum(counts.acquire_returned - counts.start_locking for counts in ours)
        result.compare("case: downgrades", recorded_downgrades, {downgrades})


def _compare(result: CaseResult, place: str, recorded: object, ours: int) -> None:
    """Compare a number, or the range in which all runs had it."""
    if isinstance(recorded, int):
        result.compare(place, recorded, ours)
        return
    assert isinstance(recorded, list), f"{place} is {recorded!r}"
    low, _, high = recorded
    result.compare(f"{place} within {recorded}", ours if low <= ours <= high else recorded, ours)


def _flush_of_text(text: str) -> tuple[int, int, int] | None:
    """Return CPU, reason and pages of a tlb_flush event; None for another one."""
    match = FLUSH_EVENT.fullmatch(text)
    if match is None:
        return None
    cpu, pages, reason = map(int, match.groups())
    return cpu, reason, pages
