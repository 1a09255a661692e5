"""The names in `race.scope`: each has to be that of an object which the machine has, or may get."""

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Final

from mmactors import label
from mmactors.engine.wait_queue import WaitQueue
from mmactors.errors import Place, Problem, UserError

_NUMBER: Final = re.compile(r"0x[0-9a-f]+|\d+")
_COLUMNS: Final = frozenset(
    value for name, value in vars(label).items() if name.isupper() and isinstance(value, str)
)
"""Objects of a machine that are no locks and no mailboxes."""
_MADE_LATER: Final = frozenset(
    {"ptl", "anon_vma->rwsem #", "i_rwsem", "i_mmap_rwsem", "hb->lock", "futex_wake"}
)
"""Locks of what may come into being only in the race."""
_ALSO_CALLED: Final = {
    "folio": label.PAGES, "folios": label.PAGES, "mmap_sem": "mmap_lock", "pgd": label.PAGE_TABLES,
    "pmd": label.PAGE_TABLES, "pte": label.PAGE_TABLES, "ptes": label.PAGE_TABLES,
}  # fmt: skip


def must_be_known(scope: Iterable[str], registered: Mapping[str, object]) -> None:
    """Raise UserError if a name is none of an object; `registered`: locks, queues and mailboxes.

    A lock of a number that there is not yet may still be made.
    """
    kinds = {_kind_of(name) for name in registered} | _COLUMNS | _MADE_LATER
    unknown = [name for name in scope if _kind_of(name) not in kinds]
    if unknown:
        names = [name for name, thing in registered.items() if not isinstance(thing, WaitQueue)]
        shown = sorted({*_COLUMNS, "ptl", *(name.partition("[")[0] for name in names)})
        raise UserError(
            Problem(
                place=Place("race.scope"),
                found=f"{name!r} names no object of this machine",
                legal=f"expected names such as {', '.join(shown)}",
                advice=_advice(name, shown),
            )
            for name in unknown
        )


def _kind_of(name: str) -> str:
    """Return the column, or a lock's name without its number."""
    return _NUMBER.sub("#", name.partition("[")[0])


def _advice(name: str, known: list[str]) -> str:
    column = name.partition("[")[0]
    near = [_ALSO_CALLED[column]] if column in _ALSO_CALLED else []
    near = near or get_close_matches(name, known, n=1) or get_close_matches(column, known, n=1)
    return f"did you mean {near[0]}?" if near else "docs/gallery.md shows the scopes of many races"
