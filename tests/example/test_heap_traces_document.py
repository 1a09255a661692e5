"""What docs/heap-traces.md shows is read as it says."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from heap_traces import TEXTS, opened, rows_of

from mmactors.arch.heap_trace import HEAP_OPERATIONS
from mmactors.workload.heap_trace.file import HEAP_TRACE_FORMATS, open_heap_trace
from mmactors.workload.heap_trace.ltrace_line import NR_ARGUMENTS

DOCUMENT = (Path(__file__).parents[2] / "docs" / "heap-traces.md").read_text()
ROWS = [
    ("malloc", 0, 0, 100, 0),
    ("calloc", 0, 1, 240, 10),
    ("realloc", 0, 0, 5000, 0),
    ("memalign", 0, 2, 64, 4096),
    ("free", 0, 1, 0, 0),
    ("free", 0, 0, 0, 0),
]


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", DOCUMENT, re.DOTALL)


@pytest.mark.parametrize("form", ["csv", "jsonl", "ltrace"])
def test_the_same_program_is_shown_in_each_form(tmp_path, form):
    (text,) = blocks(form)
    trace = opened(tmp_path, text, "shown")

    assert form == trace.form.value
    assert ROWS == rows_of(trace)


def test_mtrace_shows_the_program_without_its_functions(tmp_path):
    (text,) = blocks("mtrace")
    malloc = {"calloc", "memalign"}

    assert [
        ("malloc" if name in malloc else name, tid, number, size, 0)
        for name, tid, number, size, _ in ROWS
    ] == rows_of(opened(tmp_path, text, "shown"))


def test_what_python_is_shown_runs(tmp_path, monkeypatch, capsys):
    """The archive that numpy writes, and reading and writing with the façade."""
    monkeypatch.chdir(tmp_path)
    (csv,) = blocks("csv")
    Path("sort.csv").write_text(csv)
    for block in blocks("python"):
        exec(block, {})  # noqa: S102 - it is ours
    shown = capsys.readouterr().out

    assert ROWS == rows_of(open_heap_trace("mine.npz")) == rows_of(open_heap_trace("sort.npz"))
    assert {"case": "mine"} == open_heap_trace("mine.npz").meta
    assert {"case": "sort"} == open_heap_trace("sort.npz").meta
    assert "0 6 5404\n1 Counter()\n\n" == shown


def test_operations_and_functions_are_named():
    rows = [line.split("|")[1:3] for line in DOCUMENT.splitlines() if re.match(r"\| \d", line)]

    assert [(f" {number} ", f" `{name}` ") for number, name in enumerate(HEAP_OPERATIONS)] == [
        tuple(row) for row in rows
    ]
    assert [] == [name for name in NR_ARGUMENTS if not re.search(rf"\b{name}\b", DOCUMENT)]
    assert {"csv", "jsonl", "ltrace", "mtrace", "npz"} == set(HEAP_TRACE_FORMATS)


@pytest.mark.skipif(shutil.which("awk") is None, reason="there is no awk")
def test_heaptrack_s_raw_file_becomes_a_log(tmp_path):
    """Its lines are `+ size trace pointer` and `- pointer`, in hex; others say what traces are."""
    (command,) = re.findall(r"awk ('.*') > ", DOCUMENT)
    raw = (TEXTS / "heaptrack.raw").read_bytes()
    log = subprocess.run(["sh", "-c", f"awk {command}"], input=raw, capture_output=True, check=True)
    trace = opened(tmp_path, log.stdout, "prog.mtrace")
    rows = rows_of(trace)

    assert ("malloc", 0, 0, 0x11C00, 0) == rows[0], "what libstdc++ allocates when it starts"
    assert (28, 23) == (raw.count(b"\n+ "), raw.count(b"\n- "))
    assert (28, 23) == tuple(sum(row[0] == name for row in rows) for name in ("malloc", "free"))
    assert [] == trace.faults
