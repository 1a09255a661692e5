"""Caches that a recorder asked for, and what was made of them: read alike for all allocators."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from mmactors.validate.document import describe
from mmactors.validate.form import Either, Form, ListOf, Problems, Text, Whole

SIZE_MAX: Final = 1 << 22
CACHES_MAX: Final = 64
_FLAGS_MAX: Final = 31
_ASKED: Final = re.compile(r"(\d{1,7})/(\d{1,7})/(\d{1,2})")
CACHES_ASKED: Final = ListOf(ListOf(Whole(0, SIZE_MAX), minimum=3, maximum=3), maximum=CACHES_MAX)
"""Size, alignment and the recorder's flags of each cache."""
CREATED: Final[dict[str, Form]] = {
    "created_columns": ListOf(Text(chars_max=64), maximum=64),
    "created": ListOf(ListOf(Either(number=Whole(), text=Text())), maximum=20_000),
}
"""The caches of `params`, as rows."""


def asked_of(text: str) -> tuple[int, int, int] | None:
    """Return what `size/align/flags` means, None: nothing."""
    match = _ASKED.fullmatch(text)
    if match is None:
        return None
    asked = int(match[1]), int(match[2]), int(match[3])
    return asked if _is_asked(*asked) else None


def check_caches_asked(content: dict[str, Any], problems: Problems) -> None:
    """Add what no cache can be created with."""
    for nth, asked in enumerate(content["caches_asked"]):
        if not _is_asked(*asked):
            legal = (
                f"a size, an alignment that is 0 or a power of two, and flags up to {_FLAGS_MAX}"
            )
            problems.add(f"caches_asked[{nth}] is {asked}", legal)


def check_created(
    content: dict[str, Any],
    wanted: Mapping[str, Form],
    problems: Problems,
    *,
    asked: str = "size/align/flags",
    asked_of: Callable[[str], object | None] = asked_of,
) -> None:
    """Check rows of created caches, and alignments of the booted system's.

    `asked` says what stands for a cache that was asked for, which `asked_of` reads.
    """
    columns = content["created_columns"]
    missing = [name for name in (*wanted, "asked") if columns.count(name) != 1]
    if missing:
        problems.add(f"created_columns has not {missing[0]}", f"once {', '.join(wanted)} and asked")
        return
    forms = {**wanted, "asked": Text()}
    for nth, row in enumerate(content["created"]):
        if len(row) != len(columns):
            problems.add(f"created[{nth}] has {len(row)} values", f"{len(columns)} values")
            continue
        values = dict(zip(columns, row, strict=True))
        for name, form in forms.items():
            form.check(values[name], f"created[{nth}], {name},", problems)
        if isinstance(values["asked"], str) and asked_of(values["asked"]) is None:
            found = f"created[{nth}], asked, is {describe(values['asked'])}"
            problems.add(found, f"{asked} of a cache")
    for nth, cache in enumerate(content["system_caches"]):
        if cache["align"] & (cache["align"] - 1):
            problems.add(f"system_caches[{nth}].align is {cache['align']}", "a power of two")


def _is_asked(size: int, align: int, flags: int) -> bool:
    return 0 < size <= SIZE_MAX and not align & (align - 1) and 0 <= flags <= _FLAGS_MAX
