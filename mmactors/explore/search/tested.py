"""The function that a test is made of: which can be explored, and which lines of an error are its.

A decorator that runs the test again and again, such as hypothesis's @given, stands above: then each
of its examples is explored. Below, its examples would be one schedule.
"""

import inspect
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from mmactors.errors import Problem, UserError
from mmactors.explore.world.question import kind_of, line_of_test, name_of, place_of

EXPLORED: Final = "mmactors_explored"
"""The attribute of a decorated test that holds the function it was made of."""
_PACKAGE: Final = str(Path(__file__).parents[2])


def must_be_test(function: Any) -> None:
    """Raise UserError unless a world can be built by calling `function`."""
    name = getattr(function, "__qualname__", None) or name_of(function)
    place = place_of(function)
    if place.line is None:
        place = line_of_test()  # It has no line of its own.
        name = name if callable(function) else repr(function)
    if isinstance(function, classmethod | property) or not callable(function):
        kind, advice = f"is a {type(function).__name__}", "put it above @mmactors.explore"
    elif inspect.isclass(function):
        kind, advice = "is a class", "decorate each of its methods"
    elif hasattr(function, EXPLORED):
        kind, advice = "is explored already", "leave one of the two decorators out"
    elif hasattr(function, "hypothesis") or getattr(function, "is_hypothesis_test", False):
        kind = "is @given examples below @mmactors.explore, so that all of them are one schedule"
        advice = "put @given above @mmactors.explore: each example is explored then"
    else:
        makes = kind_of(function)
        if makes is None:
            return
        kind, advice = f"is {makes}", "write def, without yield; its actors are the async functions"
    raise UserError(
        Problem(
            place=place,
            found=f"{name} {kind}",
            legal="expected a plain function that builds the world",
            advice=advice,
        )
    )


def lines_of_test(traceback: TracebackType | None, *, or_all: bool = True) -> TracebackType | None:
    """Return the part of a traceback that begins and ends outside of this package.

    If there is no such part: all of it, or nothing.
    """
    entries = []
    entry = traceback
    while entry is not None:
        entries.append(entry)
        entry = entry.tb_next
    outside = [at for at, entry in enumerate(entries) if not _is_ours(entry)]
    if not outside:
        return traceback if or_all else None
    entries[outside[-1]].tb_next = None
    return entries[outside[0]]


def _is_ours(entry: TracebackType) -> bool:
    return entry.tb_frame.f_code.co_filename.startswith(_PACKAGE)
