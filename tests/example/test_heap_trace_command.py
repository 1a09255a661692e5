"""`mmactors heap-trace`: what a heap trace holds, and the same trace in another form."""

import re
import shutil
from pathlib import Path

import pytest
from heap_traces import RECORDINGS, TEXTS, rows_of

from mmactors.cli.main import run_command
from mmactors.workload.heap_trace.file import open_heap_trace

DOCUMENT = Path(__file__).parents[2] / "docs" / "heap-traces.md"


def test_the_document_shows_what_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copy(TEXTS / "threads.ltrace", tmp_path)
    (shown,) = re.findall(r"\$ mmactors (heap-trace .*)\n((?:.*\n)*?)```", DOCUMENT.read_text())

    assert 0 == run_command(shown[0].split())
    assert shown[1] == capsys.readouterr().out
    assert rows_of(open_heap_trace("threads.ltrace")) == rows_of(open_heap_trace("threads.npz"))


@pytest.mark.parametrize("form", ["npz", "csv", "jsonl"])
def test_a_recording_is_written_in_another_form(tmp_path, capsys, form):
    """An archive keeps what it says of itself, and leaves out what an allocator did."""
    recording, path = open_heap_trace(RECORDINGS / "real_sort.npz"), tmp_path / f"sort.{form}"

    assert 0 == run_command(["heap-trace", str(recording.path), "--to", str(path)])
    written = open_heap_trace(path)
    assert rows_of(recording) == rows_of(written)
    assert (recording.meta if form == "npz" else {}) == written.meta
    assert f"{recording.path}: npz, 372 operations, 1 thread\n" in capsys.readouterr().out


def test_what_the_program_did_wrong_is_told_and_is_no_mistake_of_the_file(tmp_path, capsys):
    path = tmp_path / "a.csv"
    path.write_text("op,id,size\nmalloc,0,1\n" + "free,0,\n" * 13)

    assert 0 == run_command(["heap-trace", str(path)])
    out = capsys.readouterr().out.splitlines()
    assert f"the program's fault: {path}:4: object 0 is freed, and was freed before" == out[3]
    assert "the program's fault: and 2 more" == out[-1]


def test_a_file_that_is_none_is_told_with_its_place(tmp_path, capsys):
    """Exit code 2, and nothing is written."""
    path, target = tmp_path / "a.txt", tmp_path / "b.npz"
    path.write_text("op,id,size\nmalloc,0,1\nmalloc,0,1\n")

    assert 2 == run_command(["heap-trace", str(path), "--format", "csv", "--to", str(target)])
    assert capsys.readouterr().err.startswith(f"{path}:3: object 0 is allocated, and its number")
    assert [path] == list(tmp_path.iterdir())
