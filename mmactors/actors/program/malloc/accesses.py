"""What a library notes of its accesses, as traces of the machine.

A word is one access. What memset and memcpy go over is one access a page.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mmactors.arch.trace import LOAD, SIZE_SHIFT, Trace
from mmactors.units import PAGE_SHIFT, PAGE_SIZE

_ROWS_MAX: Final = 1 << 16
"""Of one trace."""


def traces_of(address: NDArray[np.int64], code: NDArray[np.int64]) -> Iterator[Trace]:
    """Yield accesses in their order; `code` is bytes << 1 | whether they are written."""
    nr_accesses = len(address)
    if not nr_accesses:
        return
    size = code >> 1
    last = address + size - 1
    nr_pages = (last >> PAGE_SHIFT) - (address >> PAGE_SHIFT) + 1
    if int(nr_pages.max()) == 1:
        yield Trace(address=address, meta=(LOAD + (code & 1)) | (size << SIZE_SHIFT))
        return
    ends = np.cumsum(nr_pages)
    for first in range(0, int(ends[-1]), _ROWS_MAX):
        row = np.arange(first, min(first + _ROWS_MAX, int(ends[-1])), dtype=np.int64)
        which = np.searchsorted(ends, row, side="right")
        nth = row - (ends - nr_pages)[which]
        start = np.where(
            nth == 0, address[which], ((address[which] >> PAGE_SHIFT) + nth) << PAGE_SHIFT
        )
        end = np.minimum((start | (PAGE_SIZE - 1)) + 1, last[which] + 1)
        yield Trace(address=start, meta=(LOAD + (code[which] & 1)) | ((end - start) << SIZE_SHIFT))
