"""The form in which memory accesses reach the access path: two columns, one row a run of accesses.

A row is an access of one instruction: fetch, load, store, or modify (load and store of the same
bytes). A row may stand for a run of fetches that follow each other in one line: see `collapse`.
"""

from typing import Final

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

FETCH: Final = 0
LOAD: Final = 1
STORE: Final = 2
MODIFY: Final = 3

KIND_MASK: Final = 3
SIZE_SHIFT: Final = 2
SIZE_MASK: Final = 0xFFFF
COUNT_SHIFT: Final = 18
"""meta = kind | size << 2 | (count - 1) << 18; count is 1 except for a run of fetches."""


def as_signed(address: int) -> int:
    """Return an address of 64 bits as a trace's column holds it: from 2^63 on it is negative."""
    return address - (1 << 64) if address >> 63 else address


@frozen(eq=False)
class Trace:
    """A piece of a memory trace.

    `address`: int64, virtual byte address. `meta`: int64, packed as COUNT_SHIFT says.
    """

    address: NDArray[np.int64]
    meta: NDArray[np.int64]
    line_bytes: int | None = None
    """None: one row an access. Otherwise a row may be a run of fetches in a line of this length."""

    @classmethod
    def of_columns(
        cls,
        kind: NDArray[np.uint8],
        size: NDArray[np.uint16],
        address: NDArray[np.int64],
    ) -> "Trace":
        """Make a trace of one row an access."""
        meta = kind.astype(np.int64) | (size.astype(np.int64) << SIZE_SHIFT)
        return cls(address=np.ascontiguousarray(address, np.int64), meta=meta)

    def __len__(self) -> int:
        return len(self.address)

    @property
    def nr_accesses(self) -> int:
        """How many accesses the rows stand for."""
        return len(self.meta) + int((self.meta >> COUNT_SHIFT).sum())

    def collapse(self, line_bytes: int) -> "Trace":
        """Return the same accesses with runs of fetches in one line as one row each.

        A fetch joins the row before it if that is a fetch too and it lies wholly in the line of
        that row's last byte. Such a fetch hits the newest line of its set and the newest entry of
        the instruction TLB, and changes neither, whatever the geometry and the replacement; so
        counts and costs stay equal, for every L1I whose lines are a multiple of `line_bytes`.
        A batch can end only between rows.
        """
        assert line_bytes & (line_bytes - 1) == 0, f"lines of {line_bytes} bytes"
        shift = line_bytes.bit_length() - 1
        is_fetch = (self.meta & KIND_MASK) == FETCH
        size = (self.meta >> SIZE_SHIFT) & SIZE_MASK
        first_line = self.address >> shift
        last_line = (self.address + size - 1) >> shift
        starts_row = np.ones(len(self), bool)
        starts_row[1:] = ~(
            is_fetch[1:]
            & is_fetch[:-1]
            & (first_line[1:] == last_line[1:])
            & (first_line[1:] == last_line[:-1])
        )
        rows = np.flatnonzero(starts_row)
        extra = self.meta >> COUNT_SHIFT
        counts = np.add.reduceat(extra + 1, rows) if len(rows) else extra
        meta = (self.meta[rows] & ((1 << COUNT_SHIFT) - 1)) | ((counts - 1) << COUNT_SHIFT)
        finest = line_bytes if self.line_bytes is None else min(line_bytes, self.line_bytes)
        return Trace(address=self.address[rows], meta=meta, line_bytes=finest)
