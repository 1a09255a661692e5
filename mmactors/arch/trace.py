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


@frozen(eq=False)
class Trace:
    """A piece of a memory trace.

    `address`: int64, virtual byte address. `meta`: int64, packed as COUNT_SHIFT says.
    """

    address: NDArray[np.int64]
    meta: NDArray[np.int64]
    line_bytes: int | None = None
    """None: one row an access. Otherwise fetch runs inside lines of this many bytes are one row."""

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
