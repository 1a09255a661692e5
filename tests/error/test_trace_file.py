"""Trace files of any form, and files that are none: chunks or a UserError, nothing else."""

import gzip
import io
import lzma
import struct
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmactors.errors import UserError
from mmactors.workload.trace.champsim import read_champsim
from mmactors.workload.trace.file import TRACE_FORMATS, TraceFormat, open_trace, trace_format
from mmactors.workload.trace.input import USER_END
from mmactors.workload.trace.lackey import read_lackey
from mmactors.workload.trace.npz import read_npz_chunks

LACKEY = b"==1== x\nI  04001000,3\n L 1ffeffe7e,8\n S 0000abcd,16\n M 10,1\n" * 20
CHAMPSIM = b"".join(
    struct.pack("<Q8B2Q4Q", 0x1000 + n, n & 1, 1, 2, 3, 4, 5, 6, 7, 0, n, 9, 0, 0, 1 << 40)
    for n in range(30)
)


def zipped(data):
    """Return data as gzip has it, with the same time at all times: it is in the names of tests."""
    return gzip.compress(data, mtime=0)


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
    LACKEY.replace(b"I  ", b"I "),
    CHAMPSIM,
    archive(),
    *(compress(LACKEY) for compress in (zipped, lzma.compress)),
    zstandard.ZstdCompressor().compress(LACKEY),
    lzma.compress(CHAMPSIM),
]
READERS = [
    open_trace,
    read_npz_chunks,
    read_lackey,
    read_champsim,
    *(partial(open_trace, form=form) for form in TRACE_FORMATS),
]


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
    max_examples=300,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
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
        (zipped(LACKEY), TraceFormat.LACKEY),
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


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        (b"L 1000,8", "did you mean ' L 1000,8'?"),
        (b"I\t0400d7d4,8", "did you mean 'I  0400d7d4,8'?"),
        (b" s 0x7ff0,16 ", "did you mean ' S 7ff0,16'?"),
        (b"  M: beef , 4", "did you mean ' M beef,4'?"),
        ("naïve program".encode(), "valgrind --log-file=FILE"),
    ],
)
def test_a_first_line_that_is_nearly_an_access_is_put_right(tmp_path, line, meant):
    """The file is known to be lackey's text; a look at it already says what is wrong, and where."""
    path = tmp_path / "trace"
    path.write_bytes(b"==7== Lackey\n" + line + b"\n")

    for look in (trace_format, lambda path: list(open_trace(path)), read_all_lackey):
        with pytest.raises(UserError) as caught:
            look(path)

        (problem,) = caught.value.problems
        assert (str(path), 2) == (problem.place.file, problem.place.line)
        assert problem.found.startswith("the line is '")
        assert "addresses in hex" in problem.legal
        assert meant in problem.advice


def read_all_lackey(path):
    return list(read_lackey(path))


@pytest.mark.parametrize(
    "records",
    [
        [(0x401000, 0, 0, 0x7F0000001000 + n) for n in range(64)],  # rep stos
        [(0x401000 + 64 * n, 1, 1, 0) for n in range(64)],  # jump after jump
        [(0x401000 + 5 * (n % 2), n % 2, n % 2, 0) for n in range(64)],  # a loop of two
    ],
)
def test_records_of_any_beginning_are_known_by_their_content(tmp_path, records):
    """Repeated string instructions and taken branches are a program's run as well."""
    path = tmp_path / "sort-5.trace"
    data = b"".join(
        struct.pack("<QBB6xQQ4Q", ip, is_branch, is_taken, store, 0, 0, 0, 0, 0)
        for ip, is_branch, is_taken, store in records
    )
    path.write_bytes(data)

    assert TraceFormat.CHAMPSIM is trace_format(path)


def test_a_form_that_is_named_is_the_form(tmp_path):
    """What no rule recognises is read as the user says; what cannot be that says so at once."""
    path = tmp_path / "t"
    strange = b"".join(struct.pack("<Q8x6Q", 0x5000 * (9 - n % 9), *[0] * 6) for n in range(64))
    path.write_bytes(strange)

    with pytest.raises(UserError, match="format=champsim"):
        trace_format(path)
    assert TraceFormat.CHAMPSIM is trace_format(path, "champsim")
    assert 64 == sum(map(len, open_trace(path, form="champsim")))
    for form, found in (("lackey", "t:1: the line is"), ("npz", "the archive cannot be read")):
        with pytest.raises(UserError, match=found):
            trace_format(path, form)

    path.write_bytes(LACKEY)
    with pytest.raises(UserError, match="record 0, at byte 0"):
        trace_format(path, "champsim")


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
        ("t", b"hello\n" + LACKEY, "t:1: the line is 'hello'"),
        ("t", b"==1== x\nhello" + LACKEY, "t:2: the line is 'hello==1== x'"),
        ("t", b"hello", "t:1: the line is 'hello'"),
        ("t.npz", b"hello", "the archive cannot be read"),
        ("t.lackey", b"hello\n", "the line is 'hello'"),
        ("t.champsimtrace.xz", b"hello", "record 0, at byte 0, has 5 bytes"),
        ("t.gz", zipped(LACKEY)[:-9], "the gzip data ends at byte"),
        ("t.xz", lzma.compress(LACKEY)[:-20], "the xz data ends at byte"),
        ("t.zst", zstandard.ZstdCompressor().compress(LACKEY)[:-3], "the zstd data ends at byte"),
        ("t.gz", zipped(LACKEY)[:-6] + bytes(6), "the gzip data is corrupt near byte"),
        ("t.gz", zipped(LACKEY) + b"garbage", "the gzip data is corrupt near byte"),
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
    data = [compressor.compress(LACKEY), *(compressor.compress(block) for _ in range(16))]
    path.write_bytes(b"".join(data) + compressor.flush())

    with pytest.raises(UserError, match="a line has more than"):
        list(open_trace(path))
