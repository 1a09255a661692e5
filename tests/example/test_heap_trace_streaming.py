"""Heap traces may be larger than memory: what is read is handed on before the rest is read."""

import tracemalloc
from itertools import count

import numpy as np
import pytest
from heap_traces import opened

from mmactors.workload.heap_trace.file import open_heap_trace

MIB = 1 << 20
CSV = "malloc,0,{0},16,0\nfree,0,{0},0,0\n"
JSON_LINES = '{{"op":0,"id":{0},"size":16}}\n{{"op":3,"id":{0}}}\n'
MTRACE = "@ ./prog:[0x12b4] + 0x55c468dc5500 0x64\n@ ./prog:[0x1307] - 0x55c468dc5500\n"
LTRACE = "prog->malloc(5)   = 0x55c468dc5500\nprog->free(0x55c468dc5500)  = <void>\n"


@pytest.mark.parametrize(
    ("head", "line"),
    [("op,tid,id,size,arg\n", CSV), ("", JSON_LINES), ("= Start\n", MTRACE), ("", LTRACE)],
    ids=["csv", "jsonl", "mtrace", "ltrace"],
)
def test_a_text_that_never_ends_is_read_as_far_as_somebody_asks(tmp_path, monkeypatch, head, line):
    """About a MiB of it at a time."""
    given = 0

    def endless(path):
        nonlocal given
        yield head.encode()
        for first in count(0, 1000):
            piece = "".join(line.format(number) for number in range(first, first + 1000)).encode()
            given += len(piece)
            yield piece

    trace = opened(tmp_path, head + line.format(0))
    monkeypatch.setattr("mmactors.workload.trace.input.read_pieces", endless)
    nr_rows = 0
    for piece in trace.chunks(10_000):
        nr_rows += len(piece)
        if nr_rows > 60_000:
            break

    assert nr_rows < 80_000
    assert given < 4 * MIB


def test_the_columns_of_an_archive_are_read_side_by_side(tmp_path):
    """A million operations, of which 65,536 are held."""
    path = tmp_path / "long.npz"
    length = 1_000_000
    number = np.arange(length)
    np.savez(
        path,
        op=np.where(number % 2, 3, 0),
        tid=np.zeros(length, np.int64),
        id=number // 2,
        size=np.full(length, 16),
        arg=np.zeros(length, np.int64),
    )
    trace = open_heap_trace(path)
    tracemalloc.start()
    try:
        rows = sum(len(piece) for piece in trace.chunks())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert length == rows
    assert path.stat().st_size > 38 * MIB
    assert peak < 24 * MIB
