"""Comparing what a model gave with what was recorded: operations, texts, sizes.

Which values are determined, and which depend on the machine's hidden state or on the recorder, is
what the recordings' README says.
"""

from typing import Any, Final

from mmactors.actors.program.process import Process
from mmactors.observe.proc.of_process import view_of_process
from mmactors.observe.proc.process import maps_text, smaps_rollup_text, status_text
from mmactors.validate.result import CaseResult
from mmactors.validate.userland.case import exact, kb_of_text
from mmactors.validate.userland.machine import OpRecord, RecordedMachine

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


def compare_op(result: CaseResult, place: str, recorded: dict[str, Any], ours: OpRecord) -> None:
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
    recorded_signal = None
    if "sig" in recorded:
        recorded_signal = tuple(exact(recorded[name]) for name in ("sig", "sicode", "siaddr"))
    result.compare(f"{place}.sig", recorded_signal, ours.signal)
    result.listed += len(recorded.keys() - _NOT_VALUES - _COMPARED)


def compare_sizes(
    result: CaseResult, place: str, recorded: dict[str, Any], process: Process
) -> None:
    """Compare the sizes of an address space after an operation, if they were recorded."""
    if "status_kb" not in recorded and "rollup_kb" not in recorded:
        return
    view = view_of_process(process)
    if "status_kb" in recorded:
        ours = kb_of_text(status_text(view))
        _compare_rows(result, f"{place}.status_kb", recorded["status_kb"], ours, _STATUS_ROWS)
    if "rollup_kb" in recorded and view.mm is not None:
        ours = kb_of_text(smaps_rollup_text(view.mm.vmas))
        _compare_rows(result, f"{place}.rollup_kb", recorded["rollup_kb"], ours, _ROLLUP_ROWS)


def compare_text(
    result: CaseResult, place: str, text: dict[str, Any], machine: RecordedMachine, process: Process
) -> None:
    """Compare a text that was read after an operation; list it if nothing of it is determined."""
    content = text.get("text")
    place = f"{place} {text['file']}"
    if text["file"] == "/proc/self/maps" and text.get("same_in_all_runs") and content:
        _compare_maps(result, place, content, process)
    elif text["file"] == "/proc/meminfo" and content:
        _compare_meminfo(result, place, content, machine)
    else:
        result.listed += 1


def compare_end(result: CaseResult, machine: RecordedMachine) -> None:
    """Compare the texts that were read when the list was done."""
    end = machine.case.end
    maps, status = end.get("maps"), end.get("status")
    if isinstance(maps, str) and end.get("maps_same_in_all_runs", True):
        _compare_maps(result, "end.maps", maps, machine.first)
    if isinstance(status, str):
        ours = kb_of_text(status_text(view_of_process(machine.first)))
        _compare_rows(result, "end.status", kb_of_text(status), ours, _STATUS_ROWS)
    result.listed += len(end.keys() - {"maps", "maps_same_in_all_runs", "status"})


def _compare_maps(result: CaseResult, place: str, recorded: str, process: Process) -> None:
    """Compare a maps text line by line, and the number of lines."""
    mm = view_of_process(process).mm
    ours = [] if mm is None else maps_text(mm.vmas).splitlines()
    lines = recorded.splitlines()
    for nth, (recorded_line, our_line) in enumerate(zip(lines, ours, strict=False)):
        result.compare(f"{place} line {nth}", recorded_line, our_line)
    result.compare(f"{place} lines", len(lines), len(ours))


def _compare_meminfo(
    result: CaseResult, place: str, recorded: str, machine: RecordedMachine
) -> None:
    """Compare the promises of memory in a meminfo text; list the rest."""
    ours = kb_of_text(machine.wired.texts()["meminfo"])
    _compare_rows(result, place, kb_of_text(recorded), ours, ("Committed_AS", "CommitLimit"))


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
            result.compare(f"{place} {name}", number, ours.get(name, 0))
    result.listed += len(recorded.keys() - set(rows))
