"""Every reader of a file from a stranger, and seeds of what it reads.

A reader either gives what it read or raises UserError, whose text is short and without control
characters; anything else that leaves it is a bug.
"""

import gzip
import io
import lzma
import struct
import tempfile
import zlib
from array import array
from base64 import b85encode
from contextlib import redirect_stderr, redirect_stdout
from functools import cache
from pathlib import Path

import numpy as np
import zstandard

from mmactors.cli.main import run_command
from mmactors.engine.schedule import Schedule
from mmactors.errors import Place, Problem, UserError
from mmactors.explore.execution.script import decode, encode
from mmactors.explore.search.store import Store
from mmactors.scenario.explain import explain_scenario
from mmactors.scenario.load import parse_scenario
from mmactors.workload.heap_trace.file import open_heap_trace
from mmactors.workload.trace.file import open_trace

CONFIGS = Path(__file__).parents[2] / "configs"
HEAP_TEXTS = Path(__file__).parents[1] / "reference" / "malloc" / "text"
HEAP_CSV = b"""\
op,tid,id,size,arg
malloc,0,0,100,0
calloc,1,1,240,10
realloc,0,0,0x1388,
free,0,1,,
free,0,-94108817473536,,
mallopt,0,,65536,-3
thread_end,1,,,
"""
HEAP_JSON_LINES = b"""\
{"op": "malloc", "id": 0, "size": 100}
{"op": 4, "tid": 1, "id": 1, "size": 64, "arg": 4096}
{"op": "free", "id": 1}
"""
TEXT_CHARS_MAX = 2_000_000
"""Of an error: a hundred lines, each of the longest."""


def read_scenario(data: bytes, folder: Path) -> None:
    """As `check` and `explain` do."""
    text = data.decode("utf-8", "replace")
    explain_scenario(parse_scenario(text, file="fuzz.yaml", folder=CONFIGS))


def read_trace(data: bytes, folder: Path) -> None:
    path = folder / "trace"
    path.write_bytes(data)
    for _ in open_trace(path):
        pass


def read_npz(data: bytes, folder: Path) -> None:
    path = folder / "trace.npz"
    path.write_bytes(data)
    for _ in open_trace(path, form="npz", chunk_rows=16):
        pass


def read_heap_trace(data: bytes, folder: Path) -> None:
    """A row where it stands, and what is wrong with the program, are told, too."""
    path = folder / "heap_trace"
    path.write_bytes(data)
    trace = open_heap_trace(path)
    *_, last = trace.chunks(16)
    must_be_tame("\n".join([*map(str, trace.faults), trace.where(last.first)]))


def read_heap_archive(data: bytes, folder: Path) -> None:
    path = folder / "heap_trace.npz"
    path.write_bytes(data)
    for _ in open_heap_trace(path, format="npz").chunks():
        pass


def read_script(data: bytes, folder: Path) -> None:
    decode(data.decode("utf-8", "replace"))


def read_kept(data: bytes, folder: Path) -> None:
    """What cannot be read of kept schedules is passed over."""
    store = Store(folder, "fuzz")
    kept = next(folder.glob("fuzz-*"), None)
    if kept is None:
        kept = folder / store._directory.name
        kept.mkdir()
    (kept / "a.txt").write_bytes(data)
    store.load()


def read_schedule(data: bytes, folder: Path) -> None:
    try:
        str(Schedule.parse(data.decode("utf-8", "replace")))
    except ValueError as error:  # `replay` tells it in four parts.
        raise UserError(
            Problem(place=Place("schedule"), found=str(error), legal="one", advice="run")
        ) from None


def read_log(data: bytes, folder: Path) -> None:
    """`logs`, `top` and `waits` show what can be read; the exit code says if that was all."""
    path = folder / "events.jsonl"
    path.write_bytes(data)
    for verb in (
        ["logs", str(path)],
        ["logs", str(path), "--format", "ftrace", "--by", "seq"],
        ["logs", str(path), "--format", "json"],
        ["top", str(path)],
        ["top", str(path), "waits"],
        ["waits", str(path)],
        ["objects", str(path)],
    ):
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            code = run_command(verb)
        assert code in (0, 2), f"{verb}: exit code {code}"
        assert (code == 2) <= bool(err.getvalue()), "an error is told"
        must_be_tame(out.getvalue())
        must_be_tame(err.getvalue())


READERS = {
    "scenario": read_scenario,
    "trace": read_trace,
    "npz": read_npz,
    "heap_trace": read_heap_trace,
    "heap_archive": read_heap_archive,
    "script": read_script,
    "kept": read_kept,
    "schedule": read_schedule,
    "log": read_log,
}


def read(name: str, data: bytes, folder: Path) -> str:
    """Give data to a reader; return its error, or nothing."""
    try:
        READERS[name](data, folder)
    except UserError as error:
        text = str(error)
        must_be_tame(text)
        assert len(text) < TEXT_CHARS_MAX
        for problem in error.problems[:3]:
            assert problem.found
            assert problem.legal
            assert problem.advice
        return text
    return ""


def must_be_tame(text: str) -> None:
    """Assert that a text does nothing to a terminal but end lines."""
    assert all(line.replace("\t", " ").isprintable() for line in text.split("\n")), repr(text[:500])


def seeds(name: str) -> list[bytes]:
    """Return whole files that a reader reads."""
    match name:
        case "scenario":
            return [each.read_bytes() for each in sorted(CONFIGS.glob("*.yaml"))]
        case "trace":
            text = b"==1== lackey\nI  0401ab70,3\n L 1fff000778,8\n S 1fff000770,8\n M 0404a0e0,4\n"
            rest = (0, 0, *[0] * 6, 0x7000, 0, 0x8000, 0, 0, 0)
            records = [struct.pack("<qBB6B2q4q", 0x401000 + 4 * at, *rest) for at in range(4)]
            plain = [text, b"".join(records)]
            packed = [gzip.compress(each, mtime=0) for each in plain]
            packed += [lzma.compress(each) for each in plain]
            packed += [zstandard.compress(each) for each in plain]
            return plain + packed
        case "npz":
            return _archives()
        case "heap_trace":
            texts = [each.read_bytes() for each in sorted(HEAP_TEXTS.glob("[a-v]*.[lm]trace"))]
            texts += [HEAP_CSV, HEAP_JSON_LINES, gzip.compress(HEAP_CSV, mtime=0)]
            return texts + _heap_archives()
        case "heap_archive":
            return _heap_archives()
        case "script":
            return [encode(SCRIPT, "0123456789ab").encode(), encode((), "0" * 12).encode()]
        case "kept":
            figures = (
                b'{"nr_preemptions": 1, "is_least": true, "is_shrunk": true, "found_by": "dfs", '
                b'"at_schedule": 3}'
            )
            return [seeds("script")[0] + b"\n" + figures + b"\n\nreport\n"]
        case "schedule":
            packed = b85encode(zlib.compress(array("I", [0, 1, 0]).tobytes(), 9)).decode()
            head = "mmactors schedule 1\n0123456789abcdef01234567\ncomplete\n2\n"
            return [f"{head}cpu0: run\ncpu1: wait\n{packed}\n".encode()]
        case _:
            return [_log()]


SCRIPT = (("cpu0", "read pte"), ("cpu1", "write pte"), ("cpu0", "a\nb\\"))


@cache
def _log() -> bytes:
    """Return the log of a run with calls, faults, waits and interrupts."""
    with tempfile.TemporaryDirectory() as folder:
        scenario, run_dir = Path(folder, "a.yaml"), Path(folder, "run")
        scenario.write_text(SCENARIO)
        assert run_command(["run", str(scenario), "--out", str(run_dir), "-q"]) == 0
        return (run_dir / "events.jsonl").read_bytes()


SCENARIO = """
machine: {cpus: 2}
processes:
  - name: a
    program:
      - mmap A 16K
      - touch A write
      - thread T cpu=1
      - "T: touch A write"
      - "T: madvise A DONTNEED"
      - mprotect A prot=r
      - munmap A
"""


def _heap_archives() -> list[bytes]:
    found = []
    for save in (np.savez, np.savez_compressed):
        file = io.BytesIO()
        meta = np.frombuffer(b'{"threads": 2}', np.uint8)
        save(
            file,
            op=[0, 1, 3],
            tid=[0, 1, 0],
            id=[0, 1, 1],
            size=[9, 6, 0],
            arg=[0, 2, 0],
            meta=meta,
        )
        found.append(file.getvalue())
    return found


def _archives() -> list[bytes]:
    found = []
    for save in (np.savez, np.savez_compressed):
        file = io.BytesIO()
        save(
            file,
            kind=np.array([0, 1, 2, 3], np.uint8),
            size=np.array([4, 8, 8, 4], np.uint16),
            di=np.array([0x400000], np.int64),
            dd=np.array([0x7000, 8, 8], np.int64),
        )
        found.append(file.getvalue())
    return found
