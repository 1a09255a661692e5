"""Recordings of three allocators side by side: reading one, and saying what is wrong with it.

The form is that of linux-6.1/kernel (topic `slab-compare`): requests, and for each allocator its
pages after each of them, the bytes of each object, sums. What is read here can be replayed: a
request frees what is in use, every list is as long as the requests.
"""

import re
from pathlib import Path
from typing import Any, Final

from attrs import frozen

from mmactors.observe.object_usage import SAMPLE, SUMMARY
from mmactors.validate.asked_caches import CACHES_ASKED, CACHES_MAX, SIZE_MAX, check_caches_asked
from mmactors.validate.document import describe, read_object
from mmactors.validate.form import Either, Form, ListOf, Problems, Record, TableOf, Text, Whole
from mmactors.validate.guest_boot import BOOT
from mmactors.validate.limits import CPUS_MAX

_ADVICE: Final = "tests/reference/linux-6.1/kernel/slab-compare/README.md describes the fields"
_OPERATIONS_MAX: Final = 200_000
ALLOCATORS: Final = ("slab", "slob", "slub")
_REQUEST_COLUMNS: Final = ["kind", "cpu", "cache", "id", "size"]
_SAMPLE_COLUMNS: Final = [
    *("request", "requested_bytes"),
    *(f"{name}_{column}" for name in ALLOCATORS for column in SAMPLE),
]


@frozen
class _Figure:
    """A number that need not be whole, or null."""

    legal: str = "a number, or null"

    def check(self, value: object, path: str, problems: Problems) -> None:
        """Add what is wrong with a value."""
        if value is not None and type(value) not in (int, float):
            problems.add(f"{path} is {describe(value)}", self.legal)


_COUNTS: Final = ListOf(Whole(-(1 << 32), 1 << 32), maximum=_OPERATIONS_MAX)
_FIGURES: Final[dict[str, Form]] = dict.fromkeys(SUMMARY, _Figure())
_ALLOCATOR: Final = Record(
    {
        "caches": ListOf(
            TableOf(Either(number=Whole(), text=Text(chars_max=64))), maximum=CACHES_MAX
        ),
        "pages": _COUNTS,
        "pages_in_use": _COUNTS,
        "object_bytes": _COUNTS,
        "summary": Record(_FIGURES),
    }
)
_COMPARISON: Final = Record(
    {
        "topic": Text("the text slab-compare", re.compile("slab-compare")),
        "scenario": Text("fill, lifo, fifo, mix, frag, cross or shrink"),
        "boot": BOOT,
        "possible_cpus": Whole(1, CPUS_MAX),
        "caches_asked": CACHES_ASKED,
        "request_columns": ListOf(Text(chars_max=64), maximum=64),
        "requests": ListOf(
            ListOf(
                Either(number=Whole(-1, 1 << 32), text=Text("a, f, s or r", re.compile("[afsr]"))),
                minimum=len(_REQUEST_COLUMNS),
                maximum=len(_REQUEST_COLUMNS),
            ),
            maximum=_OPERATIONS_MAX,
        ),
        "sample_columns": ListOf(Text(chars_max=64), maximum=64),
        "samples": ListOf(
            ListOf(_Figure(), minimum=len(_SAMPLE_COLUMNS), maximum=len(_SAMPLE_COLUMNS))
        ),
        **dict.fromkeys(ALLOCATORS, _ALLOCATOR),
    }
)


def read_comparison(path: Path) -> dict[str, Any]:
    """Return a recording; raise UserError with all that is wrong."""
    content = read_object(path)
    problems = Problems(path=path, advice=_ADVICE)
    _COMPARISON.check(content, "", problems)
    problems.raise_any()
    for name, columns in (
        ("request_columns", _REQUEST_COLUMNS),
        ("sample_columns", _SAMPLE_COLUMNS),
    ):
        if content[name] != columns:
            problems.add(f"{name} are {str(content[name])[:60]}", ", ".join(columns))
    check_caches_asked(content, problems)
    for name in ALLOCATORS:
        _check_lengths(name, content, problems)
    _check_requests(content, problems)
    problems.raise_any()
    return content


def _check_lengths(name: str, content: dict[str, Any], problems: Problems) -> None:
    """Check that an allocator's lists belong to the requests and the caches."""
    recorded = content[name]
    for column, length in (
        ("caches", len(content["caches_asked"])),
        *((column, len(content["requests"])) for column in ("pages", "pages_in_use")),
        ("object_bytes", len(content["requests"])),
    ):
        if len(recorded[column]) != length:
            problems.add(f"{name}.{column} has {len(recorded[column])} values", f"{length}")


def _check_requests(content: dict[str, Any], problems: Problems) -> None:
    """Check that what is freed was allocated before, and not freed since."""
    nr_cpus, nr_caches = content["boot"]["cpus"], len(content["caches_asked"])
    held: dict[int, int] = {}
    for nth, request in enumerate(content["requests"]):
        if [type(value) for value in request] != [str, *[int] * 4]:
            problems.add(f"requests[{nth}] is {request}", "a, f, s or r, and four numbers")
            continue
        kind, cpu, cache, number, size = request
        if kind in "sr":
            continue
        if not (0 <= cpu < nr_cpus and cache < nr_caches and 0 < size <= SIZE_MAX):
            legal = "a CPU of the guest, a cache that was asked for or -1, a size"
            problems.add(f"requests[{nth}] is {request}", legal)
        elif (kind == "f") != (number in held) or held.get(number, cache) != cache:
            what = "an object that is in use" if kind == "f" else "an id that is free"
            problems.add(f"requests[{nth}] is {request}", what)
        if kind == "a":
            held[number] = cache
        else:
            held.pop(number, None)
    wanted = range(99, len(content["requests"]), 100)
    if [row[0] for row in content["samples"]] != list(wanted):
        found = f"samples are of {len(content['samples'])} requests"
        problems.add(found, f"of each 100th, {len(wanted)}")
