"""Heap traces in files: what was written is read, whatever it is; damage is told, or is none."""

import random

import numpy as np
import pytest
from heap_traces import columns_of, operations, rows_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmactors.arch.heap_trace import HEAP_OPERATIONS
from mmactors.workload.heap_trace.file import open_heap_trace
from mmactors.workload.heap_trace.rows import NEEDED_FIELDS
from mmactors.workload.heap_trace.write import WRITTEN_FORMATS, write_heap_trace

INT = st.integers(-(1 << 31), (1 << 31) - 1)
WORD = st.one_of(st.integers(0, 5000), st.integers(0, (1 << 64) - 1))
FAR = st.sampled_from((0, 1 << 20, 1 << 40, (1 << 63) - 100))


def signed(value):
    return value - (1 << 64) if value >= 1 << 63 else value


@st.composite
def traces(draw):
    """Rows that are legal, one after another; what an operation has no use for is 0."""
    start = draw(FAR)
    nr_objects = 0
    ended = set()
    rows = []
    for _ in range(draw(st.integers(1, 12))):
        name = draw(st.sampled_from(HEAP_OPERATIONS))
        tid = draw(st.integers(0, 3))
        if name == "thread_begin" and tid not in ended and any(row[1] == tid for row in rows):
            continue
        if tid in ended and name != "thread_begin":
            continue
        ended = ended - {tid} | ({tid} if name == "thread_end" else set())
        number, size, arg = start + nr_objects, draw(WORD), 0
        if name in ("realloc", "free"):
            number = start + draw(st.integers(0, nr_objects))
        nr_objects = max(nr_objects, number - start + 1)
        if name == "free" and draw(st.booleans()):
            number = -draw(st.integers(1, (1 << 47) - 1))
        if name == "calloc":
            arg = draw(st.integers(0, 300))
            size -= size % arg if arg else size
        elif name == "memalign":
            arg = draw(WORD)
        elif name == "mallopt":
            size, arg = draw(INT), draw(INT)
        values = {"id": number, "size": signed(size), "arg": signed(arg)}
        used = NEEDED_FIELDS[HEAP_OPERATIONS.index(name)]
        rows.append((name, tid, *(values[each] if each in used else 0 for each in values)))
    return rows or [("free", 0, start, 0, 0)]


def in_pieces(rows, length):
    for first in range(0, len(rows), length):
        yield operations(rows[first : first + length], first)


@pytest.mark.parametrize("form", WRITTEN_FORMATS)
@settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(rows=traces(), length=st.integers(1, 5))
def test_what_was_written_is_read(tmp_path, form, rows, length):
    path = tmp_path / f"trace.{form}"
    meta = {"case": "drawn"} if form == "npz" else None
    write_heap_trace(path, in_pieces(rows, length), meta=meta)
    trace = open_heap_trace(path)

    assert rows == rows_of(trace)
    assert (meta or {}) == trace.meta
    assert 1 + max(row[1] for row in rows) == trace.threads


@settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(rows=traces())
def test_lines_read_together_and_one_by_one_say_the_same(tmp_path, rows):
    """A comment makes all lines of a block be read one by one."""
    path = tmp_path / "trace.csv"
    write_heap_trace(path, [operations(rows)])
    together = columns_of(open_heap_trace(path))
    path.write_bytes(path.read_bytes() + b"# the end\n")
    one_by_one = columns_of(open_heap_trace(path))

    assert all(np.array_equal(together[name], one_by_one[name]) for name in together)


def life(seed, length):
    """Return a program's operations as calls with addresses: a heap that gives the newest first."""
    chance = random.Random(seed)
    live, free, top = [], [], 0x55C468DC5500
    for _ in range(length):
        if live and chance.random() < 0.4:
            address = live.pop(chance.randrange(len(live)))
            free.append(address)
            yield "free", address, 0, 0
        elif live and chance.random() < 0.2:
            at = chance.randrange(len(live))
            old, size = live[at], chance.randrange(1, 5000)
            if chance.random() < 0.5:
                free.append(old)
                live[at], top = top, top + 5024
            yield "realloc", old, size, live[at]
        else:
            size = chance.randrange(5000)
            if free:
                address = free.pop()
            else:
                address, top = top, top + 5024
            live.append(address)
            yield "malloc", address, size, 0


def expected(calls):
    """Return the rows of such calls, by a plain table of addresses."""
    table, nr_objects = {}, 0
    for name, address, size, moved in calls:
        if name == "malloc":
            table[address] = nr_objects
            nr_objects += 1
        number = table.pop(address) if name in ("free", "realloc") else table[address]
        if name == "realloc":
            table[moved] = number
        yield name, 0, number, size, 0


def as_mtrace(calls):
    yield "= Start"
    for name, address, size, moved in calls:
        where = "@ ./my prog:[0x12b4] "
        match name:
            case "free":
                yield f"{where}- {address:#x}"
            case "realloc":
                yield f"{where}< {address:#x}"
                yield f"{where}> {moved:#x} {size:#x}"
            case _:
                yield f"{where}+ {address:#x} {hex(size) if size else 0}"
    yield "= End"


def as_ltrace(calls):
    for name, address, size, moved in calls:
        match name:
            case "free":
                yield f"prog->free({address:#x})                       = <void>"
            case "realloc":
                yield f"prog->realloc({address:#x}, {size})   = {moved:#x}"
            case _:
                yield f"prog->malloc({size})                       = {address:#x}"


@pytest.mark.parametrize(("form", "text"), [("mtrace", as_mtrace), ("ltrace", as_ltrace)])
def test_a_program_s_life_is_read_from_what_tools_write_of_it(tmp_path, form, text):
    """Of several blocks, so that realloc's lines and addresses go on in the next."""
    calls = list(life(7, 60_000))
    path = tmp_path / "trace.txt"
    path.write_text("".join(f"{line}\n" for line in text(calls)))
    trace = open_heap_trace(path)

    assert form == trace.form.value
    assert list(expected(calls)) == rows_of(trace)
    assert ({}, []) == (trace.notes, trace.faults)
