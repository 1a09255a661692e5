"""The story of a failing schedule: what broke, and the steps that break it."""

import textwrap
from typing import Final

from attrs import frozen

from mmactors.explore.execution.broken import Broken, Kind
from mmactors.explore.report.rows import Lane, Row
from mmactors.explore.report.table import table

DEFAULT_WIDTH: Final = 100
"""Columns of a report that nobody asked for at a width of theirs."""


@frozen(kw_only=True)
class Story:
    """All that there is to say about one failing schedule."""

    broken: Broken
    text: str
    """What the law or the check said, for people."""
    rows: tuple[Row, ...]
    lanes: tuple[Lane, ...]
    nr_preemptions: int
    is_least: bool

    def told(self, *, width: int = DEFAULT_WIDTH, is_verbose: bool = False) -> str:
        """Return what broke and the schedule, at most `width` columns wide."""
        steps, nr_hidden = table(self.rows, self.lanes, width=width, is_verbose=is_verbose)
        prose = [line for text in self.text.splitlines() for line in _folded(text, width)]
        lines = [*_folded(f"{self.broken.kind.value}: {self.broken.law}", width), *prose]
        lines += ["", steps, ""]
        if nr_hidden:
            plural = "" if nr_hidden == 1 else "s"
            hidden = f"{nr_hidden} line{plural} hidden: no law, check or other actor has to do with"
            lines += _folded(f"{hidden} them; -v shows all", width)
        lines += _folded(self.summary(), width)
        return "\n".join(lines)

    def summary(self) -> str:
        """Return how much it takes to break it."""
        number = self.nr_preemptions
        least = (
            "no schedule with fewer breaks it"
            if self.is_least and number
            else "the fewest that were found"
        )
        needs = f"{self.nr_steps} step{'' if self.nr_steps == 1 else 's'}, "
        needs += f"{number} preemption{'' if number == 1 else 's'}"
        if number:
            needs += f" (*), {least}"
        if self.broken.kind is Kind.LIVELOCK:
            needs += "; then it goes on like this for ever"
        return needs

    @property
    def nr_steps(self) -> int:
        """How many steps were taken, those included that are not shown."""
        return self.rows[-1].number if self.rows else 0


def _folded(line: str, width: int) -> list[str]:
    """Return a line in lines that fit; what follows the first stands further in."""
    depth = len(line) - len(line.lstrip())
    inner = " " * min(depth + 4, width // 2)
    return textwrap.wrap(line, max(width, 20), subsequent_indent=inner) or [""]
