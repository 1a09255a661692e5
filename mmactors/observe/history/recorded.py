"""What a log must hold so that a question has an answer; a log may leave events out."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from mmactors.errors import Place, Problem, UserError
from mmactors.observe.history.read import LogHistory

LOCKS: Final = ("contention_begin", "contention_end")
ANSWERS: Final = ("ipi_send", "ipi_handled")
FAULTS: Final = ("page_fault_user", "page_fault_kernel", "page_fault_end")
CALLS: Final = ("sys_enter", "sys_exit")
SWITCHES: Final = ("sched_switch", "sched_waking")

_MEANINGS: Final = {
    LOCKS: "waits for locks",
    ANSWERS: "interrupts of other CPUs",
    FAULTS: "page faults",
    CALLS: "calls",
    SWITCHES: "sleeps and waits for a CPU",
}
_GLOBS: Final = {
    LOCKS: "contention_*",
    ANSWERS: "ipi_*",
    FAULTS: "page_fault_*",
    CALLS: "sys_*",
    SWITCHES: "sched_*",
}

Group = tuple[str, ...]


def _is_left_out(history: LogHistory, group: Group) -> bool:
    """Return whether a log that leaves events out has none of these."""
    return history.is_filtered and history.events_seen.isdisjoint(group)


def require(path: Path, history: LogHistory, *groups: Group) -> None:
    """Raise UserError if a log leaves events out, and has none of any of these groups."""
    if all(_is_left_out(history, group) for group in groups):
        raise UserError(
            Problem(
                place=Place(str(path)),
                found="the log leaves events out, and has no "
                + ", ".join(name for group in groups for name in group),
                legal=f"expected a log of {' or '.join(_MEANINGS[group] for group in groups)}",
                advice="run it again with record: {events: ["
                + ", ".join(f"'{glob}'" for glob in _GLOBS.values())
                + "]}, or with all events",
            )
        )


def notes(history: LogHistory, *groups: Group) -> Iterator[str]:
    """Yield what an answer lacks, and what a run would have to record."""
    for group in groups:
        if _is_left_out(history, group):
            yield (f"{_MEANINGS[group]} are not recorded: add '{_GLOBS[group]}' to record: events")
    if history.totals.unended:
        yield f"{history.totals.unended} waits were not over when the log ends"
