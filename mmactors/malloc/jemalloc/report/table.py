"""Tables as jemalloc prints them: columns that are filled up with blanks (emitter.h, 5.3.0)."""

from collections.abc import Sequence

from attrs import frozen

from mmactors.units import ULONG_MAX


@frozen
class Column:
    """A column: its name, and how wide it is; what is wider takes the room it needs."""

    name: str
    width: int
    is_left: bool = False

    def show(self, value: str | int) -> str:
        """Return a value as it stands in the column; numbers have no sign."""
        text = value if isinstance(value, str) else str(value & ULONG_MAX)
        return text.ljust(self.width) if self.is_left else text.rjust(self.width)


def row_of(columns: Sequence[Column], values: Sequence[str | int]) -> str:
    """Return a row, which is a line."""
    shown = (column.show(value) for column, value in zip(columns, values, strict=True))
    return "".join(shown) + "\n"


def header_of(columns: Sequence[Column], label: str = "") -> str:
    """Return the line of names; `label` stands in the first column's room, at its begin."""
    line = row_of(columns, [column.name for column in columns])
    return label + line[len(label) :]
