"""What the verbs that print tables share: the console, and how many rows a table has."""

import os
import sys

from rich.console import Console, RenderableType

from mmactors.errors import Place, Problem, UserError

FILE_COLUMNS = 120
"""How wide tables are in a file or a pipe, if COLUMNS does not say it."""


def show(*parts: RenderableType) -> None:
    """Print texts and tables to stdout, as they are: no markup, and no blanks at ends of lines."""
    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else FILE_COLUMNS
    console = Console(file=sys.stdout, width=width, markup=False, highlight=False, emoji=False)
    for part in parts:
        with console.capture() as capture:
            console.print(part)
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
