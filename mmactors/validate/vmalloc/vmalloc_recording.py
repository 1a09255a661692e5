"""Recordings of vmalloc: reading one, and saying what is wrong with it.

The form is that of linux-6.1/kernel (topic `vmalloc`). What is read here can be replayed: areas do
not overlap, and the tree of the free ones is a red-black tree.
"""

import re
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from attrs import frozen

from mmactors.units import PAGE_SHIFT, PAGE_SIZE, ULONG_MAX
from mmactors.validate.document import describe, read_object
from mmactors.validate.form import Form, ListOf, OrNull, Problems, Record, Text, Whole
from mmactors.validate.guest_boot import MEM
from mmactors.validate.limits import CPUS_MAX

_ADVICE: Final = "tests/reference/linux-6.1/kernel/vmalloc/README.md describes the fields"
_OPERATIONS_MAX: Final = 200_000
_AREAS_MAX: Final = 100_000
_PAGES_MAX: Final = 1 << 22
"""Of all requests that map pages."""
_DEPTH_MAX: Final = 64
_ALIGN_SHIFT_MAX: Final = 40
_MAPPING: Final = ("vmalloc", "vmalloc_aligned", "vmap", "vm_map_ram")
_TAKING: Final = (*_MAPPING, "get_vm_area")
_GIVING: Final = ("vfree", "vunmap", "free_vm_area", "vm_unmap_ram")
_KINDS: Final = (*_TAKING, *_GIVING, "vm_unmap_aliases")
_RAM: Final = "ram"
_FIRST: Final = 1
"""The first address of all; the last is ULONG_MAX."""


@frozen
class _Row:
    """A list of values, each of its own form."""

    forms: tuple[Form, ...]

    @property
    def legal(self) -> str:
        """What may stand there, for people."""
        return "a list of " + ", ".join(form.legal for form in self.forms)

    def check(self, value: object, path: str, problems: Problems) -> None:
        """Add what is wrong with a value."""
        if not isinstance(value, list) or len(value) != len(self.forms):
            problems.add(f"{path} is {describe(value)}", self.legal)
            return
        for nth, (form, each) in enumerate(zip(self.forms, value, strict=True)):
            form.check(each, f"{path}[{nth}]", problems)


@frozen
class _Busy:
    """An area in use: with a struct, or of vm_map_ram."""

    known: _Row
    ram: _Row

    @property
    def legal(self) -> str:
        """What may stand there, for people."""
        return f"{self.known.legal}, or {self.ram.legal}"

    def check(self, value: object, path: str, problems: Problems) -> None:
        """Add what is wrong with a value."""
        is_ram = isinstance(value, list) and value[2:] == [_RAM]
        (self.ram if is_ram else self.known).check(value, path, problems)


_ADDRESS: Final = Text("an address in hexadecimal", re.compile(r"[1-9a-f][0-9a-f]{0,15}"))
_NUMBER: Final = Whole(0, 1 << 48)
_RANGE: Final = _Row((_ADDRESS, _ADDRESS))
_COLOUR: Final = Text("r or b", re.compile("[rb]"))
_STATE: Final = Record(
    {
        "start": _ADDRESS,
        "end": _ADDRESS,
        "lazy_pages": _NUMBER,
        "free": ListOf(_RANGE, maximum=_AREAS_MAX),
        "lazy": ListOf(_RANGE, maximum=_AREAS_MAX),
        "free_tree": ListOf(_Row((_ADDRESS, Whole(0, _DEPTH_MAX), _COLOUR)), maximum=_AREAS_MAX),
        "busy": ListOf(
            _Busy(
                _Row((_ADDRESS, _ADDRESS, _NUMBER, _NUMBER, _NUMBER)),
                _Row((_ADDRESS, _ADDRESS, Text("the text ram"))),
            ),
            maximum=_AREAS_MAX,
        ),
    }
)
_KIND: Final = Text(f"one of {', '.join(_KINDS)}", re.compile("|".join(_KINDS)))
_OPERATION: Final = _Row((_KIND, Whole(0, _ALIGN_SHIFT_MAX), _NUMBER, OrNull(_ADDRESS), _NUMBER))
_FORM: Final = Record(
    {
        "topic": Text("the text vmalloc", re.compile("vmalloc")),
        "cpus": Whole(1, CPUS_MAX),
        "lazy_max_pages": _NUMBER,
        "boot": Record({"mem": MEM}),
        "initial": _STATE,
        "final": _STATE,
        "after_unmap_aliases": _STATE,
        "ops": ListOf(_OPERATION, maximum=_OPERATIONS_MAX),
    }
)


def read_recording(path: Path) -> dict[str, Any]:
    """Return a recording; raise UserError with all that is wrong."""
    content = read_object(path)
    problems = Problems(path=path, advice=_ADVICE)
    _FORM.check(content, "", problems)
    problems.raise_any()
    _check_areas(content["initial"], problems)
    _check_tree(content["initial"], problems)
    _check_ops(content, problems)
    problems.raise_any()
    return content


def _check_areas(state: dict[str, Any], problems: Problems) -> None:
    """Check that areas begin and end at pages, come in order and do not overlap."""
    spans: list[tuple[int, int, str]] = []
    for key in ("free", "lazy", "busy"):
        last = 0
        for nth, (first_text, end_text, *_) in enumerate(state[key]):
            first, end = int(first_text, 16), int(end_text, 16)
            place = f"initial.{key}[{nth}]"
            if not (_is_page(first, _FIRST) and _is_page(end, ULONG_MAX)):
                problems.add(f"{place} is {first_text} to {end_text}", "multiples of a page")
            elif not last <= first < end:
                legal = f"one from {max(last, _FIRST):x} on that is not empty"
                problems.add(f"{place} is {first_text} to {end_text}", legal)
            last = end
            spans.append((first, end, place))
    spans.sort()
    for (_, end, place), (first, _, other) in pairwise(spans):
        if first < end:
            problems.add(f"{other} begins at {first:x}", f"from {end:x} on, where {place} ends")
    nr_lazy = sum((int(end, 16) - int(first, 16)) >> PAGE_SHIFT for first, end in state["lazy"])
    if state["lazy_pages"] != nr_lazy:
        problems.add(f"initial.lazy_pages is {state['lazy_pages']}", f"{nr_lazy}, those of lazy")


def _is_page(address: int, other: int) -> bool:
    return address == other or (address != ULONG_MAX and address % PAGE_SIZE == 0)


def _check_tree(state: dict[str, Any], problems: Problems) -> None:
    """Check that the tree of free areas has them all, in order, and is red-black."""
    tree = [(int(first, 16), depth, colour) for first, depth, colour in state["free_tree"]]
    starts = [int(first, 16) for first, _ in state["free"]]
    if sorted(first for first, _, _ in tree) != starts:
        problems.add(f"initial.free_tree has {len(tree)} areas", f"the {len(starts)} of free")
        return
    nr_read = 0

    def black_height(low: int, high: int, depth: int, colour_above: str) -> int:
        """Read what stands between two addresses at a depth; return its black areas downwards."""
        nonlocal nr_read
        if nr_read == len(tree) or tree[nr_read][1] != depth or not low < tree[nr_read][0] < high:
            return 0
        nth = nr_read
        first, _, colour = tree[nth]
        nr_read += 1
        left = black_height(low, first, depth + 1, colour)
        right = black_height(first, high, depth + 1, colour)
        place = f"initial.free_tree[{nth}]"
        if colour == colour_above == "r":
            problems.add(f"{place} is red", "black below a red area, and at the root")
        if left != right:
            problems.add(f"{place} has {left} and {right} black areas on its ways down", "as many")
        height: int = max(left, right) + (colour == "b")
        return height

    black_height(0, ULONG_MAX, 0, "r")
    if nr_read < len(tree):
        place = f"initial.free_tree[{nr_read}] is {state['free_tree'][nr_read]}"
        problems.add(place, "an area's lower ones and then its higher ones, one deeper")


def _check_ops(content: dict[str, Any], problems: Problems) -> None:
    """Check that what is given back has an address, and that requests have an end."""
    nr_pages = 0
    for nth, (kind, _, size, address, _) in enumerate(content["ops"]):
        place = f"ops[{nth}] is {kind} of {size}"
        if address is not None and int(address, 16) & (PAGE_SIZE - 1):
            problems.add(f"{place}, at {address}", "an address at which a page begins")
        if kind in _GIVING and address is None:
            problems.add(f"{place}, at no address", "the address that is given back")
        if kind in _MAPPING:
            nr_pages += size >> PAGE_SHIFT
            if nr_pages > _PAGES_MAX:
                problems.add(place, f"requests of {_PAGES_MAX} pages together, without areas")
                return
