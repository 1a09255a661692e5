"""Which pages and blocks `touch`, `read` and `write` visit, and in which order.

The orders are those of the recordings' interpreter: ascending by `step`; `rev` descending by
`step`; `rand:SEED` by x = x * 6364136223846793005 + 1442695040888963407 mod 2**64 from x = SEED,
number (x >> 33) mod pages, as many as `count` (default: one a page). Passes of a random touch go
on with the x of the pass before. `count` limits each pass.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mmactors.arch.trace import LOAD, SIZE_SHIFT, STORE, Trace, as_signed
from mmactors.units import PAGE_SHIFT, PAGE_SIZE
from mmactors.workload.operation.all import Read, Touch, Write
from mmactors.workload.trace.input import CHUNK_ROWS

_MULTIPLIER: Final = np.uint64(6364136223846793005)
_INCREMENT: Final = np.uint64(1442695040888963407)
_MASK: Final = (1 << 64) - 1


def _x_after(seed: int, steps: int) -> int:
    multiplier, increment = 1, 0
    step_multiplier, step_increment = int(_MULTIPLIER), int(_INCREMENT)
    # The steps are an affine map; its powers of two by squaring.
    while steps:
        if steps & 1:
            multiplier = multiplier * step_multiplier & _MASK
            increment = (increment * step_multiplier + step_increment) & _MASK
        step_increment = (step_increment * step_multiplier + step_increment) & _MASK
        step_multiplier = step_multiplier * step_multiplier & _MASK
        steps >>= 1
    return (multiplier * seed + increment) & _MASK


def random_numbers(seed: int, *, first: int, count: int, end: int) -> NDArray[np.int64]:
    """Return the numbers first..first+count-1, below `end`, of the generator started at `seed`."""
    assert end > 0, f"end is {end}"
    # x after n steps is a**n * x + c * (a**(n-1) + ... + 1), all modulo 2**64.
    ones: NDArray[np.uint64] = np.ones(count, np.uint64)
    power: NDArray[np.uint64] = np.cumprod(ones * _MULTIPLIER, dtype=np.uint64)
    ones[1:] = power[:-1]
    series: NDArray[np.uint64] = np.cumsum(ones, dtype=np.uint64)
    x = power * np.uint64(_x_after(seed, first)) + series * _INCREMENT
    return ((x >> np.uint64(33)) % np.uint64(end)).astype(np.int64)


def _per_pass(operation: Touch, nr_pages: int) -> int:
    if operation.order.seed is not None and nr_pages:
        return nr_pages if operation.count is None else operation.count
    visited = -(-nr_pages // operation.step)
    return visited if operation.count is None else min(visited, operation.count)


def nr_touches(operation: Touch, nr_pages: int) -> int:
    """Return how many accesses a touch of a range of `nr_pages` pages makes."""
    return _per_pass(operation, nr_pages) * operation.passes


def _pages(operation: Touch, nr_pages: int, first: int, count: int) -> NDArray[np.int64]:
    seed = operation.order.seed
    if seed is not None:
        return random_numbers(seed, first=first, count=count, end=nr_pages)
    index = np.arange(first, first + count, dtype=np.int64) % _per_pass(operation, nr_pages)
    page = index * operation.step
    return nr_pages - 1 - page if operation.order.is_reverse else page


def touch_pages(operation: Touch, nr_pages: int) -> NDArray[np.int64]:
    """Return the numbers of the pages in the order in which they are touched, all passes."""
    count = nr_touches(operation, nr_pages)
    return _pages(operation, nr_pages, 0, count) if count else np.empty(0, np.int64)


def page_trace(start: int, pages: NDArray[np.int64], kind: int) -> Trace:
    """Return one access of one byte to each page of a range that starts at `start`."""
    address = as_signed(start) + (pages << PAGE_SHIFT)
    return Trace(address=address, meta=np.full(len(pages), kind | (1 << SIZE_SHIFT), np.int64))


def touch_trace(
    operation: Touch, *, start: int, length: int, chunk_rows: int = CHUNK_ROWS
) -> Iterator[Trace]:
    """Yield the accesses of a touch of `length` bytes from `start`; a part of a page is a page."""
    assert chunk_rows > 0, f"chunk_rows is {chunk_rows}"
    nr_pages = -(-length // PAGE_SIZE)
    count = nr_touches(operation, nr_pages)
    kind = STORE if operation.access == "write" else LOAD
    for first in range(0, count, chunk_rows):
        pages = _pages(operation, nr_pages, first, min(chunk_rows, count - first))
        yield page_trace(start, pages, kind)


def block_offsets(operation: Read | Write) -> Iterator[int]:
    """Yield the file offset of each block in the order in which blocks are read or written.

    Ascending, the last block may be a short one; random visits only whole blocks.
    """
    size = operation.block_bytes
    if operation.order.seed is None:
        yield from range(operation.offset, operation.offset + operation.length, size)
        return
    nr_blocks = operation.length // size
    for first in range(0, nr_blocks, CHUNK_ROWS):
        count = min(CHUNK_ROWS, nr_blocks - first)
        blocks = random_numbers(operation.order.seed, first=first, count=count, end=nr_blocks)
        yield from (operation.offset + size * blocks).tolist()
