"""Heap traces that are none, or damaged: where, what was found, what is legal, what to try."""

import io
import zipfile

import numpy as np
import pytest
from heap_traces import RECORDINGS, TEXTS, opened, operations, rows_of

from mmactors.arch.heap_trace import HEAP_OPERATIONS
from mmactors.errors import UserError
from mmactors.limits import PROBLEMS_MAX
from mmactors.workload.heap_trace.file import HEAP_TRACE_FORMATS, open_heap_trace
from mmactors.workload.heap_trace.write import write_heap_trace

HEADER = "op,tid,id,size,arg\n"


def problem_of(tmp_path, text, name="trace", **options):
    """Return what is said of a text, without the folder."""
    with pytest.raises(UserError) as caught:
        rows_of(opened(tmp_path, text, name, **options))
    return str(caught.value).replace(f"{tmp_path}/", "")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            "alloc,0,1,2,0",
            (
                "trace:2:1: op is 'alloc'; expected an operation by name or number: 0 malloc, 1"
                " calloc, 2 realloc, 3 free, 4 memalign, 5 malloc_trim, 6 thread_end, 7"
                " thread_begin, 8 mallopt (see docs/heap-traces.md for the format)"
            ),
        ),
        (
            "malloc,0,1,2",
            (
                "trace:2:13: the line 'malloc,0,1,2' has 4 fields; expected 5, as the first line"
                " says (see docs/heap-traces.md for the format)"
            ),
        ),
        (
            "malloc,0,1,2,0,9",
            (
                "trace:2:16: the line 'malloc,0,1,2,0,9' has 6 fields; expected 5, as the first"
                " line says (see docs/heap-traces.md for the format)"
            ),
        ),
        (
            "malloc,0, 1_0 ,2,0",
            (
                "trace:2:11: id is '1_0'; expected a number of 64 bits"
                " (see docs/heap-traces.md for the format)"
            ),
        ),
        (
            "malloc,0,1,,0",
            (
                "trace:2:12: size of malloc is missing; expected a number of 64 bits"
                " (see docs/heap-traces.md for the format)"
            ),
        ),
        (
            "malloc,0,1,-5,0",
            (
                "trace:2:12: size of malloc is -5; expected from 0 to 2^64 - 1"
                " (check how the trace was written)"
            ),
        ),
        (
            "malloc,0,1,18446744073709551616,0",
            (
                "trace:2:12: size is 18446744073709551616; expected a number of 64 bits"
                " (check how the trace was written)"
            ),
        ),
        (
            "memalign,0,1,5,-8",
            (
                "trace:2:16: arg of memalign is -8; expected from 0 to 2^64 - 1"
                " (check how the trace was written)"
            ),
        ),
        (
            "calloc,0,1,100,7",
            (
                "trace:2:12: size of calloc is 100, arg is 7; expected size to be a product, and"
                " arg, the number of members, to divide it (check how the trace was written)"
            ),
        ),
        (
            "malloc,0,-1,5,0",
            (
                "trace:2:10: id of malloc is -1; expected at least 0"
                " (number the objects; only free may name an address, with a minus before it)"
            ),
        ),
        (
            "free,0,-140737488355328,0,0",
            (
                "trace:2:8: id of free is -140737488355328; expected above -0x800000000000"
                " (number the objects; only free may name an address, with a minus before it)"
            ),
        ),
        (
            "malloc,32768,1,5,0",
            (
                "trace:2:8: tid is 32768; expected the number of a thread, from 0 to 32767"
                " (number the threads 0, 1, 2 as they appear, the main thread first)"
            ),
        ),
        (
            "mallopt,0,0,4294967296,-3",
            (
                "trace:2:13: size of mallopt is 4294967296; expected an int of C: arg is the"
                " parameter, size its value (check how the trace was written)"
            ),
        ),
    ],
)
def test_a_bad_line_of_csv_is_told_with_line_and_column(tmp_path, line, said):
    assert said == problem_of(tmp_path, f"{HEADER}{line}\nfree,0,0,0,0\n")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "op,id,size,id\n",
            (
                "trace:1:12: the column id is named twice; expected a first line that names the"
                " columns: op,tid,id,size,arg (see docs/heap-traces.md for the format)"
            ),
        ),
        (
            "# none\nop,size\n",
            (
                "trace:2:1: the first line, 'op,size', names no column id; expected a first line"
                " that names the columns: op,tid,id,size,arg (see docs/heap-traces.md for the"
                " format)"
            ),
        ),
        (
            "op,id,size\nmalloc,1,5\ncalloc,2,10\n",
            (
                "trace:3:12: arg of calloc is missing; expected a number of 64 bits"
                " (see docs/heap-traces.md for the format)"
            ),
        ),
        (
            HEADER + "free,0,1,0,0\nmalloc,0,1",
            (
                "trace:3: the last line, 'malloc,0,1', has no line end; expected a line end after"
                " every line (the file is truncated: record again, or remove the last line)"
            ),
        ),
        (
            HEADER,
            (
                "trace: the heap trace holds no operation; expected at least one operation"
                " (check that the program was traced to its end)"
            ),
        ),
        (
            "",
            (
                "trace: the heap trace holds no operation; expected at least one operation"
                " (check that the program was traced to its end)"
            ),
        ),
        (
            HEADER + "x" * 2_000_000,
            (
                "trace:2: a line has more than 65536 bytes; expected lines such as"
                " 'malloc,0,17,100,0' (see docs/heap-traces.md for the format)"
            ),
        ),
    ],
)
def test_a_csv_that_is_none_is_told(tmp_path, text, said):
    assert said == problem_of(tmp_path, text)


def test_a_line_far_behind_others_is_told_with_its_number(tmp_path):
    """Also where rows were read many at once: by name of the field, and row in the block."""
    many = "".join(f"malloc,0,{number},16,0\n" for number in range(100_000))
    said = problem_of(tmp_path, f"{HEADER}{many}malloc,0,100000,-1,0\n")

    assert said.startswith("trace:100002:17: size of malloc is -1; ")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            '{"op": "malloc", "id": 1 "size": 2}',
            (
                'trace:1:26: the line \'{"op": "malloc", "id": 1 "size": 2}\' is no JSON:'
                " unexpected character"
            ),
        ),
        ('{"op": "x"}', "trace:1:2: op is '\"x\"'; expected an operation by name or number: 0"),
        ('{"op": true}', "trace:1:2: op is 'true'; expected an operation"),
        ('{"id": 1}', "trace:1:1: op is missing; expected an operation"),
        ('{"op": [0]}', "trace:1:2: op is '[0]'; expected an operation"),
        (
            '{"op": 0, "id": 1}',
            "trace:1:1: size of malloc is missing; expected a number of 64 bits",
        ),
        ('{"op": 0, "id": 1, "size": 1.0}', "trace:1:20: size is '1.0'; expected a number of 64"),
        ('{"op": 3, "id": null}', "trace:1:11: id is 'null'; expected a number of 64 bits"),
        ('{"op": 3, "id": 18446744073709551616}', "trace:1:11: id is '1.8446744073709552e"),
        ('{"op": 0, "id": 1, "size": -7}', "trace:1:20: size of malloc is -7; expected from 0"),
    ],
)
def test_a_bad_line_of_json_is_told_with_line_and_column(tmp_path, line, said):
    assert said in problem_of(tmp_path, f"{line}\n")


def test_a_line_of_json_that_is_no_object_is_told(tmp_path):
    said = problem_of(tmp_path, '{"op": 3, "id": 1}\n[3]\n')

    assert said == (
        "trace:2:1: the line '[3]' is no object; expected one object a line, such as "
        '{"op": "malloc", "id": 17, "size": 100} (see docs/heap-traces.md for the format)'
    )


LEGAL_MTRACE = (
    "expected '+ ADDRESS SIZE', '- ADDRESS', '< ADDRESS', '> ADDRESS SIZE' or '! ADDRESS SIZE', "
    "perhaps with '@ CALLER ' before it, addresses and sizes in hex "
    "(check that the file is what MALLOC_TRACE named, and that nobody else wrote to it)"
)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("hello", f"trace:3:1: the line is 'hello'; {LEGAL_MTRACE}"),
        ("@ a + 0x55g0 0x10", f"trace:3:7: the line is '@ a + 0x55g0 0x10'; {LEGAL_MTRACE}"),
        ("- (nil)", f"trace:3:3: the line is '- (nil)'; {LEGAL_MTRACE}"),
        ("+ 0x800000000000 0x10", "trace:3:3: the line is '+ 0x800000000000 0x10'; "),
        ("+ 0x10 0x10000000000000000", "trace:3:3: the line is '+ 0x10 0x10000000000000000'; "),
        (
            "@ a > 0x10 0x5",
            (
                "trace:3:5: the line is '@ a > 0x10 0x5'; expected lines with '<' and '>' to be"
                " pairs, which are one realloc (check that the file is what MALLOC_TRACE named,"
                " and that nobody else wrote to it)"
            ),
        ),
        (
            "< 0x10\n- 0x10",
            "trace:4:1: the line is '- 0x10'; expected lines with '<' and '>' to be",
        ),
        (
            "@ a < 0x10",
            (
                "trace:3: the last line, with '<', is half of a realloc; expected a line with '>'"
                " after it (the file is truncated: record again, or remove the last line)"
            ),
        ),
    ],
)
def test_a_bad_line_of_mtrace_is_told_with_line_and_column(tmp_path, line, said):
    assert problem_of(tmp_path, f"= Start\n+ 0x10 0x5\n{line}\n").startswith(said)


def test_the_log_of_a_program_that_aborted_ends_in_a_line():
    with pytest.raises(UserError, match=r"wrong_free.mtrace:23: the last line, .* has no line end"):
        rows_of(open_heap_trace(TEXTS / "wrong_free.mtrace"))


LEGAL_LTRACE = (
    "expected calls as ltrace writes them, such as 'prog->malloc(100) = 0x55c468dc5500' "
    "(keep the program's own output out of the trace with ltrace -o FILE)"
)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("hello", f"trace:2:1: the line is 'hello'; {LEGAL_LTRACE}"),
        ("[pid 7] hello", f"trace:2:9: the line is '[pid 7] hello'; {LEGAL_LTRACE}"),
        ("a->malloc(5)", f"trace:2:1: the line is 'a->malloc(5)'; {LEGAL_LTRACE}"),
        ("a->malloc(5) = ok", f"trace:2:1: the line is 'a->malloc(5) = ok'; {LEGAL_LTRACE}"),
        (
            "a->malloc(x) = 0x20",
            "trace:2:11: the call is 'a->malloc(x) = 0x20'; expected a number of 64 bits (keep",
        ),
        (
            "a->calloc(5) = 0x20",
            "trace:2:11: the call is 'a->calloc(5) = 0x20'; expected 2 arguments of calloc (keep",
        ),
        (
            "a->free(0x800000000000) = 0",
            (
                "trace:2:9: the call is 'a->free(0x800000000000) = 0'; expected an address of user"
                " space, below 0x800000000000, or nil (keep"
            ),
        ),
        (
            "a->calloc(0xffffffffffffffff, 2) = 0x20",
            (
                "trace:2:11: the call is 'a->calloc(0xffffffffffffffff, 2) = 0x20'; expected a"
                " product of at most 64 bits, or the result nil (keep"
            ),
        ),
        (
            "--- Called exec() ---",
            (
                "trace:2:5: the call is '--- Called exec() ---'; expected one program, from its"
                " start to its end (keep"
            ),
        ),
    ],
)
def test_a_bad_line_of_ltrace_is_told_with_line_and_column(tmp_path, line, said):
    assert problem_of(tmp_path, f"a->malloc(5) = 0x10\n{line}\n").startswith(said)


def saved(**arrays):
    """Return an archive of arrays, None: without; one not named has two entries that are right."""
    file = io.BytesIO()
    columns = {"op": [0, 3], "tid": [0, 0], "id": [1, 1], "size": [5, 0], "arg": [0, 0]}
    kept = {name: value for name, value in (columns | arrays).items() if value is not None}
    np.savez(file, **kept)
    return file.getvalue()


LEGAL_NPZ = (
    "expected a numpy archive with the arrays op, tid, id, size and arg, all of integers, and"
    " perhaps meta (u8, JSON) (write it with mmactors.write_heap_trace, or as docs/heap-traces.md"
    " says)"
)


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"arg": None}, f"trace: the archive has no array arg; {LEGAL_NPZ}"),
        ({"size": [1.5, 0]}, f"trace: the array size has the type <f8; {LEGAL_NPZ}"),
        ({"op": [[0, 3]]}, f"trace: the array op is not one-dimensional; {LEGAL_NPZ}"),
        ({"id": [1]}, f"trace: op has 2 entries, id has 1; {LEGAL_NPZ}"),
        ({"op": [0, 9]}, "trace: operation 1: op is 9; expected an operation by name or number"),
        ({"size": [-1, 0]}, "trace: operation 0: size of malloc is -1; expected from 0 to 2^64"),
        (
            {"id": np.array([1, 1 << 63], np.uint64)},
            "trace: operation 1: id of free is -9223372036854775808; expected above",
        ),
        (
            {"op": [0, 0]},
            (
                "trace: operation 1: object 1 is allocated, and its number was used before;"
                " expected a new number for each object, also when the one before it was freed"
                " (number the objects 0, 1, 2 as they are allocated; realloc keeps the number)"
            ),
        ),
        (
            {"meta": np.frombuffer(b"[]", np.uint8)},
            "trace: the array meta is JSON of a list; expected a JSON object in bytes, such as",
        ),
        (
            {"meta": np.frombuffer(b"{", np.uint8)},
            "trace: the array meta is no JSON: unexpected end of data: line 1 column 2 (char 1); ",
        ),
        (
            {"meta": np.zeros(2_000_000, np.uint8)},
            "trace: the array meta has 2,000,000 bytes; expected at most 1,048,576 (keep in meta",
        ),
    ],
)
def test_a_bad_archive_is_told(tmp_path, arrays, said):
    assert problem_of(tmp_path, saved(**arrays)).startswith(said)


def test_damage_of_an_archive_is_told(tmp_path):
    data = (RECORDINGS / "real_sort.npz").read_bytes()

    assert "the archive cannot be read: " in problem_of(tmp_path, data[: len(data) // 2])
    with zipfile.ZipFile(RECORDINGS / "real_sort.npz") as archive:
        start = archive.getinfo("id.npy").header_offset + 60
    assert "the archive cannot be read: " in problem_of(
        tmp_path, data[:start] + b"\xff" * 50 + data[start + 50 :]
    )


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (
            "malloc,0,1,5,\nfree,0,1,,\nmalloc,0,1,5,\n",
            "trace:4: object 1 is allocated, and its number was used before; ",
        ),
        (
            "malloc,1,1,5,\nthread_end,1,,,\nfree,1,1,,\n",
            (
                "trace:4: thread 1 acts after its end; expected a thread to act between its"
                " thread_begin and its thread_end (number the threads 0, 1, 2"
            ),
        ),
        (
            "malloc,1,1,5,\nthread_begin,1,,,\n",
            (
                "trace:3: thread 1 begins, and has begun before; expected thread_begin to be the"
                " first of a thread (number"
            ),
        ),
    ],
)
def test_a_trace_that_contradicts_itself_is_told_with_its_line(tmp_path, lines, said):
    assert problem_of(tmp_path, HEADER + lines).startswith(said)


def test_faults_of_a_program_are_kept_up_to_a_number(tmp_path):
    """What the trace itself has wrong is told all the same."""
    many = HEADER + "malloc,0,1,5,0\n" + "free,0,1,0,0\n" * (PROBLEMS_MAX + 70_000)
    trace = opened(tmp_path, many)

    assert PROBLEMS_MAX + 70_001 == len(rows_of(trace))
    assert PROBLEMS_MAX == len(trace.faults)
    assert "trace:71003: object 1 is allocated" in problem_of(tmp_path, many + "malloc,0,1,5,0\n")


@pytest.mark.parametrize("form", HEAP_TRACE_FORMATS)
def test_a_file_that_is_not_of_the_form_that_is_named_is_told(tmp_path, form):
    said = problem_of(tmp_path, b"\x7fELF\x02\x01\x01\n\n", format=form)

    assert said.startswith("trace")
    assert "; expected " in said


def test_an_unknown_form_is_told(tmp_path):
    assert problem_of(tmp_path, b"\x7fELF\x02\n") == (
        "trace: the heap trace is of no known form; expected one of npz, csv, jsonl, mtrace, ltrace"
        " (name the form, such as format='csv', or record one as docs/heap-traces.md says)"
    )
    with pytest.raises(UserError, match=r"format is 'elf'; expected one of npz, csv, jsonl"):
        opened(tmp_path, HEADER, format="elf")


@pytest.mark.parametrize("form", HEAP_TRACE_FORMATS)
def test_a_file_of_a_known_name_is_read_as_what_it_claims_to_be(tmp_path, form):
    with pytest.raises(UserError, match=r"expected (?!one of)"):
        opened(tmp_path, b"\x7fELF\x02\n", f"a.{form}.gz")


def test_a_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(UserError, match="the trace cannot be read: No such file"):
        open_heap_trace(tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        (
            "a.mtrace",
            {},
            "a heap trace cannot be written as mtrace; expected one of npz, csv, json",
        ),
        ("a", {}, "a heap trace cannot be written as a file without a suffix; expected one of npz"),
        ("a.csv", {"meta": {}}, "csv holds no meta; expected npz"),
        ("a.npz", {"meta": {"a": object()}}, "meta is no JSON: "),
        ("none/a.csv", {}, "the heap trace cannot be written: No such file or directory; "),
    ],
)
def test_what_cannot_be_written_is_told(tmp_path, name, options, said):
    with pytest.raises(UserError, match=said):
        write_heap_trace(tmp_path / name, [operations([("free", 0, 1, 0, 0)])], **options)

    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize("form", ["npz", "csv", "jsonl"])
def test_rows_that_are_not_legal_are_not_written(tmp_path, form):
    """And what was there before is there afterwards."""
    path = tmp_path / f"a.{form}"
    path.write_text("mine")
    rows = [("malloc", 0, 1, 5, 0), ("calloc", 0, 2, 7, 3)]

    with pytest.raises(UserError, match="operation 8: size of calloc is 7, arg is 3; expected"):
        write_heap_trace(path, [operations(rows, first=7)])

    assert "mine" == path.read_text()
    assert [path] == list(tmp_path.iterdir())


def test_each_operation_is_named_in_what_is_legal(tmp_path):
    said = problem_of(tmp_path, HEADER + "x,0,0,0,0\n")

    assert all(f"{number} {name}" in said for number, name in enumerate(HEAP_OPERATIONS))
