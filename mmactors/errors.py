"""Errors for users: each problem says where, what was found, what is legal, and what to try.

Whatever a file holds, the text of a problem has no control characters and a bounded length.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from attrs import field, frozen

from mmactors.limits import (
    FOUND_CHARS_MAX,
    LEGAL_CHARS_MAX,
    PROBLEMS_MAX,
    PROBLEMS_SHOWN_MAX,
)
from mmactors.plain_text import cut, plain

_PATH_CHARS_MAX: Final = 5_000
"""Above PATH_MAX of Linux."""


@frozen
class Place:
    """A place in something the user wrote; line and column count from 1, None if unknown."""

    file: str
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        known = [str(part) for part in (self.line, self.column) if part is not None]
        return ":".join([plain(cut(self.file, _PATH_CHARS_MAX)), *known])


def _found(text: str) -> str:
    return cut(text, FOUND_CHARS_MAX)


def _legal(text: str) -> str:
    return cut(text, LEGAL_CHARS_MAX)


@frozen(kw_only=True)
class Problem:
    """One thing that is wrong in what the user gave us."""

    place: Place
    found: str = field(converter=_found)
    """What stands there, with its name: `zones[1].pages is 0`."""
    legal: str = field(converter=_legal)
    """What may stand there: `expected at least 1`."""
    advice: str = field(converter=_found)
    """What to try: `did you mean 1024?`."""

    def __str__(self) -> str:
        return f"{self.place}: {plain(f'{self.found}; {self.legal} ({self.advice})')}"


class UserError(Exception):
    """The user's input is wrong; the program ends with exit code 2 and no traceback."""

    def __init__(self, problems: Problem | Iterable[Problem]) -> None:
        self.problems = (problems,) if isinstance(problems, Problem) else tuple(problems)
        assert self.problems, "a UserError needs at least one problem"
        shown = self.problems[:PROBLEMS_SHOWN_MAX]
        rest = len(self.problems) - len(shown)
        super().__init__("\n".join([*map(str, shown), *([f"and {rest:,} more"] if rest else [])]))


def must_be_few(problems: Sequence[Problem]) -> None:
    """Raise UserError if there are so many problems that nobody wants to see more of them."""
    if len(problems) >= PROBLEMS_MAX:
        more = Problem(
            place=Place(problems[0].place.file),
            found=f"{PROBLEMS_MAX:,} problems, and not all of it was looked at",
            legal="expected none",
            advice="mend these first",
        )
        raise UserError([*problems, more])
