"""ChampSim's records become a trace."""

import gzip
import lzma
import struct

import pytest

from mmactors.arch.trace import FETCH, KIND_MASK, LOAD, SIZE_SHIFT, STORE
from mmactors.errors import UserError
from mmactors.workload.trace.champsim import is_champsim, read_champsim


def record(ip, *, sources=(), destinations=(), is_branch=0, branch_taken=0):
    sources = [*sources, 0, 0, 0, 0][:4]
    destinations = [*destinations, 0, 0][:2]
    return struct.pack(
        "<QBB2B4B2Q4Q", ip, is_branch, branch_taken, 1, 2, 3, 4, 5, 6, *destinations, *sources
    )


def rows(chunks):
    return [
        (int(meta & KIND_MASK), int(address), int(meta >> SIZE_SHIFT))
        for chunk in chunks
        for address, meta in zip(chunk.address, chunk.meta, strict=True)
    ]


def test_an_instruction_is_a_fetch_then_loads_then_stores(tmp_path):
    """Every access has one byte; an address of 0 is no access."""
    path = tmp_path / "t.champsimtrace"
    path.write_bytes(
        record(0x401000, sources=[0x7000, 0, 0x8000], destinations=[0, 0x9000])
        + record(0x401003, is_branch=1, branch_taken=1)
    )

    expected = [
        (FETCH, 0x401000, 1),
        (LOAD, 0x7000, 1),
        (LOAD, 0x8000, 1),
        (STORE, 0x9000, 1),
        (FETCH, 0x401003, 1),
    ]
    assert expected == rows(read_champsim(path))


@pytest.mark.parametrize("compress", [bytes, gzip.compress, lzma.compress])
def test_chunks_and_compression_do_not_show(tmp_path, compress):
    """Any chunk size and compression give the same rows."""
    path = tmp_path / "t"
    records = [record(0x1000 + 4 * n, sources=[0x8000 + n] * (n % 5)) for n in range(1000)]
    path.write_bytes(compress(b"".join(records)))
    expected = rows(read_champsim(path))

    assert len(expected) == 1000 + 2 * 1000
    for chunk_rows in (7, 100, 6999, 7000):
        assert expected == rows(read_champsim(path, chunk_rows=chunk_rows))


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (record(0x1000) + record(0x1004)[:-1], "record 1, at byte 64, has 63 bytes"),
        (record(0x1000) + record(0), "record 1, at byte 64, has the ip 0x0"),
        (record(0x1000, is_branch=9), "is_branch 9"),
        (record(0xFFFF_8000_0000_0000), "record 0, at byte 0, has the ip 0xffff800000000000"),
        (
            record(0x1000) + record(0x1004, sources=[1 << 47]),
            "record 1, at byte 64, touches 1 bytes at 0x800000000000",
        ),
        (b"", "holds no access"),
    ],
)
def test_a_wrong_record_is_named_by_its_place(tmp_path, data, found):
    """The error gives the record and its byte offset."""
    path = tmp_path / "t.champsim"
    path.write_bytes(data)

    with pytest.raises(UserError, match=found):
        list(read_champsim(path))


def test_records_are_recognised_by_their_flags():
    """Text, zeros, and numbers that are no running code are no records."""
    assert is_champsim(record(0x1000) + record(0x1004) + record(0x1007))
    assert not is_champsim(b"some text, longer than a record of 64 bytes" * 3)
    assert not is_champsim(bytes(128))
    assert not is_champsim(record(0x1000) * 3)
    assert not is_champsim(b"short")
