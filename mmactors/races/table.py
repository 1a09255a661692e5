"""The gallery as text: a line an entry, the table at the end, and a page for docs/."""

from collections.abc import Sequence
from typing import Any, Final

from mmactors.explore.search.outside_text import lines as outside_lines
from mmactors.explore.search.outside_text import names_text, of_race
from mmactors.explore.search.verdict import Verdict
from mmactors.races.pair import Half, PairResult
from mmactors.races.provenance import measured_at

_WIDTH: Final = 110
"""Columns of a schedule in the gallery."""
COLUMNS = ("id", "title", "buggy kernel", "shrunk to", "replayed", "right kernel")


def row(result: PairResult) -> tuple[str, ...]:
    """Return the cells of an entry."""
    return (
        result.race.id or "",
        result.race.title or "",
        _found(result.broken),
        _shrunk(result.broken),
        f"{result.nr_replayed} of {result.broken.nr_replays}" if result.broken is not None else "",
        _right(result.right),
    )


def line(path: str, result: PairResult) -> str:
    """Return an entry as one line."""
    problems = result.problems()
    right = result.right.verdict
    what = [f"right: {_right(result.right)}"]
    if right.outside:
        what.append(names_text(right.outside))
    if result.broken is not None:
        what.insert(0, f"buggy: {_found(result.broken)}, {_shrunk(result.broken)}")
    verdict = "DIFFERS" if problems else "ok"
    return "; ".join([f"{verdict:<8} {path}: {what[0]}", *what[1:], *problems])


def outside_scope(result: PairResult) -> str:
    """Return what is shared outside the scope, who does what to it, and what to write instead."""
    verdict = result.right.verdict
    return "\n".join(outside_lines(verdict.outside, of_race(verdict.wider_scope)))


def markdown(results: Sequence[tuple[str, PairResult]]) -> str:
    """Return the gallery as a page: the table, then each entry's story and schedule."""
    lines = ["# A gallery of real races", ""]
    lines += [_INTRODUCTION, ""]
    lines += [f"| {' | '.join(COLUMNS)} |", f"|{'---|' * len(COLUMNS)}"]
    for _, result in results:
        cells = list(row(result))
        cells[0] = f"[{cells[0]}](#{_anchor(result)})"
        lines.append(f"| {' | '.join(cells)} |")
    commit = measured_at()
    for path, result in results:
        lines += ["", *_entry(path, result, commit)]
    return "\n".join(lines) + "\n"


def as_json(path: str, result: PairResult) -> dict[str, Any]:
    """Return an entry as an object of JSON."""
    return {
        "path": path,
        "id": result.race.id,
        "title": result.race.title,
        "problems": result.problems(),
        "broken": None if result.broken is None else _half_as_json(result.broken),
        "replayed": result.nr_replayed,
        "right": _half_as_json(result.right),
    }


_INTRODUCTION = """\
Each entry is a published bug: a rule of `mmactors/rules.py` that the kernel of the time did not
keep, or the C library (M1 to M7), and a scenario in `configs/races/`. What is tried is `mmactors
explore configs/races/*.yaml`: it finds every bug, replays it, and tries all schedules of the right
kernel within the same scope; this page is what it prints with `--markdown`. Times are processor
seconds on one core, with set-up and shrinking; each entry names the commit whose figures they are,
which the ordinary tests do not measure again.

A schedule is read from top to bottom. Each thread has a column; in brackets stands the call that it
begins, below it the step that it takes; a star marks a preemption. Beside it stands what the step
found (`is`) and what it changed (`before → after`). `A+0` is the first byte of what the program
calls A; `rw`, `ro`, `young` and `dirty` are bits of an entry; page flags have Linux's names. Lines
that no law, check or other actor has to do with are left out: `mmactors explore FILE -v` shows
them, and `--html` draws the schedule."""


def _entry(path: str, result: PairResult, commit: str) -> list[str]:
    race = result.race
    lines = [f"## {race.id}: {race.title}", "", (race.story or "").strip(), ""]
    if race.bug:
        lines.append(f"- Bug: {race.bug}")
    if race.fix:
        lines.append(f"- Fix: {race.fix}")
    if race.broken:
        lines.append(f"- Rule: `{'`, `'.join(race.broken)}`")
    scope = ", ".join(f"`{name}`" for name in race.scope) or "every step"
    lines.append(f"- Scope: {scope}; the bug is looked for in {race.budget:,} schedules")
    if race.look_at:
        lines.append(f"- Look at: {race.look_at}")
    lines.append(f"- Right kernel, measured at {commit}: {_right(result.right)}")
    if not race.exhausts:
        lines.append(f"- Right kernel sampled: {race.why_sampled}")
    outside = result.right.verdict.outside
    if outside:
        lines.append(f"- {names_text(outside).capitalize()}")
    lines += [f"- Scenario: `{path}`"]
    if result.broken is not None and result.broken.verdict.failure is not None:
        lines += ["", "```", result.broken.verdict.failure.story.told(width=_WIDTH), "```"]
    return lines


def _anchor(result: PairResult) -> str:
    text = f"{result.race.id}: {result.race.title}".lower()
    return "".join(letter for letter in text if letter.isalnum() or letter in " -_").replace(
        " ", "-"
    )


def _found(half: Half | None) -> str:
    if half is None:
        return ""
    failure = half.verdict.failure
    if failure is None:
        return f"nothing found in {_schedules(half.verdict)}"
    kept = ", kept from an earlier search" if failure.earlier is not None else ""
    return f"{failure.broken.kind.value} in {failure.at_schedule:,}{kept}, {half.cpu_seconds:.1f} s"


def _shrunk(half: Half | None) -> str:
    failure = None if half is None else half.verdict.failure
    if failure is None:
        return ""
    plural = "" if failure.nr_preemptions == 1 else "s"
    return f"{failure.nr_preemptions} preemption{plural}"


def _right(half: Half) -> str:
    verdict = half.verdict
    missed = f", never happened: {', '.join(verdict.missed)}" if verdict.missed else ""
    return f"{verdict.outcome.value}: {_schedules(verdict)}, {half.cpu_seconds:.1f} s{missed}"


def _schedules(verdict: Verdict) -> str:
    return f"{verdict.nr_schedules:,} schedule{'' if verdict.nr_schedules == 1 else 's'}"


def _half_as_json(half: Half) -> dict[str, Any]:
    return {"cpu_seconds": round(half.cpu_seconds, 3), **half.verdict.as_json()}
