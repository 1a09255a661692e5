"""Recordings of SLOB: reading one, and saying what is wrong with it.

The form is that of linux-6.1/kernel (topic `slob`): caches that were created, or the three lists of
pages with all their free blocks before and after operations with their results. What is read here
can be replayed: each page is on one list, an id names one object at a time, every number has its
range.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from mmactors.mm.slab.slob.heap import LISTS
from mmactors.mm.slab.slob.slob_block import PAGE_UNITS
from mmactors.units import PAGE_SHIFT, PAGE_SIZE
from mmactors.validate.asked_caches import (
    CACHES_ASKED,
    CACHES_MAX,
    CREATED,
    SIZE_MAX,
    check_caches_asked,
    check_created,
)
from mmactors.validate.document import read_object
from mmactors.validate.form import Either, Form, ListOf, Problems, Record, Text, Whole
from mmactors.validate.guest_boot import BOOT, nr_frames_of
from mmactors.validate.limits import MEMORY_MIB_MAX

_ADVICE: Final = "tests/reference/linux-6.1/kernel/slob/README.md describes the fields"
_OPERATIONS_MAX: Final = 200_000
OP_COLUMNS: Final = (
    *("kind", "cpu", "asked_cache", "id", "size", "pfn", "offset", "bytes", "slob", "pages"),
    *("header", "units", "small", "medium", "large", "on_list"),
)
CACHE: Final[dict[str, Form]] = {
    "name": Text(chars_max=64),
    "object_size": Whole(1, SIZE_MAX),
    "size": Whole(1, SIZE_MAX),
    "align": Whole(1, 1 << 20),
    "flags": Whole(0, (1 << 32) - 1),
    "ctor": Whole(0, 1),
}
"""What is recorded of each cache."""

_COUNT: Final = Whole(-(1 << 32), 1 << 32)
_PAGE: Final = ListOf(
    Either(
        number=Whole(0, MEMORY_MIB_MAX << 8),
        list_of=ListOf(ListOf(Whole(0, PAGE_UNITS), minimum=2, maximum=2), maximum=PAGE_UNITS),
    ),
    minimum=1,
    maximum=3,
)
_LIST: Final = ListOf(_PAGE, maximum=MEMORY_MIB_MAX << 8)
_LISTS: Final = dict.fromkeys(LISTS, _LIST)
_HEAD: Final[dict[str, Form]] = {
    "topic": Text("the text slob", re.compile("slob")),
    "scenario": Text("params, fill, lifo, fifo, mix, frag, cross or shrink"),
    "boot": BOOT,
}
_CREATED: Final = Record(
    {
        **_HEAD,
        "system_caches": ListOf(Record(CACHE), maximum=1024),
        **CREATED,
    }
)
_SEQUENCE: Final = Record(
    {
        **_HEAD,
        "caches_asked": CACHES_ASKED,
        "pages_at_start": _COUNT,
        "op_columns": ListOf(Text(chars_max=64), maximum=64),
        "initial": Record({"caches": ListOf(Record(CACHE), maximum=CACHES_MAX), **_LISTS}),
        "held": ListOf(ListOf(Whole(-1, 1 << 32), minimum=5, maximum=5)),
        "ops": ListOf(
            ListOf(
                Either(number=_COUNT, text=Text("a, f or s", re.compile("[afsr]"))),
                minimum=len(OP_COLUMNS),
                maximum=len(OP_COLUMNS),
            ),
            maximum=_OPERATIONS_MAX,
        ),
        "final": Record(_LISTS),
    }
)


def read_recording(path: Path) -> dict[str, Any]:
    """Return a recording; raise UserError with all that is wrong."""
    content = read_object(path)
    problems = Problems(path=path, advice=_ADVICE)
    is_params = content.get("scenario") == "params"
    (_CREATED if is_params else _SEQUENCE).check(content, "", problems)
    problems.raise_any()
    if is_params:
        wanted = {name: form for name, form in CACHE.items() if name != "name"}
        check_created(content, wanted, problems)
    else:
        _check_sequence(content, problems)
    problems.raise_any()
    return content


def _check_sequence(content: dict[str, Any], problems: Problems) -> None:
    if tuple(content["op_columns"]) != OP_COLUMNS:
        problems.add(f"op_columns are {content['op_columns'][:3]}...", ", ".join(OP_COLUMNS))
        return
    check_caches_asked(content, problems)
    nr_caches = len(content["caches_asked"])
    if len(content["initial"]["caches"]) != nr_caches:
        nr_found = len(content["initial"]["caches"])
        problems.add(f"initial.caches has {nr_found} caches", f"{nr_caches}, as many as were asked")
    initial = dict(_check_lists("initial", content["initial"], content, problems))
    for pfn, page in _check_lists("final", content["final"], content, problems):
        if len(page) == 1 and pfn not in initial:
            problems.add(f"final has page {pfn} without its blocks", "pages of initial, or blocks")
    problems.raise_any()
    _check_ops(content, problems)


def _check_lists(
    name: str, state: dict[str, Any], content: dict[str, Any], problems: Problems
) -> Iterator[tuple[int, list[Any]]]:
    """Yield the pages of a state that can be: by PFN what is said of each."""
    nr_frames = nr_frames_of(content)
    used: set[int] = set()
    for which in LISTS:
        for nth, page in enumerate(state[which]):
            place = f"{name}.{which}[{nth}]"
            pfn = page[0]
            is_short = len(page) == 1 and name == "final"
            kinds = [type(value) for value in page]
            if not (is_short or kinds == [int, int, list]) or type(pfn) is not int:
                problems.add(f"{place} is {str(page)[:60]}", "a PFN, free units, free blocks")
                continue
            if not 0 < pfn < nr_frames or pfn in used:
                problems.add(f"{place} is page {pfn}", f"a page below {nr_frames}, named once")
            used.add(pfn)
            if not is_short:
                _check_blocks(place, page, problems)
            yield pfn, page


def _check_blocks(place: str, page: list[Any], problems: Problems) -> None:
    _, units, blocks = page
    end = 0
    for offset, length in blocks:
        if offset < end or not length or offset + length > PAGE_UNITS:
            legal = "blocks in the order of their places, within the page"
            problems.add(f"{place} has a block [{offset}, {length}]", legal)
            return
        end = offset + length
    if not blocks or units != sum(length for _, length in blocks):
        problems.add(f"{place} has {units} free units", "the sum of its blocks, at least one")


def _check_ops(content: dict[str, Any], problems: Problems) -> None:
    """Check that what is freed was allocated before, and not freed since."""
    nr_caches, nr_frames = len(content["caches_asked"]), nr_frames_of(content)
    held: set[int] = set()
    for nth, (number, cache, size, pfn, offset) in enumerate(content["held"]):
        is_thing = cache < nr_caches and 0 < pfn < nr_frames and 0 <= offset < PAGE_SIZE
        if number in held or not is_thing or not 0 < size <= SIZE_MAX:
            legal = "an id that is new, a cache or -1, a size, a page, an offset"
            problems.add(f"held[{nth}] is {content['held'][nth]}", legal)
        elif pfn + (size >> PAGE_SHIFT) >= nr_frames:
            problems.add(f"held[{nth}] is at page {pfn}", f"pages below {nr_frames}")
        held.add(number)
    for nth, op in enumerate(content["ops"]):
        kinds = [type(value) for value in op]
        if kinds != [str, *[int] * (len(op) - 1)]:
            problems.add(f"ops[{nth}] is {str(op)[:80]}", "a, f or s, and numbers")
            continue
        kind, cpu, cache, number, size = op[:5]
        if kind in "sr":
            continue
        is_legal = 0 <= cpu < content["boot"]["cpus"] and -1 <= cache < nr_caches
        if not is_legal or not 0 < size <= SIZE_MAX or not -1 <= op[5] < nr_frames:
            legal = "a CPU of the guest, a cache that was asked for or -1, a size, a page"
            problems.add(f"ops[{nth}] is {op[:6]}", legal)
        elif (kind == "f") != (number in held):
            what = "an object that is in use" if kind == "f" else "an id that is free"
            problems.add(f"ops[{nth}] is {op[:6]}", what)
        (held.add if kind == "a" else held.discard)(number)
