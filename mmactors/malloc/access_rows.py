"""What a library has noted of its accesses, as traces of the machine (arch/trace.py).

A word is one access. What memset and memcpy go over is one access a page.
"""

from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from mmactors.arch.column import Words
from mmactors.arch.jit import compiled
from mmactors.arch.trace import LOAD, SIZE_SHIFT, Trace
from mmactors.malloc.user_words import UserWords
from mmactors.units import PAGE_SHIFT, PAGE_SIZE

_ROWS_USUAL: Final = 64
_ROWS_MAX: Final = 1 << 16
"""Of one trace."""


@compiled
def take_rows(log: Words, end_of_addresses: int, address: Words, meta: Words) -> int:
    """Let accesses be rows, and forget them; return how many rows there are.

    If these are more than there is room for, nothing else is done. Minus how many, less one, if an
    access follows to where programs have no addresses: its address is in the row behind them.
    """
    nr_rows = 0
    for place in range(1, 2 * log[0] + 1, 2):
        start = log[place]
        end = start + (log[place + 1] >> 1)
        if start < end and (start < 0 or end > end_of_addresses):
            if nr_rows < address.shape[0]:
                log[0] = 0
                address[nr_rows] = start
                return -1 - nr_rows
            return nr_rows + 1
        while start < end and nr_rows < address.shape[0]:
            stop = min((start | (PAGE_SIZE - 1)) + 1, end)
            address[nr_rows] = start
            meta[nr_rows] = (LOAD + (log[place + 1] & 1)) | (stop - start) << SIZE_SHIFT
            nr_rows += 1
            start = stop
        if start < end:
            nr_rows += ((end - 1) >> PAGE_SHIFT) - (start >> PAGE_SHIFT) + 1
    if nr_rows <= address.shape[0]:
        log[0] = 0
    return nr_rows


@frozen(eq=False)
class Accesses:
    """Accesses in their order, and where the one behind them goes that has no address."""

    traces: Iterable[Trace]
    beyond: int | None = None
    """As a signed number; None: there is no further one."""


def take_accesses(words: UserWords, end_of_addresses: int) -> Trace | Accesses | None:
    """Return the accesses noted, and forget them; None: there are none."""
    log = words.log
    if not log.size or not log[0]:
        return None
    nr_rows = _ROWS_USUAL
    while nr_rows <= _ROWS_MAX:
        address, meta = np.empty(nr_rows, np.int64), np.empty(nr_rows, np.int64)
        needed = take_rows(log, end_of_addresses, address, meta)
        if needed < 0:
            nr_rows = -1 - needed
            trace = Trace(address[:nr_rows], meta[:nr_rows])
            return Accesses((trace,), int(address[nr_rows]))
        if needed <= nr_rows:
            return Trace(address[:needed], meta[:needed])
        nr_rows = needed
    # Others may note accesses, too, before these are done.
    starts, codes = words.take_accesses()
    beyond = np.flatnonzero((starts < 0) | (starts > end_of_addresses - (codes >> 1)))
    if not beyond.size:
        return Accesses(_traces_of(starts, codes))
    first = int(beyond[0])
    return Accesses(_traces_of(starts[:first], codes[:first]), int(starts[first]))


def _traces_of(address: NDArray[np.int64], code: NDArray[np.int64]) -> Iterator[Trace]:
    """Yield accesses of many pages; `code` is bytes << 1, plus 1 if they are written."""
    last = address + (code >> 1) - 1
    nr_pages = (last >> PAGE_SHIFT) - (address >> PAGE_SHIFT) + 1
    ends = np.cumsum(nr_pages)
    nr_rows = int(nr_pages.sum())
    for first in range(0, nr_rows, _ROWS_MAX):
        row = np.arange(first, min(first + _ROWS_MAX, nr_rows), dtype=np.int64)
        which = np.searchsorted(ends, row, side="right")
        nth = row - (ends - nr_pages)[which]
        page = ((address[which] >> PAGE_SHIFT) + nth) << PAGE_SHIFT
        start = np.where(nth == 0, address[which], page)
        stop = np.minimum(page + PAGE_SIZE, last[which] + 1)
        meta = (LOAD + (code[which] & 1)) | ((stop - start) << SIZE_SHIFT)
        yield Trace(address=start, meta=meta)
