"""Errors for users: each problem says where, what was found, what is legal, and what to try."""

from collections.abc import Iterable

from attrs import frozen


@frozen
class Place:
    """A place in something the user wrote; line and column count from 1, None if unknown."""

    file: str
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        known = [str(part) for part in (self.line, self.column) if part is not None]
        return ":".join([self.file, *known])


@frozen(kw_only=True)
class Problem:
    """One thing that is wrong in what the user gave us."""

    place: Place
    found: str
    """What stands there, with its name: `zones[1].pages is 0`."""
    legal: str
    """What may stand there: `expected at least 1`."""
    advice: str
    """What to try: `did you mean 1024?`."""

    def __str__(self) -> str:
        return f"{self.place}: {self.found}; {self.legal} ({self.advice})"


class UserError(Exception):
    """The user's input is wrong; the program ends with exit code 2 and no traceback."""

    def __init__(self, problems: Problem | Iterable[Problem]) -> None:
        self.problems = (problems,) if isinstance(problems, Problem) else tuple(problems)
        assert self.problems, "a UserError needs at least one problem"
        super().__init__("\n".join(map(str, self.problems)))
