"""The text of lackey becomes a trace."""

import gzip
import lzma
from pathlib import Path

import numpy as np
import pytest
import zstandard

from mmactors.arch.trace import FETCH, KIND_MASK, LOAD, MODIFY, SIZE_SHIFT, STORE
from mmactors.errors import UserError
from mmactors.workload.trace.lackey import read_lackey

RECORDED = Path(__file__).parents[1] / "reference" / "lackey" / "true.lackey"


def rows(chunks):
    return [
        (int(meta & KIND_MASK), int(address), int(meta >> SIZE_SHIFT))
        for chunk in chunks
        for address, meta in zip(chunk.address, chunk.meta, strict=True)
    ]


def test_every_kind_of_line_is_an_access(tmp_path):
    """Fetch, load, store, modify in the order of the lines; messages carry nothing."""
    path = tmp_path / "t.lackey"
    path.write_text(
        "==1== Lackey\nI  04001000,3\n L 1ffeffe7e,8\n--1-- note\n S 0000ABCD,16\r\n M 10,1\n"
    )

    expected = [
        (FETCH, 0x4001000, 3),
        (LOAD, 0x1FFEFFE7E, 8),
        (STORE, 0xABCD, 16),
        (MODIFY, 0x10, 1),
    ]
    assert expected == rows(read_lackey(path))


def test_a_recorded_trace_has_the_counts_of_grep():
    """The README beside the recording counts its lines."""
    accesses = rows(read_lackey(RECORDED))

    counts = [sum(kind == row[0] for row in accesses) for kind in (FETCH, LOAD, STORE, MODIFY)]
    assert counts == [695, 114, 71, 20]
    assert accesses[0] == (FETCH, 0x0401AB70, 3)
    assert accesses[-1] == (FETCH, 0x04919407, 2)


@pytest.mark.parametrize("chunk_rows", [1, 7, 899, 900, 901])
def test_chunks_of_any_size_are_the_whole_trace(chunk_rows):
    """Where a chunk ends does not show."""
    chunks = list(read_lackey(RECORDED, chunk_rows=chunk_rows))

    assert rows(read_lackey(RECORDED)) == rows(chunks)
    assert max(map(len, chunks)) <= chunk_rows


@pytest.mark.parametrize(
    "compress", [gzip.compress, lzma.compress, zstandard.ZstdCompressor().compress]
)
def test_compressed_text_is_the_same_trace(tmp_path, compress):
    """The compression is seen in the bytes, and several streams in a row are one text."""
    path = tmp_path / "trace"
    text = RECORDED.read_bytes()
    cut = len(text) // 3
    path.write_bytes(compress(text[:cut]) + compress(text[cut:]))

    assert rows(read_lackey(RECORDED)) == rows(read_lackey(path))


def test_blocks_are_joined_at_any_byte(tmp_path):
    """A text of several blocks is the lines it consists of."""
    path = tmp_path / "long.lackey"
    lines = [f" L {0x10000 + 8 * number:x},8\n" for number in range(200_000)]
    path.write_text("".join(lines))

    address = np.concatenate([chunk.address for chunk in read_lackey(path)])

    assert np.arange(0x10000, 0x10000 + 8 * 200_000, 8).tolist() == address.tolist()


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("hello world\n", "the line is 'hello world'"),
        (" X 1000,4\n", "the line is ' X 1000,4'"),
        (" L 1000\n", "the line is ' L 1000'"),
        (" L 1000,4 \n", "the line is"),
        (" L ,4\n", "the line is"),
        ("\n", "the line is ''"),
        (" L 1000,0\n", "has the size 0"),
        (" L 1000,65536\n", "has the size 65536"),
        (" L 7ffffffff000,1\n", "touches 1 bytes at 0x7ffffffff000"),
        (" L ffffffffff600000,1\n", "touches 1 bytes at 0xffffffffff600000"),
        (" L 1000,8", "has no line end"),
    ],
)
def test_a_wrong_line_is_named_by_its_number(tmp_path, line, found):
    """The error gives the file and the line."""
    path = tmp_path / "t.lackey"
    path.write_text(f"==1== x\nI  1000,4\n{line}")

    with pytest.raises(UserError, match=found) as caught:
        list(read_lackey(path))

    assert f"{path}:3" == str(caught.value.problems[0].place)


def test_a_text_of_messages_only_is_empty(tmp_path):
    """A trace without an access is an error."""
    path = tmp_path / "t.lackey"
    path.write_text("==1== Lackey\n")

    with pytest.raises(UserError, match="holds no access"):
        list(read_lackey(path))
