"""Trace files of any form, and files that are none: chunks or a UserError, nothing else."""

import gzip
import io
import lzma
import struct
from pathlib import Path

import numpy as np
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmactors.errors import UserError
from mmactors.workload.trace.champsim import read_champsim
from mmactors.workload.trace.file import TraceFormat, open_trace, trace_format
from mmactors.workload.trace.input import USER_END
from mmactors.workload.trace.lackey import read_lackey
from mmactors.workload.trace.npz import read_npz_chunks

LACKEY = b"==1== x\nI  04001000,3\n L 1ffeffe7e,8\n S 0000abcd,16\n M 10,1\n" * 20
CHAMPSIM = b"".join(
    struct.pack("<Q8B2Q4Q", 0x1000 + n, n & 1, 1, 2, 3, 4, 5, 6, 7, 0, n, 9, 0, 0, 1 << 40)
    for n in range(30)
)


def archive():
    file = io.BytesIO()
    np.savez_compressed(
        file,
        kind=np.array([0, 1, 2, 3] * 50, np.uint8),
        size=np.array([3, 8, 1, 4] * 50, np.uint16),
        di=np.full(50, 0x1000, np.int64),
        dd=np.full(150, 0x20, np.int64),
    )
    return file.getvalue()


VALID = [
    LACKEY,
    CHAMPSIM,
    archive(),
    *(compress(LACKEY) for compress in (gzip.compress, lzma.compress)),
    zstandard.ZstdCompressor().compress(LACKEY),
    lzma.compress(CHAMPSIM),
]
READERS = [open_trace, read_npz_chunks, read_lackey, read_champsim]


@st.composite
def damaged(draw):
    """A valid file of some form with bytes changed, cut, repeated."""
    data = bytearray(draw(st.sampled_from(VALID)))
    for _ in range(draw(st.integers(0, 4))):
        if not data:
            break
        place = draw(st.integers(0, len(data) - 1))
        match draw(st.integers(0, 3)):
            case 0:
                data[place] = draw(st.integers(0, 255))
            case 1:
                del data[place:]
            case 2:
                del data[place : place + draw(st.integers(1, 20))]
            case _:
                data[place:place] = draw(st.binary(max_size=12))
    return bytes(data)


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    data=damaged() | st.binary(max_size=300),
    name=st.sampled_from(["t", "t.npz", "t.lackey.gz", "t.champsimtrace.xz"]),
    reader=st.sampled_from(READERS),
)
def test_any_bytes_are_a_trace_or_an_error_for_people(tmp_path, data, name, reader):
    """Whatever the bytes, no other exception comes out, and no row outside user space."""
    path = tmp_path / name
    path.write_bytes(data)

    try:
        chunks = list(reader(path, chunk_rows=64))
    except UserError as error:
        (problem,) = error.problems
        assert problem.found
        assert problem.legal
        assert problem.advice
        assert str(path) == problem.place.file
    else:
        assert chunks
        assert all(0 < len(chunk) <= 64 for chunk in chunks)
        for chunk in chunks:
            assert chunk.address.min() >= 0
            assert (chunk.address + (chunk.meta >> 2)).max() <= USER_END


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (LACKEY, TraceFormat.LACKEY),
        (gzip.compress(LACKEY), TraceFormat.LACKEY),
        (zstandard.ZstdCompressor().compress(LACKEY), TraceFormat.LACKEY),
        (CHAMPSIM, TraceFormat.CHAMPSIM),
        (lzma.compress(CHAMPSIM), TraceFormat.CHAMPSIM),
        (archive(), TraceFormat.NPZ),
    ],
)
def test_the_content_says_which_form_it_is(tmp_path, data, expected):
    """A name without any meaning is enough."""
    path = tmp_path / "trace"
    path.write_bytes(data)

    assert expected is trace_format(path)
    assert sum(map(len, open_trace(path, chunk_rows=10))) > 0


def test_a_limit_cuts_inside_a_chunk(tmp_path):
    """Exactly the first accesses."""
    path = tmp_path / "trace"
    path.write_bytes(LACKEY)

    chunks = list(open_trace(path, limit=25, chunk_rows=10))

    assert [len(chunk) for chunk in chunks] == [10, 10, 5]


@pytest.mark.parametrize(
    ("name", "data", "found"),
    [
        ("t", b"", "the trace holds no access"),
        ("t", b"\x7fELF" + bytes(100), "of no known form"),
        ("t.npz", b"hello", "the archive cannot be read"),
        ("t.lackey", b"hello\n", "the line is 'hello'"),
        ("t.champsimtrace.xz", b"hello", "record 0, at byte 0, has 5 bytes"),
        ("t.gz", gzip.compress(LACKEY)[:-9], "the gzip data ends at byte"),
        ("t.xz", lzma.compress(LACKEY)[:-20], "the xz data ends at byte"),
        ("t.zst", zstandard.ZstdCompressor().compress(LACKEY)[:-3], "the zstd data ends at byte"),
        ("t.gz", gzip.compress(LACKEY)[:-6] + bytes(6), "the gzip data is corrupt near byte"),
        ("t.gz", gzip.compress(LACKEY) + b"garbage", "the gzip data is corrupt near byte"),
    ],
)
def test_a_file_that_is_no_trace_is_named(tmp_path, name, data, found):
    """Empty, unknown, truncated, corrupt: each has its text."""
    path = tmp_path / name
    path.write_bytes(data)

    with pytest.raises(UserError, match=found):
        list(open_trace(path))


@pytest.mark.parametrize("name", ["missing", "missing.npz", ".", "nul\0byte"])
def test_a_file_that_cannot_be_read_is_named(tmp_path, name):
    """Missing, a directory, an impossible name."""
    for reader in READERS:
        with pytest.raises(UserError, match="the trace cannot be read"):
            list(reader(tmp_path / name))


def test_zeros_behind_a_stream_are_padding(tmp_path):
    """As gzip and xz themselves take them."""
    path = Path(tmp_path / "t")
    path.write_bytes(gzip.compress(LACKEY) + bytes(5000) + gzip.compress(LACKEY))

    assert sum(map(len, open_trace(path))) == 160


def test_memory_stays_bounded_for_a_file_made_to_explode(tmp_path):
    """A long run of zeros is refused after a piece of it, not after all of it."""
    path = tmp_path / "bomb.lackey.xz"
    compressor = lzma.LZMACompressor()
    block = bytes(1 << 22)
    path.write_bytes(b"".join(compressor.compress(block) for _ in range(16)) + compressor.flush())

    with pytest.raises(UserError, match="a line has more than"):
        list(open_trace(path))
