"""Calls, faults and waits in words; without control characters, whatever a program's names hold."""

from collections.abc import Iterator
from typing import Final

from attrs import frozen

from mmactors.observe.field_text import error_text
from mmactors.observe.ftrace.names import CONTENTION_FLAGS, PF_INSTR, PF_WRITE, flag_names
from mmactors.observe.history.chain import Doing, Wait
from mmactors.plain_text import plain
from mmactors.units import format_ns

GROUPS_SHOWN: Final = 6
"""So many kinds of waits of one call or fault are shown, those first that took longest."""


@frozen
class Line:
    """A line, and how deep it is in the chain."""

    depth: int
    text: str


def doing_text(doing: Doing) -> str:
    """Return what somebody did."""
    if doing.call is not None:
        error = None if doing.ret is None else error_text(doing.ret)
        return plain(doing.call) + ("" if error is None else f" = {error}")
    code = doing.error_code or 0
    access = "fetch" if code & PF_INSTR else "write" if code & PF_WRITE else "read"
    text = f"{access} fault at 0x{doing.address or 0:x}"
    if doing.kind is not None:
        text += f": {plain(doing.kind)}"
    return text if doing.pfn is None else f"{text}, page 0x{doing.pfn:x}"


def in_text(doing: Doing | None) -> str:
    """Return, in parentheses behind a name, what somebody did; nothing, if nothing is known."""
    return "" if doing is None else f" ({doing_text(doing)})"


def who_text(actor: str | None) -> str:
    """Return somebody's name."""
    return "somebody" if actor is None else plain(actor)


def wait_text(wait: Wait) -> str:
    """Return what was waited for, and whose that was."""
    other = f"{who_text(wait.of)}{in_text(wait.of_doing)}"
    match wait.kind:
        case "lock":
            how = flag_names(wait.flags or 0, CONTENTION_FLAGS)
            return f"{plain(wait.lock or '')} [{how}], held by {other}"
        case "answers":
            ran = "was idle" if wait.of is None else f"ran {other}"
            return (
                f"{cpus_text(wait.cpus)} to answer an interrupt, last CPU {wait.last_cpu}, "
                f"which {ran}"
            )
        case "asleep":
            return "asleep" if wait.of is None else f"asleep, until {other} woke it"
        case "cpu":
            return f"the CPU, which {other} had"
        case _:
            return f"interrupted by {other}"


def cpus_text(cpus: tuple[int, ...]) -> str:
    """Return numbers of CPUs."""
    return f"CPU{'s' if len(cpus) > 1 else ''} {', '.join(map(str, cpus))}"


def wait_lines(waits: tuple[Wait, ...], depth: int = 1) -> Iterator[Line]:
    """Yield lines for waits, below each and further in what its holder waited for meanwhile.

    Those for the same are shown together, with the longest of them; what took longest is first.
    """
    alike: dict[tuple[object, ...], list[Wait]] = {}
    for wait in waits:
        alike.setdefault((wait.kind, wait.lock, wait.of), []).append(wait)
    groups = sorted(alike.values(), key=lambda group: -_total_ns(group))
    for group in groups[:GROUPS_SHOWN]:
        longest = max(group, key=lambda wait: wait.ns)
        times = format_ns(_total_ns(group))
        if len(group) > 1:
            times += f" in {len(group)}, longest {format_ns(longest.ns)}"
        yield Line(depth, f"{times}: {wait_text(longest)}")
        yield from wait_lines(longest.inside, depth + 1)
    rest = [wait for group in groups[GROUPS_SHOWN:] for wait in group]
    if rest:
        yield Line(depth, f"{format_ns(_total_ns(rest))} in {len(rest)} others")


def _total_ns(waits: list[Wait]) -> int:
    return sum(wait.ns for wait in waits)
