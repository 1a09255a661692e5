"""Tuples and mappings of frozen values that a notebook shows as tables."""

from collections.abc import Iterable, Mapping
from html import escape
from typing import Any, Final, TypeVar

from attrs import fields

T = TypeVar("T")

_ROWS_MAX: Final = 200
"""A notebook shows so many; the tuple has all."""


class Table(tuple[T, ...]):
    """A tuple of values of one class; in a notebook a table with a column for each field."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        names = _names(self[0]) if self else ()
        rows = ([_text(getattr(value, name)) for name in names] for value in self[:_ROWS_MAX])
        return html_table(names, rows, nr_left=max(0, len(self) - _ROWS_MAX))


def html_table(names: Iterable[str], rows: Iterable[Iterable[str]], *, nr_left: int = 0) -> str:
    """Return an HTML table; `nr_left` rows are only counted."""
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    rest = f"<p>and {nr_left} more</p>" if nr_left else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{rest}"


def _names(value: Any) -> tuple[str, ...]:
    return tuple(field.name for field in fields(type(value)) if field.repr)


def _text(value: Any) -> str:
    match value:
        case None:
            return ""
        case Mapping():
            return ", ".join(f"{key} {_text(item)}" for key, item in value.items())
        case tuple():
            return " ".join(map(_text, value))
        case _:
            return str(value)
