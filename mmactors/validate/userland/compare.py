"""Comparing what a model gave with what was recorded: operations, texts, sizes.

Which values are determined, and which depend on the machine's hidden state or on the recorder, is
what the recordings' README says.
"""

from typing import Any, Final

from mmactors.arch.page import PageColumns
from mmactors.mm.area.mm_struct import MmStruct
from mmactors.mm.area.overcommit import Overcommit
from mmactors.observe.proc.of_vma import smaps_of_vma, view_of_vma
from mmactors.observe.proc.process import maps_text, smaps_rollup_text
from mmactors.units import KIB, PAGE_SIZE
from mmactors.validate.result import CaseResult
from mmactors.validate.userland.case import exact, kb_of_text
from mmactors.validate.userland.userland_interpreter import OpResult

_PAGE_KIB: Final = PAGE_SIZE // KIB
_STATUS_ROWS: Final = ("VmSize", "VmData", "VmStk", "VmLck", "VmPTE")
_ROLLUP_ROWS: Final = (
    "Rss",
    "Pss",
    "Pss_Anon",
    "Pss_File",
    "Pss_Shmem",
    "Private_Clean",
    "Private_Dirty",
    "Anonymous",
    "Locked",
)
"""Not the dirty part of shared pages, which the recorder writes while it records; not Referenced,
which also tells what the recorder read; not LazyFree, which waits in a batch."""
_NOT_VALUES: Final = frozenset(("i", "op", "by", "ret", "sig", "sicode", "siaddr", "dead"))
_COMPARED: Final = frozenset(("minflt", "majflt", "child_settle_minflt", "status_kb", "rollup_kb"))


def compare_op(result: CaseResult, place: str, recorded: dict[str, Any], ours: OpResult) -> None:
    """Compare result, faults and signal of an operation; list its counters."""
    if "ret" not in recorded:
        # Nothing is told of an operation that ends who does it.
        return
    ret = exact(recorded["ret"])
    if ret is None:
        result.listed += 1
    else:
        result.compare(f"{place}.ret", ret, ours.ret)
    result.compare(f"{place}.dead", bool(recorded.get("dead", False)), ours.is_dead)
    for name, value in (
        ("minflt", ours.minflt),
        ("majflt", ours.majflt),
        ("child_settle_minflt", ours.child_settle_minflt),
    ):
        number = exact(recorded.get(name))
        if number is not None:
            result.compare(f"{place}.{name}", number, value)
        elif name in recorded:
            result.listed += 1
    signal = ours.signal
    our_signal = None if signal is None else (signal.number, signal.code, signal.address)
    recorded_signal = None
    if "sig" in recorded:
        recorded_signal = tuple(exact(recorded[name]) for name in ("sig", "sicode", "siaddr"))
    result.compare(f"{place}.sig", recorded_signal, our_signal)
    result.listed += len(recorded.keys() - _NOT_VALUES - _COMPARED)


def compare_sizes(
    result: CaseResult, place: str, recorded: dict[str, Any], mm: MmStruct, pages: PageColumns
) -> None:
    """Compare the sizes of an address space after an operation, if they were recorded."""
    if "status_kb" in recorded:
        _compare_rows(
            result, f"{place}.status_kb", recorded["status_kb"], status_kb(mm), _STATUS_ROWS
        )
    if "rollup_kb" in recorded:
        ours = rollup_kb(mm, pages)
        _compare_rows(result, f"{place}.rollup_kb", recorded["rollup_kb"], ours, _ROLLUP_ROWS)


def compare_status(result: CaseResult, place: str, recorded: str, mm: MmStruct) -> None:
    """Compare a status text."""
    _compare_rows(result, place, kb_of_text(recorded), status_kb(mm), _STATUS_ROWS)


def compare_maps(result: CaseResult, place: str, recorded: str, mm: MmStruct) -> None:
    """Compare a maps text line by line, and the number of lines."""
    ours = maps_text(view_of_vma(mm, vma) for vma in mm.tree).splitlines()
    lines = recorded.splitlines()
    for nth, (recorded_line, our_line) in enumerate(zip(lines, ours, strict=False)):
        result.compare(f"{place} line {nth}", recorded_line, our_line)
    result.compare(f"{place} lines", len(lines), len(ours))


def compare_meminfo(result: CaseResult, place: str, recorded: str, overcommit: Overcommit) -> None:
    """Compare the promises of memory in a meminfo text; list the rest."""
    ours = {
        "Committed_AS": overcommit.committed * _PAGE_KIB,
        "CommitLimit": overcommit.vm_commit_limit() * _PAGE_KIB,
    }
    _compare_rows(result, place, kb_of_text(recorded), ours, tuple(ours))


def status_kb(mm: MmStruct) -> dict[str, int]:
    """Return the rows of /proc/pid/status that are exact at any time."""
    return {
        "VmSize": mm.total_vm * _PAGE_KIB,
        "VmData": mm.data_vm * _PAGE_KIB,
        "VmStk": mm.stack_vm * _PAGE_KIB,
        "VmLck": mm.locked_vm * _PAGE_KIB,
        "VmPTE": mm.pgtables_bytes // KIB,
    }


def rollup_kb(mm: MmStruct, pages: PageColumns) -> dict[str, int]:
    """Return the rows of /proc/pid/smaps_rollup."""
    views = [view_of_vma(mm, vma, smaps_of_vma(mm, vma, pages)) for vma in mm.tree]
    return kb_of_text(smaps_rollup_text(views))


def _compare_rows(
    result: CaseResult,
    place: str,
    recorded: dict[str, Any],
    ours: dict[str, int],
    rows: tuple[str, ...],
) -> None:
    """Compare rows; one that is absent is 0, and all rows but these are listed."""
    for name in rows:
        number = exact(recorded.get(name, 0))
        if number is None:
            result.listed += 1
        else:
            result.compare(f"{place} {name}", number, ours[name])
    result.listed += len(recorded.keys() - set(rows))
