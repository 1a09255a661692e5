"""ChampSim's traces: one record of 64 bytes an instruction, plain or compressed with xz or gzip.

A record (`input_instr` of ChampSim's inc/trace_instruction.h, little-endian): u64 ip, u8 is_branch,
u8 branch_taken, u8 destination registers [2], u8 source registers [4], u64 destination memory [2],
u64 source memory [4]; a memory address of 0 is none. It becomes a fetch of ip, a load for every
source, then a store for every destination, in the record's order.

A record holds no sizes. Every access is given 1 byte: ChampSim looks up only the block and the
page of an address, and so does an access of 1 byte, which never crosses a line. Registers and
branches are left out: the machine has no pipeline.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mmactors.arch.trace import FETCH, LOAD, SIZE_SHIFT, STORE, Trace
from mmactors.workload.trace.input import (
    CHUNK_ROWS,
    USER_END,
    bad_address,
    bad_trace,
    empty_trace,
    read_pieces,
)

RECORD_BYTES: Final = 64
ACCESS_BYTES: Final = 1
_INSTRUCTION_BYTES_MAX: Final = 15
_ROWS_MAX: Final = 7
"""A fetch, four loads, two stores."""

_RECORD: Final = np.dtype(
    [
        ("ip", "<i8"),
        ("is_branch", "u1"),
        ("branch_taken", "u1"),
        ("registers", "u1", (6,)),
        ("destination_memory", "<i8", (2,)),
        ("source_memory", "<i8", (4,)),
    ]
)
assert _RECORD.itemsize == RECORD_BYTES, f"a record has {_RECORD.itemsize} bytes"

_META: Final = np.array(
    [kind | (ACCESS_BYTES << SIZE_SHIFT) for kind in (FETCH, *[LOAD] * 4, *[STORE] * 2)], np.int64
)


def is_champsim(head: bytes) -> bool:
    """Return whether the first bytes of a file look like records of a program that runs.

    Flags are 0 or 1, addresses of user space, and at least every other instruction follows from
    the one before it: it is the next (1 to 15 bytes further), where a taken branch went to, or the
    same again on other memory (a string instruction with REP).
    """
    records = np.frombuffer(head[: len(head) // RECORD_BYTES * RECORD_BYTES], _RECORD)
    if len(records) < 2 or _is_no_record(records).any():
        return False
    addresses = np.column_stack([records["source_memory"], records["destination_memory"]])
    if ((addresses < 0) | (addresses >= USER_END)).any() or (records["ip"] >= USER_END).any():
        return False
    step = np.diff(records["ip"])
    is_next = (step > 0) & (step <= _INSTRUCTION_BYTES_MAX)
    is_target = (records["is_branch"] & records["branch_taken"])[:-1] == 1
    is_repeated = (step == 0) & (addresses[1:] != addresses[:-1]).any(axis=1)
    return 2 * int(np.count_nonzero(is_next | is_target | is_repeated)) >= len(step)


def _is_no_record(records: NDArray[np.void]) -> NDArray[np.bool_]:
    is_bad: NDArray[np.bool_] = (
        (records["ip"] <= 0) | (records["is_branch"] > 1) | (records["branch_taken"] > 1)
    )
    return is_bad


def read_champsim(path: Path, *, chunk_rows: int = CHUNK_ROWS) -> Iterator[Trace]:
    """Yield the trace in chunks of at most `chunk_rows` rows, at least 7.

    Raises UserError, with the record and its byte offset, for what is no such trace.
    """
    assert chunk_rows >= _ROWS_MAX, f"chunk_rows is {chunk_rows}"
    block_bytes = chunk_rows // _ROWS_MAX * RECORD_BYTES
    first = 0
    pieces: list[bytes] = []
    nr_bytes = 0
    for piece in read_pieces(path):
        pieces.append(piece)
        nr_bytes += len(piece)
        if nr_bytes < block_bytes:
            continue
        data = b"".join(pieces)
        for start in range(0, len(data) - block_bytes + 1, block_bytes):
            yield _trace(path, data[start : start + block_bytes], first)
            first += block_bytes // RECORD_BYTES
        pieces = [data[len(data) // block_bytes * block_bytes :]]
        nr_bytes = len(pieces[0])
    rest = b"".join(pieces)
    whole = len(rest) // RECORD_BYTES * RECORD_BYTES
    if whole:
        yield _trace(path, rest[:whole], first)
        first += whole // RECORD_BYTES
    if whole < len(rest):
        raise bad_trace(
            path,
            f"record {first}, at byte {first * RECORD_BYTES}, has {len(rest) - whole} bytes",
            f"expected records of {RECORD_BYTES} bytes",
            "the file is truncated, or no ChampSim trace: fetch it again",
        )
    if first == 0:
        raise empty_trace(path)


def _trace(path: Path, data: bytes, first: int) -> Trace:
    records = np.frombuffer(data, _RECORD)
    is_bad = _is_no_record(records)
    if is_bad.any():
        index = int(np.argmax(is_bad))
        record = records[index]
        raise bad_trace(
            path,
            f"record {first + index}, at byte {(first + index) * RECORD_BYTES}, has the ip "
            f"{int(record['ip']) & 0xFFFF_FFFF_FFFF_FFFF:#x}, is_branch {record['is_branch']}, "
            f"branch_taken {record['branch_taken']}",
            "expected an ip of user space, and flags 0 or 1",
            "check that the file holds ChampSim's 64-byte input_instr records",
        )
    address = np.column_stack(
        [records["ip"], records["source_memory"], records["destination_memory"]]
    ).astype(np.int64)
    is_wrong = (address < 0) | (address > USER_END - ACCESS_BYTES)
    if is_wrong.any():
        index = int(np.argmax(is_wrong)) // _ROWS_MAX
        where = f"record {first + index}, at byte {(first + index) * RECORD_BYTES},"
        raise bad_address(path, where, int(address[is_wrong][0]), ACCESS_BYTES)
    is_there = address != 0
    return Trace(address=address[is_there], meta=np.broadcast_to(_META, address.shape)[is_there])
