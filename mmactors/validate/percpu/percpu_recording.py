"""Recordings of the per-CPU allocator: reading one, and saying what is wrong with it.

The form is that of linux-6.1/kernel (topic `percpu`): operations with their results, and the
complete state of all chunks before and after. What is read here can be replayed: lists, runs and
pages are in range, what is freed is in use.
"""

import re
from pathlib import Path
from typing import Any, Final

from attrs import frozen

from mmactors.mm.percpu.percpu_state import BLOCK_COLUMNS
from mmactors.mm.percpu.slots import Slots
from mmactors.mm.percpu.struct_chunk import BLOCK_BITS, PCPU_MIN_ALLOC_SIZE
from mmactors.units import PAGE_SHIFT
from mmactors.validate.document import describe, read_object
from mmactors.validate.form import ListOf, OrNull, Problems, Record, Text, Whole
from mmactors.validate.limits import CPUS_MAX

_ADVICE: Final = "tests/reference/linux-6.1/kernel/percpu/README.md describes the fields"
_OPERATIONS_MAX: Final = 20_000
"""As the recorder has it."""
_UNIT_PAGES_MAX: Final = 4096
_CHUNKS_MAX: Final = 256
_BITS_MAX: Final = _UNIT_PAGES_MAX * BLOCK_BITS
_STATES: Final = ("initial", "final", "after_balance", "all_freed")

_BIT: Final = Whole(0, 1)
_BYTES: Final = Whole(0, _UNIT_PAGES_MAX << PAGE_SHIFT)
_PAGES: Final = Whole(0, _UNIT_PAGES_MAX)
_BITS: Final = Whole(0, _BITS_MAX)
_HEX: Final = re.compile("[0-9a-f]{1,16}")
_ADDRESS: Final = Text("an address in hex, such as ffffe8ffffc00000", _HEX)
_RUNS: Final = ListOf(ListOf(_BITS, minimum=2, maximum=2), maximum=_BITS_MAX)


@frozen
class _Block:
    """How many pages, and the hints of each of them."""

    legal: str = f"how many pages, and the {len(BLOCK_COLUMNS)} hints of each"

    def check(self, value: object, path: str, problems: Problems) -> None:
        """Add what is wrong with a value."""
        match value:
            case [count, hints]:
                _PAGES.check(count, f"{path}[0]", problems)
                nr_hints = len(BLOCK_COLUMNS)
                ListOf(_BITS, minimum=nr_hints, maximum=nr_hints).check(
                    hints, f"{path}[1]", problems
                )
            case _:
                problems.add(f"{path} is {describe(value)}", self.legal)


_CHUNK: Final = Record(
    {
        "slot": Whole(-1, 64),
        "base_addr": _ADDRESS,
        "free_bytes": _BYTES,
        "start_offset": _BYTES,
        "end_offset": _BYTES,
        "nr_pages": Whole(1, _UNIT_PAGES_MAX),
        "nr_populated": _PAGES,
        "nr_empty_pop_pages": Whole(-_UNIT_PAGES_MAX, _UNIT_PAGES_MAX),
        "immutable": _BIT,
        "isolated": _BIT,
        "chunk_md": Record(dict.fromkeys(BLOCK_COLUMNS, _BITS)),
        "blocks": ListOf(_Block(), minimum=1, maximum=_UNIT_PAGES_MAX),
        "populated_runs": _RUNS,
        "alloc_runs": _RUNS,
        "bound_bits": ListOf(_BITS, maximum=_BITS_MAX + 1),
    }
)


_STATE: Final = Record(
    {
        "unit": Record(
            {
                "unit_size": _BYTES,
                "unit_pages": Whole(1, _UNIT_PAGES_MAX),
                "atom_size": _BYTES,
                "nr_units": Whole(1, CPUS_MAX),
                "nr_slots": Whole(4, 64),
                "sidelined_slot": Whole(1, 64),
                "to_depopulate_slot": Whole(3, 64),
                "empty_pop_pages": Whole(0, _UNIT_PAGES_MAX * _CHUNKS_MAX),
                "base_addr": _ADDRESS,
                "first_chunk": _ADDRESS,
            }
        ),
        "chunks": ListOf(_CHUNK, minimum=1, maximum=_CHUNKS_MAX),
        "reserved": OrNull(_CHUNK),
    }
)


@frozen
class _Operation:
    """An area that was asked for, or given back."""

    legal: str = '["a", size, align, chunk or null, offset] or ["f", chunk, offset]'

    def check(self, value: object, path: str, problems: Problems) -> None:
        """Add what is wrong with a value."""
        match value:
            case ["a", int(size), int(align), None, -1]:
                is_legal = _is_request(size, align)
            case ["a", int(size), int(align), str(base), int(off)]:
                is_legal = _is_request(size, align) and _is_place(base, off)
            case ["f", str(base), int(off)]:
                is_legal = _is_place(base, off)
            case _:
                is_legal = False
        if not is_legal:
            problems.add(f"{path} is {str(value)[:200]}", self.legal)


def _is_request(size: int, align: int) -> bool:
    return 0 <= size <= _BYTES.maximum and 0 <= align <= _BYTES.maximum


def _is_place(base: str, off: int) -> bool:
    return _HEX.fullmatch(base) is not None and 0 <= off <= _BYTES.maximum


_RECORDING: Final = Record(
    {
        "topic": Text("the text percpu", re.compile("percpu")),
        "atomic": _BIT,
        "cpus": Whole(1, CPUS_MAX),
        "initial": _STATE,
        "ops": ListOf(_Operation(), maximum=_OPERATIONS_MAX),
        "final": _STATE,
        "all_freed": _STATE,
    },
    {"after_balance": _STATE},
)


def read_recording(path: Path) -> dict[str, Any]:
    """Return a recording; raise UserError with all that is wrong."""
    content = read_object(path)
    problems = Problems(path=path, advice=_ADVICE)
    _RECORDING.check(content, "", problems)
    problems.raise_any()
    if content["atomic"] and "after_balance" not in content:
        problems.add("the recording has no after_balance", "it, as atomic is 1")
    for name in _STATES:
        if name in content:
            _check_state(name, content[name], problems)
    problems.raise_any()
    _check_ops(content, problems)
    problems.raise_any()
    return content


def _check_state(name: str, state: dict[str, Any], problems: Problems) -> None:
    """Check that chunks can be on the lists that they are on, and have what is said of them."""
    unit, chunks = state["unit"], state["chunks"]
    if unit["unit_size"] != unit["unit_pages"] << PAGE_SHIFT:
        legal = f"{unit['unit_pages'] << PAGE_SHIFT}: unit_pages in bytes"
        problems.add(f"{name}.unit.unit_size is {unit['unit_size']}", legal)
        return
    lists = Slots(unit["unit_size"])
    nr_slots = len(lists.lists)
    bases = [chunk["base_addr"] for chunk in chunks]
    if len(set(bases)) < len(bases):
        problems.add(f"{name}.chunks have {len(bases)} addresses", "each once")
    if unit["first_chunk"] not in bases:
        problems.add(f"{name}.unit.first_chunk is {unit['first_chunk']}", "one of the chunks")
    slots = [chunk["slot"] for chunk in chunks]
    if slots != sorted(slots) or not 0 <= slots[0] <= slots[-1] < nr_slots:
        problems.add(f"{name}.chunks have slots {slots[:8]}", f"in order, below {nr_slots}")
    for nth, chunk in enumerate(chunks):
        place = f"{name}.chunks[{nth}]"
        is_isolated = chunk["slot"] in {lists.sidelined, lists.to_depopulate}
        if chunk["isolated"] != is_isolated:
            legal = f"{int(is_isolated)} in slot {chunk['slot']}"
            problems.add(f"{place}.isolated is {chunk['isolated']}", legal)
        if chunk["nr_pages"] > unit["unit_pages"]:
            problems.add(f"{place}.nr_pages is {chunk['nr_pages']}", f"up to {unit['unit_pages']}")
        _check_chunk(place, chunk, problems)
    if state["reserved"] is not None:
        _check_chunk(f"{name}.reserved", state["reserved"], problems)


def _check_chunk(place: str, chunk: dict[str, Any], problems: Problems) -> None:
    nr_pages, nr_bits = chunk["nr_pages"], chunk["nr_pages"] * BLOCK_BITS
    nr_blocks = sum(count for count, _ in chunk["blocks"])
    if nr_blocks != nr_pages:
        problems.add(f"{place}.blocks are of {nr_blocks} pages", f"{nr_pages}: nr_pages")
    for key, size in (("populated_runs", nr_pages), ("alloc_runs", nr_bits)):
        last = 0
        for start, length in chunk[key]:
            if start < last or length < 1 or start + length > size:
                found = f"{place}.{key} has {[start, length]}"
                problems.add(found, f"runs one after the other, below {size}")
                break
            last = start + length
    bits = chunk["bound_bits"]
    if bits != sorted(set(bits)) or (bits and bits[-1] > nr_bits):
        problems.add(f"{place}.bound_bits are {len(bits)}", f"in order, each up to {nr_bits}")
    hints = [chunk["chunk_md"]]
    hints += [dict(zip(BLOCK_COLUMNS, values, strict=True)) for _, values in chunk["blocks"]]
    for nth, hint in enumerate(hints):
        size = BLOCK_BITS if nth else nr_bits
        ends = [
            hint["contig_hint_start"] + hint["contig_hint"],
            hint["scan_hint_start"] + hint["scan_hint"],
            *(hint[key] for key in ("left_free", "right_free", "first_free")),
        ]
        if hint["nr_bits"] != size or max(ends) > size:
            where = f"blocks[{nth - 1}]" if nth else "chunk_md"
            problems.add(f"{place}.{where} has {list(hint.values())}", f"hints of {size} bits")
            break


def _check_ops(content: dict[str, Any], problems: Problems) -> None:
    """Check that what is freed was allocated before, and not freed since."""
    held: set[tuple[str, int]] = set()
    for nth, op in enumerate(content["ops"]):
        place = (op[-2], op[-1])
        if op[0] == "a" and op[-2] is not None:
            if place in held or op[-1] % PCPU_MIN_ALLOC_SIZE:
                problems.add(f"ops[{nth}] is {op}", "an area that is not in use")
            held.add(place)
        elif op[0] == "f":
            if place not in held:
                problems.add(f"ops[{nth}] is {op}", "an area that was allocated before")
            held.discard(place)
