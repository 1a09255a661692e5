"""The only way of the verbs to a terminal, and what those that print tables share.

What is said here comes out of files: names, paths, values. None of it controls the terminal; what
is escaped is escaped here (`plain_text.py`) and nowhere before.
"""

import os
import sys

from attrs import frozen
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.segment import Segment

from mmactors.errors import Place, Problem, UserError
from mmactors.plain_text import plain_json, plain_lines

FILE_COLUMNS = 120
"""How wide tables are in a file or a pipe, if COLUMNS does not say it."""


def say(text: str) -> None:
    """Write lines to stdout."""
    sys.stdout.write(plain_lines(text))


def say_json(text: str) -> None:
    """Write lines of JSON to stdout; they mean the same."""
    sys.stdout.write(plain_json(text))


def complain(text: str) -> None:
    """Write lines to stderr."""
    sys.stderr.write(plain_lines(text))


@frozen
class Plain:
    """What rich draws, without anything that the drawn texts themselves would do."""

    part: RenderableType

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for text, style, control in console.render(self.part, options):
            yield Segment(plain_lines(text), style, control)


def show(*parts: RenderableType) -> None:
    """Print texts and tables to stdout, as they are: no markup, and no blanks at ends of lines."""
    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else FILE_COLUMNS
    console = Console(file=sys.stdout, width=width, markup=False, highlight=False, emoji=False)
    for part in parts:
        with console.capture() as capture:
            console.print(Plain(part))
        sys.stdout.write("".join(f"{line.rstrip()}\n" for line in capture.get().splitlines()))


def row_count(number: int) -> int:
    """Return how many rows were asked for; raise UserError."""
    if number < 1:
        raise UserError(
            Problem(
                place=Place("-n"),
                found=f"{number} rows",
                legal="expected at least 1",
                advice="leave -n away for 10",
            )
        )
    return number
