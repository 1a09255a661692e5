"""Heap traces: what each reader makes of a file, where rows stand, and what a program did wrong."""

import gzip
import json
import lzma
from collections import Counter

import numpy as np
import pytest
import zstandard
from heap_traces import RECORDINGS, TEXTS, columns_of, opened, operations, rows_of

import mmactors
from mmactors.workload.heap_trace.file import HeapTraceFormat, open_heap_trace
from mmactors.workload.heap_trace.write import write_heap_trace

CSV = """\
op,tid,id,size,arg
malloc,0,0,100,0
calloc,1,1,240,10
realloc,0,0,0x1388,
memalign,0,2,64,4096
free,0,1,,
malloc_trim,0,,131072,
mallopt,0,,65536,-3
thread_end,1,,,
thread_begin,1,,,
4,0,3,18446744073709551615,64
"""
ROWS = [
    ("malloc", 0, 0, 100, 0),
    ("calloc", 1, 1, 240, 10),
    ("realloc", 0, 0, 5000, 0),
    ("memalign", 0, 2, 64, 4096),
    ("free", 0, 1, 0, 0),
    ("malloc_trim", 0, 0, 131072, 0),
    ("mallopt", 0, 0, 65536, -3),
    ("thread_end", 1, 0, 0, 0),
    ("thread_begin", 1, 0, 0, 0),
    ("memalign", 0, 3, -1, 64),
]


def test_csv_says_all_operations(tmp_path):
    """By name or number, in decimal or hex; a size from 2^63 on is negative in its column."""
    trace = opened(tmp_path, CSV)

    assert HeapTraceFormat.CSV is trace.form
    assert ROWS == rows_of(trace)
    assert 2 == trace.threads


def test_columns_of_csv_stand_in_any_order_and_some_may_be_missing(tmp_path):
    text = "\ufeff# mine\n\ntime,size, id ,op\r\n0.5,7,3,malloc\r\n\r\n0.75,,3,free\r\n"
    trace = opened(tmp_path, text)

    assert [("malloc", 0, 3, 7, 0), ("free", 0, 3, 0, 0)] == rows_of(trace)
    assert [4, 6] == columns_of(trace)["line"].tolist()


def test_json_lines_say_the_same(tmp_path):
    lines = [
        {"op": "malloc", "id": 0, "size": 100},
        {"op": "calloc", "tid": 1, "id": 1, "size": 240, "arg": 10},
        {"op": 2, "id": 0, "size": 5000, "time": 1.5},
        {"op": "memalign", "id": 2, "size": 64, "arg": 4096},
        {"op": "free", "id": 1},
        {"op": "malloc_trim", "size": 131072},
        {"op": "mallopt", "size": 65536, "arg": -3},
        {"op": "thread_end", "tid": 1},
        {"op": "thread_begin", "tid": 1},
        {"op": "4", "id": 3, "size": (1 << 64) - 1, "arg": 64},
    ]
    text = "\n\n".join(map(json.dumps, lines)) + "\n"
    trace = opened(tmp_path, text, "trace.txt")

    assert HeapTraceFormat.JSON_LINES is trace.form
    assert ROWS == rows_of(trace)
    assert list(range(1, 20, 2)) == columns_of(trace)["line"].tolist()


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_an_archive_is_what_numpy_saves_of_lists(tmp_path, save):
    path = tmp_path / "mine.npz"
    meta = np.frombuffer(json.dumps({"case": "mine", "threads": 3}).encode(), np.uint8)
    save(path, op=[0, 3], tid=[0, 1], id=[5, 5], size=[10, 0], arg=[0, 0], meta=meta)
    trace = mmactors.open_heap_trace(str(path))

    assert ({"case": "mine", "threads": 3}, 3) == (trace.meta, trace.threads)
    assert [("malloc", 0, 5, 10, 0), ("free", 1, 5, 0, 0)] == rows_of(trace)
    assert f"{path}[1]" == trace.where(1)


@pytest.mark.parametrize("path", sorted(RECORDINGS.glob("[rs]*_*.npz")), ids=lambda path: path.stem)
def test_a_recording_is_read_as_numpy_loads_it(path):
    """And is a right trace of a right program: nothing is allocated twice or freed twice."""
    trace = open_heap_trace(path)
    read = columns_of(trace, rows=1000)

    with np.load(path) as arrays:
        for name in ("op", "tid", "id", "size", "arg"):
            assert np.array_equal(arrays[name], read[name])
        meta = json.loads(bytes(arrays["meta"]))
    assert (meta, meta["threads"], []) == (trace.meta, trace.threads, trace.faults)


@pytest.mark.parametrize(
    "pack", [lambda data: gzip.compress(data, mtime=0), lzma.compress, zstandard.compress]
)
def test_a_text_may_be_packed(tmp_path, pack):
    assert ROWS == rows_of(opened(tmp_path, pack(CSV.encode()), "trace.csv.packed"))


def test_mtrace_says_addresses_which_become_objects():
    """What was allocated before mtrace() is minus an address; two allocations failed."""
    trace = open_heap_trace(TEXTS / "demo.mtrace")
    rows = rows_of(trace)

    assert HeapTraceFormat.MTRACE is trace.form
    assert [
        ("malloc", 0, 0, 0x18, 0),
        ("malloc", 0, 1, 0x12C, 0),
        ("realloc", 0, 0, 0x1E, 0),
        ("realloc", 0, 0, 0x1388, 0),
        ("malloc", 0, 2, 0x3C, 0),
    ] == rows[:5]
    assert [2, 3, 5, 7, 8] == columns_of(trace)["line"].tolist()[:5]
    assert ("free", 0, -0x55E6980B02C0, 0, 0) in rows
    assert {"malloc": 15, "realloc": 3, "free": 8} == Counter(row[0] for row in rows)
    assert 2 == trace.notes["allocations that failed"]
    assert 1 == trace.notes["frees of objects whose allocation was not seen"]


def test_ltrace_says_threads_and_calls_that_are_resumed():
    """An allocation is a row where it returns, a free where it is called."""
    trace = open_heap_trace(TEXTS / "threads.ltrace")
    rows = rows_of(trace)
    text = (TEXTS / "threads.ltrace").read_text()

    assert 4 == trace.threads
    assert text.count("unfinished") > 5
    assert [
        ("malloc", 0, 0, 77, 0),
        ("malloc", 0, 1, 100, 0),
        ("calloc", 0, 2, 200, 10),
        ("realloc", 0, 1, 5000, 0),
        ("malloc", 0, 3, 33, 0),
        ("realloc", 0, 2, 0, 0),
        ("memalign", 0, 4, 200, 64),
        ("memalign", 0, 5, 300, 4096),
        ("memalign", 0, 6, 64, 32),
        ("malloc", 0, 7, 0, 0),
    ] == rows[:10]
    assert [("thread_begin", tid, 0, 0, 0) for tid in (1, 2, 3)] == sorted(
        row for row in rows if row[0] == "thread_begin"
    )
    assert {1: 4, 2: 4, 3: 4} == Counter(row[1] for row in rows if row[0] == "malloc" and row[1])
    assert [("malloc_trim", 0, 0, 0, 0), ("mallopt", 0, 0, 65536, -3)] == rows[-4:-2]
    assert 2 == trace.notes["allocations that failed"]
    assert [] == trace.faults


def test_posix_memalign_is_left_out_where_its_result_is_not_shown():
    trace = open_heap_trace(TEXTS / "plain.ltrace")
    rows = rows_of(trace)

    assert 1 == trace.notes["calls of posix_memalign whose result is not shown"]
    assert ["memalign", "memalign"] == [row[0] for row in rows if row[0] == "memalign"]
    # What posix_memalign gave, what strdup, getline and strndup made.
    assert 4 == sum(row[2] < 0 for row in rows)
    assert [] == trace.faults


def test_a_call_inside_of_another_is_a_part_of_it():
    """The same program with -e and with -x says the same, but for what libraries do unseen."""
    trace = open_heap_trace(TEXTS / "inside.ltrace")
    rows = rows_of(trace)

    assert [("malloc", 77), ("malloc", 100), ("calloc", 200), ("realloc", 5000)] == [
        (row[0], row[3]) for row in rows[:4]
    ]
    # pthread_create's, of ld.so, which -e does not see.
    assert 3 == sum(row[0] == "calloc" and row[3:] == (272, 17) for row in rows)
    assert 24 == trace.notes["calls inside of others"]


def test_a_program_that_died_of_its_second_free_has_freed_twice():
    """In the middle of others, an address that is freed again was allocated unseen."""
    trace = open_heap_trace(TEXTS / "double_free.ltrace")

    assert [("malloc", 0, 0, 10, 0), *[("free", 0, 0, 0, 0)] * 2] == rows_of(trace)
    (fault,) = trace.faults
    assert f"{TEXTS / 'double_free.ltrace'}:3: object 0 is freed, and was freed before" == str(
        fault
    )


def test_what_the_c_library_calls_is_named_wrongly_and_left_out(tmp_path):
    """ltrace 0.7.3 shows realloc for calloc, and realloc(pointer, 6) = 6 for strlen."""
    text = (
        "8496 ls->malloc(5)                              = 0x55f2ba22c910\n"
        "8496 libc.so.6->realloc(0x560e3b61aac0, 6)       = 0x6\n"
        "8496 libc.so.6->malloc(6 <unfinished ...>\n"
        "8496 ls->free(0x55f2ba22c910)                    = <void>\n"
        "8496 <... malloc resumed> )                      = 0x7\n"
        "8496 unexpected breakpoint at 0x55f2eeeda245\n"
        "8496 +++ exited (status 0) +++\n"
    )
    trace = opened(tmp_path, text, "ls.ltrace")

    assert [("malloc", 0, 0, 5, 0), ("free", 0, 0, 0, 0)] == rows_of(trace)
    assert 2 == trace.notes["calls by the C library, which ltrace names wrongly"]


def test_another_thread_may_get_an_address_before_its_free_has_returned(tmp_path):
    text = """\
1 a->malloc(8) = 0x5500
1 a->free(0x5500 <unfinished ...>
2 a->malloc(16) = 0x5500
1 <... free resumed> ) = <void>
1 a->realloc(0, 24 <unfinished ...>
2 a->realloc(0x5500, 4096 <unfinished ...>
1 <... realloc resumed> ) = 0x5500
2 <... realloc resumed> ) = 0x6600
2 a->realloc(0x6600, 8192) = 0
2 a->free(0x6600) = <void>
2 a->free(0x5500 <unfinished ...>
"""
    trace = opened(tmp_path, text, "a.ltrace")

    assert [
        ("malloc", 0, 0, 8, 0),
        ("free", 0, 0, 0, 0),
        ("thread_begin", 1, 0, 0, 0),
        ("malloc", 1, 1, 16, 0),
        ("realloc", 0, 2, 24, 0),
        ("realloc", 1, 1, 4096, 0),
        ("free", 1, 1, 0, 0),
        ("free", 1, 2, 0, 0),
    ] == rows_of(trace)
    assert {"allocations that failed": 1} == trace.notes
    assert [] == trace.faults


@pytest.mark.parametrize(
    ("line", "row"),
    [
        ("malloc(5) = 0x10", ("malloc", 0, 0, 5, 0)),
        ("a->malloc(-1, 3, 4) = 0x10", ("malloc", 0, 0, -1, 0)),
        ("[pid 7] libx.so.1->malloc(5) = 0x10", ("malloc", 0, 0, 5, 0)),
        ("12:00:01 malloc(5) = 0x10", ("malloc", 0, 0, 5, 0)),
        ("7 12:00:01.123456 malloc(5) = 0x10 <0.1>", ("malloc", 0, 0, 5, 0)),
        ("1796072453.982796 [0x55c] a->malloc(0x5) = 0x10", ("malloc", 0, 0, 5, 0)),
        ("  0.000096   malloc@libc.so.6(5) = 0x10", ("malloc", 0, 0, 5, 0)),
        ("calloc(3, 7) = 0x10", ("calloc", 0, 0, 21, 3)),
        ("realloc(nil, 7) = 0x10", ("realloc", 0, 0, 7, 0)),
        ("reallocarray(0, 3, 7) = 0x10", ("realloc", 0, 0, 21, 0)),
        ("aligned_alloc(32, 64) = 0x20", ("memalign", 0, 0, 64, 32)),
        ("posix_memalign([ 0x20 ], 32, 64) = 0", ("memalign", 0, 0, 64, 32)),
        ("valloc(10) = 0x1000", ("memalign", 0, 0, 10, 4096)),
        ("pvalloc(4097) = 0x1000", ("memalign", 0, 0, 8192, 4096)),
        ("malloc_trim(64) = 1", ("malloc_trim", 0, 0, 64, 0)),
        ("mallopt(-3, 0x10000) = 1", ("mallopt", 0, 0, 65536, -3)),
        ("mallopt(0xfffffffd, -1) = 1", ("mallopt", 0, 0, -1, -3)),
        ("free(0x10) = 0", ("free", 0, -16, 0, 0)),
    ],
)
def test_a_line_of_ltrace_is_an_operation(tmp_path, line, row):
    trace = opened(tmp_path, f'puts("malloc(1) = 0x7") = 3\n{line}\n', format="ltrace")

    assert [row] == rows_of(trace)
    assert 1 == trace.notes["lines of other functions"]


@pytest.mark.parametrize(
    ("lines", "rows"),
    [
        ("malloc(5) = 0x10\nrealloc(0x10, 0) = 0x20\nfree(0x20) = 0\n", [
            ("malloc", 0, 0, 5, 0),
            ("realloc", 0, 0, 0, 0),
            ("malloc", 0, 1, 0, 0),
            ("free", 0, 1, 0, 0),
        ]),
        ("malloc(5) = 0x10\nmalloc(6) = 0x10\n", [
            ("malloc", 0, 0, 5, 0),
            ("free", 0, 0, 0, 0),
            ("malloc", 0, 1, 6, 0),
        ]),
        ("malloc(5) = 0x10\nrealloc(0x30, 6) = 0x10\n", [
            ("malloc", 0, 0, 5, 0),
            ("free", 0, -0x30, 0, 0),
            ("free", 0, 0, 0, 0),
            ("realloc", 0, 1, 6, 0),
        ]),
        ("malloc(5) = 0x10\nmalloc(6) = nil\nfree(0) = 0\nposix_memalign(0x7f, 8, 8) = 12\n", [
            ("malloc", 0, 0, 5, 0),
        ]),
    ],
)  # fmt: skip
def test_what_ltrace_does_not_see_is_concluded(tmp_path, lines, rows):
    """An address that is given again was freed; an allocation that failed is none."""
    trace = opened(tmp_path, lines, "a.ltrace")

    assert rows == rows_of(trace)
    assert [] == [fault for fault in trace.faults if fault.object >= 0]


def test_the_program_s_faults_are_found_with_their_lines(tmp_path):
    """And stay in the trace, which is right."""
    text = """\
op,id,size
malloc,1,100
free,1,
free,1,
free,7,
realloc,1,50
realloc,9,50
realloc,9,0
free,9,
"""
    trace = opened(tmp_path, text)
    rows = rows_of(trace)

    assert 8 == len(rows)
    assert [
        f"{trace.path}:4: object 1 is freed, and was freed before",
        f"{trace.path}:5: object 7 is freed, and nobody has allocated it",
        f"{trace.path}:6: object 1 is reallocated, and was freed before",
        f"{trace.path}:9: object 9 is freed, and was freed before",
    ] == [str(fault) for fault in trace.faults]
    assert [trace.where(fault.row) for fault in trace.faults] == [
        fault.place for fault in trace.faults
    ]
    rows_of(trace)
    assert 4 == len(trace.faults), "they are those of the last reading"


def test_faults_are_found_where_numbers_of_objects_have_gaps(tmp_path):
    """Numbers from 2^28 on are given new ones; a trace of few objects takes little memory."""
    far = (1 << 62) + 5
    rows = [
        ("malloc", 0, far, 1, 0),
        ("malloc", 0, 3, 1, 0),
        ("free", 0, far, 0, 0),
        ("free", 0, -4096, 0, 0),
        ("free", 0, far, 0, 0),
        ("free", 0, far + 1, 0, 0),
    ]
    write_heap_trace(tmp_path / "a.npz", [operations(rows)])
    trace = open_heap_trace(tmp_path / "a.npz")

    assert rows == rows_of(trace)
    assert [(4, far), (5, far + 1)] == [(fault.row, fault.object) for fault in trace.faults]


def test_pieces_have_as_many_rows_as_asked_for_at_most(tmp_path):
    trace = opened(tmp_path, CSV)

    assert [(0, 4), (4, 4), (8, 2)] == [(piece.first, len(piece)) for piece in trace.chunks(4)]
    assert [f"{trace.path}:{line}" for line in range(2, 12)] == [
        trace.where(row) for row in range(10)
    ]
    with pytest.raises(IndexError, match="has no operation 10"):
        trace.where(10)
