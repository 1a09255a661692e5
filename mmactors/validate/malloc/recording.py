"""Recordings of allocators: reading one, and saying what is wrong with it.

The form is that of tests/reference/malloc: operations on a heap, as any heap trace has them, and
under each of several configurations what an allocator did with them. What is read here can be
replayed: whatever the kernel answered, a kernel can have answered.
"""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import numpy as np
from attrs import define, frozen
from numpy.typing import NDArray

from mmactors.arch.heap_trace import (
    HEAP_OPERATIONS,
    MEMALIGN,
    THREAD_BEGIN,
    THREAD_END,
    HeapOperations,
)
from mmactors.validate.document import describe, object_of
from mmactors.validate.form import ListOf, Problems, Record, TableOf, Text, Whole
from mmactors.validate.limits import (
    DOCUMENT_BYTES_MAX,
    HEAP_CALLS_MAX,
    HEAP_CONFIGURATIONS_MAX,
    HEAP_OPERATIONS_MAX,
    TEXT_CHARS_MAX,
)
from mmactors.validate.malloc.mappings import NO_ADDRESS
from mmactors.validate.malloc.plain_usable import plain_usable
from mmactors.validate.malloc.recorded_calls import RecordedCalls, read_calls
from mmactors.workload.heap_trace.npz import read_npz
from mmactors.workload.trace.archive import ArchiveForm, Column, open_columns

ADVICE: Final = "tests/reference/malloc/README.md describes the arrays"
_WORDS: Final = ("<u4", "<u8")
_CALL_COLUMNS: Final = 7
_MALLINFO2_COLUMNS: Final = 11
"""The operation, then what mallinfo2 has."""
_MAPS_MAX: Final = 64
_BYTES: Final = Whole(0, (1 << 47) - 1)
TOTALS: Final = ("peak_brk", "peak_mmap", "peak_total", "final_brk", "final_mmap")


@frozen
class _MapForm:
    """A mapping that was there before the first operation."""

    legal: str = "a list of start, bytes and protection of a mapping"

    def check(self, value: object, path: str, problems: Problems) -> None:
        """Add what is wrong with a value."""
        match value:
            case [int() as start, int() as length, str()] if (
                start > 0 and length > 0 and start + length < _BYTES.maximum
            ):
                pass
            case _:
                problems.add(f"{path} is {describe(value)}", self.legal)


_META: Final = Record({"allocs": ListOf(Text(chars_max=64), 1, HEAP_CONFIGURATIONS_MAX)})
_ENVIRONMENT: Final = Record({"env": TableOf(Text())})
_GLIBC: Final = Record(
    {
        "page_break_base": _BYTES,
        "totals": Record(
            {
                **dict.fromkeys(TOTALS, _BYTES),
                "initial_brk": _BYTES,
                "initial_maps": ListOf(_MapForm(), maximum=_MAPS_MAX),
            }
        ),
    },
    {
        "malloc_info_xml": Text(chars_max=TEXT_CHARS_MAX),
        "mallinfo2_final": TableOf(Whole()),
    },
)


@frozen(eq=False, kw_only=True)
class Configuration:
    """What an allocator did with the operations, under one environment."""

    meta: dict[str, Any]
    address: NDArray[np.int64]
    """Of each operation what it returned; 0: NULL or nothing."""
    usable: NDArray[np.int64]
    """malloc_usable_size of it; 0 of none."""
    returned: NDArray[np.int64]
    """What malloc_trim and mallopt return, the errno of what returns NULL; else 0."""
    mallinfo2: NDArray[np.int64]
    """Rows: the operation after which it was taken, and its numbers."""
    calls: RecordedCalls


@define(eq=False, kw_only=True)
class HeapRecording:
    """Operations on a heap, and under which configurations they were recorded."""

    path: Path
    operations: HeapOperations
    configurations: list[str]

    def meta_of(self, name: str) -> dict[str, Any]:
        """Return what a configuration says of itself: `env`, its environment variables, and more.

        Raises UserError if it has none.
        """
        member = f"{name}.meta"
        form = _form({member: ("|u1",)})
        with open_columns(self.path, form) as columns:
            meta = _json_of(self.path, columns[member], form)
        problems = Problems(path=self.path, advice=ADVICE)
        _ENVIRONMENT.check(meta, member, problems)
        problems.raise_any()
        return meta

    def configuration(self, name: str, meta: dict[str, Any], library: str) -> Configuration:
        """Read what a library did under a configuration; raise UserError for what cannot be."""
        problems = Problems(path=self.path, advice=ADVICE)
        _GLIBC.check(meta, f"{name}.meta", problems)
        problems.raise_any()
        arrays = _read_arrays(self.path, name, len(self.operations))
        _check_arrays(name, arrays, len(self.operations), problems)
        problems.raise_any()
        totals = meta["totals"]
        calls = RecordedCalls(
            break_base=meta["page_break_base"],
            initial_break=meta["page_break_base"] + totals["initial_brk"],
            initial_maps=totals["initial_maps"],
        )
        read_calls(arrays["sys"], len(self.operations), calls, f"{name}.sys", problems)
        problems.raise_any()
        _check_regions(name, arrays["region"], calls, problems)
        problems.raise_any()
        address = calls.addresses(arrays["region"], arrays["offset"])
        usable = plain_usable(library, self.operations.size)
        usable[address == 0] = 0
        usable[arrays["usable_i"]] = arrays["usable_v"]
        returned = np.zeros(len(usable), np.int64)
        returned[arrays["ret_i"]] = arrays["ret_v"]
        return Configuration(
            meta=meta,
            address=address,
            usable=usable,
            returned=returned,
            mallinfo2=arrays["mallinfo2"],
            calls=calls,
        )


def read_recording(path: Path) -> HeapRecording:
    """Read operations, and the names of the configurations; raise UserError for what is neither."""
    form = _form({"meta": ("|u1",)})
    with open_columns(path, form) as columns:
        meta = _json_of(path, columns["meta"], form)
    problems = Problems(path=path, advice=ADVICE)
    _META.check(meta, "meta", problems)
    problems.raise_any()
    operations = _read_operations(path, problems)
    if operations is not None:
        _check_objects(operations, problems)
    problems.raise_any()
    assert operations is not None, "a problem was raised"
    return HeapRecording(path=path, operations=operations, configurations=meta["allocs"])


def _read_operations(path: Path, problems: Problems) -> HeapOperations | None:
    pieces: list[HeapOperations] = []
    for piece in read_npz(path, Counter()):
        pieces.append(piece)
        if piece.first + len(piece) > HEAP_OPERATIONS_MAX:
            break
    nr_operations = sum(map(len, pieces))
    if not 0 < nr_operations <= HEAP_OPERATIONS_MAX:
        found = f"op has {nr_operations:,} operations, or more" if pieces else "op is empty"
        problems.add(found, f"1 to {HEAP_OPERATIONS_MAX:,} operations")
        return None
    columns = ("op", "tid", "id", "size", "arg", "line")
    return HeapOperations(
        first=0, **{name: np.concatenate([getattr(it, name) for it in pieces]) for name in columns}
    )


def _check_objects(operations: HeapOperations, problems: Problems) -> None:
    n = len(operations)
    is_wrong = ((operations.id < 0) | (operations.id >= n)) & (operations.op <= MEMALIGN)
    if is_wrong.any():
        nth = int(np.argmax(is_wrong))
        problems.add(f"id[{nth}] is {operations.id[nth]}", f"the number of an object, below {n}")
    first = _first_without_thread(operations)
    if first is not None:
        called, tid = HEAP_OPERATIONS[operations.op[first]], operations.tid[first]
        found = f"op[{first}], {called}, is of thread {tid}"
        problems.add(found, "a thread that has begun, has not ended, and is not begun again")


def _first_without_thread(operations: HeapOperations) -> int | None:
    """Return the first operation of a thread that is not there, or begins although it is."""
    is_begin, is_end = operations.op == THREAD_BEGIN, operations.op == THREAD_END
    if not is_begin.any() and not is_end.any():
        return None
    tid = operations.tid.astype(np.int64)
    is_later = np.zeros(int(tid.max()) + 1, np.int64)
    is_later[tid[is_begin]] = 1
    order = np.argsort(tid, kind="stable")
    change = (is_begin.astype(np.int64) - is_end)[order]
    sums = np.cumsum(change) - change
    of_thread = tid[order]
    firsts = np.searchsorted(of_thread, of_thread)
    nr_there = sums - sums[firsts] + 1 - is_later[of_thread]
    is_wrong = nr_there != (~is_begin[order]).astype(np.int64)
    is_wrong |= (of_thread == 0) & (is_begin | is_end)[order]
    wrong = order[is_wrong]
    return int(wrong.min()) if len(wrong) else None


def _form(
    dtypes: dict[str, tuple[str, ...]],
    widths: dict[str, int] | None = None,
    optional: Iterable[str] = (),
) -> ArchiveForm:
    return ArchiveForm(
        dtypes=dtypes,
        optional=frozenset(optional),
        legal="expected a recording of a heap and what an allocator did: " + ", ".join(dtypes),
        advice=ADVICE,
        widths=widths or {},
    )


def _json_of(path: Path, column: Column, form: ArchiveForm) -> dict[str, Any]:
    if column.length > DOCUMENT_BYTES_MAX:
        raise form.error(path, f"the array {column.name} has {column.length:,} bytes")
    data = column.take(column.length).tobytes()
    column.finish()
    return object_of(path, data)


def _read_arrays(path: Path, name: str, nr_operations: int) -> dict[str, NDArray[np.int64]]:
    results = f"{name}.ret_i", f"{name}.ret_v"
    optional = *results, f"{name}.mallinfo2"
    form = _form(
        {
            f"{name}.region": ("<i2", "<i4"),
            **dict.fromkeys((f"{name}.offset", f"{name}.usable_v"), _WORDS),
            f"{name}.usable_i": ("<u4",),
            f"{name}.sys": ("<i8",),
            f"{name}.mallinfo2": ("<i8",),
            **dict.fromkeys(results, _WORDS),
        },
        {f"{name}.sys": _CALL_COLUMNS, f"{name}.mallinfo2": _MALLINFO2_COLUMNS},
        optional,
    )
    with open_columns(path, form) as columns:
        for member, column in columns.items():
            most = HEAP_CALLS_MAX if member.endswith(".sys") else nr_operations + 1
            if column.length > most:
                raise form.error(path, f"the array {member} has {column.length:,} entries")
        arrays = {
            member.rpartition(".")[2]: column.take(column.length).astype(np.int64)
            for member, column in columns.items()
        }
        for column in columns.values():
            column.finish()
    for each in ("ret_i", "ret_v"):
        arrays.setdefault(each, np.zeros(0, np.int64))
    arrays.setdefault("mallinfo2", np.zeros((0, _MALLINFO2_COLUMNS), np.int64))
    return arrays


def _check_regions(
    name: str, region: NDArray[np.int64], calls: RecordedCalls, problems: Problems
) -> None:
    nr_initial = len(calls.initial_maps)
    nr_regions = len(calls.bases) - nr_initial
    is_wrong = (region != NO_ADDRESS) & ((region < -nr_initial) | (region >= nr_regions))
    if is_wrong.any():
        nth = int(np.argmax(is_wrong))
        problems.add(f"{name}.region[{nth}] is {region[nth]}", "the number of a mapping")


def _check_arrays(
    name: str, arrays: dict[str, NDArray[np.int64]], nr_operations: int, problems: Problems
) -> None:
    """Add how arrays do not fit each other."""
    for member in ("region", "offset"):
        if len(arrays[member]) != nr_operations:
            problems.add(
                f"{name}.{member} has {len(arrays[member])} entries",
                f"{nr_operations}, one for each operation",
            )
    for each in ("usable", "ret"):
        numbers, values = arrays[f"{each}_i"], arrays[f"{each}_v"]
        if len(numbers) != len(values):
            found = f"{name}.{each}_v has {len(values)} entries"
            problems.add(found, f"{len(numbers)}, as many as {each}_i")
        if len(numbers) and numbers.max() >= nr_operations:
            problems.add(f"{name}.{each}_i has {numbers.max()}", "numbers of operations")
    after = arrays["mallinfo2"][:, 0]
    if (np.diff(after, prepend=0) < 0).any() or (after > nr_operations).any():
        problems.add(f"{name}.mallinfo2 has rows out of order", "numbers of operations, ascending")
