"""Recorded traces as numpy archives: `kind`, `size`, and address differences `di` and `dd`.

The format is that of tests/reference/traces: a zip file (members stored, deflated or LZMA) of four
one-dimensional arrays. `kind` (u8) and `size` (u16) have one entry an access; `di` (int64) has one
entry a fetch: its address minus the end of the fetch before it; `dd` (int64) one entry a data
access: its address minus the address of the data access before it. The first of each is absolute.

The four members are read side by side, so the memory used does not depend on the trace's length.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np

from mmactors.arch.trace import FETCH, Trace
from mmactors.workload.trace.archive import ArchiveForm, Column, open_columns
from mmactors.workload.trace.input import CHUNK_ROWS, check_rows, empty_trace

_FORM: Final = ArchiveForm(
    dtypes={"kind": ("|u1",), "size": ("<u2",), "di": ("<i8",), "dd": ("<i8",)},
    optional=frozenset(),
    legal="expected a numpy archive with the arrays kind (u8), size (u16), di and dd (int64)",
    advice="write it with numpy.savez_compressed, as tests/reference/traces/README.md describes",
)


def read_npz_chunks(path: Path, *, chunk_rows: int = CHUNK_ROWS) -> Iterator[Trace]:
    """Yield the trace in chunks of at most `chunk_rows` rows.

    Raises UserError for a file that is not such a trace.
    """
    assert chunk_rows > 0, f"chunk_rows is {chunk_rows}"
    with open_columns(path, _FORM) as columns:
        yield from _read(path, columns, chunk_rows)


def _read(path: Path, columns: dict[str, Column], chunk_rows: int) -> Iterator[Trace]:
    length = columns["kind"].length
    if length != columns["size"].length:
        raise _FORM.error(path, f"kind has {length} entries, size has {columns['size'].length}")
    if length == 0:
        raise empty_trace(path)
    fetch_end = 0
    data_address = 0
    for first in range(0, length, chunk_rows):
        count = min(chunk_rows, length - first)
        kind = columns["kind"].take(count)
        size = columns["size"].take(count)
        is_fetch = kind == FETCH
        nr_fetches = int(np.count_nonzero(is_fetch))
        step = columns["di"].take(nr_fetches).astype(np.int64)
        fetch_size = size[is_fetch].astype(np.int64)
        if nr_fetches:
            step[:1] += fetch_end
            step[1:] += fetch_size[:-1]
        fetch_address = np.cumsum(step)
        data_step = columns["dd"].take(count - nr_fetches).astype(np.int64)
        if len(data_step):
            data_step[:1] += data_address
        data_addresses = np.cumsum(data_step)
        address = np.empty(count, np.int64)
        address[is_fetch] = fetch_address
        address[~is_fetch] = data_addresses
        check_rows(path, kind=kind, size=size, address=address, first=first)
        if nr_fetches:
            fetch_end = int(fetch_address[-1] + fetch_size[-1])
        if len(data_step):
            data_address = int(data_addresses[-1])
        yield Trace.of_columns(kind, size, address)
    for column in columns.values():
        column.finish()


def read_npz(path: Path, *, limit: int | None = None) -> Trace:
    """Return the whole trace, or its first `limit` accesses, in memory.

    Raises UserError for a file that is not such a trace.
    """
    chunks = []
    nr_rows = 0
    for chunk in read_npz_chunks(path):
        chunks.append(chunk)
        nr_rows += len(chunk)
        if limit is not None and nr_rows >= limit:
            break
    return Trace(
        address=np.concatenate([chunk.address for chunk in chunks])[:limit],
        meta=np.concatenate([chunk.meta for chunk in chunks])[:limit],
    )
