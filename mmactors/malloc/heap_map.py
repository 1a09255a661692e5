"""What the memory that a library has got from the system holds: pieces by place, sums by page.

A look from outside, the same for all libraries: each says of its memory what bytes are.
"""

from collections.abc import Callable
from typing import Final

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from mmactors.units import PAGE_SHIFT, PAGE_SIZE

_USUAL: Final = 1 << 10
"""Rows that there is room for at first."""

LIVE: Final = 0
"""In blocks that the program has."""
CACHED: Final = 1
"""In caches: of threads, fastbins, transfer lists."""
FREE: Final = 2
TOP_CHUNK: Final = 3
"""Free at the end of a heap that grows."""
METADATA: Final = 4
"""The library's own: headers of chunks, heaps and arenas, thread caches, fences, spans."""
RETURNED: Final = 5
"""Its pages were given back, or never used; the library keeps the addresses."""
KINDS: Final = ("live", "cached", "free", "top", "metadata", "returned")
"""What bytes are."""


@frozen(eq=False, kw_only=True)
class Segment:
    """Memory that goes on, as the library has it: a heap of an arena, an extent, a span."""

    what: str
    """As the library calls it, such as main, heap, mapped."""
    arena: int
    """The number of the arena that has it, from 0; of memory that none has 0."""
    start: int
    end: int
    pieces: NDArray[np.int64]
    """Where what each begins, by address: rows of address, bytes and kind, without gaps."""
    chunks: NDArray[np.int64]
    """What the library divides it into: rows of address, bytes and kind."""
    top_bytes: int | None = None
    """Of the top chunk at its end; None: there is none."""
    pin: tuple[int, int] | None = None
    """The block below the top that keeps what is free below it, and its usable bytes."""
    broken_at: int | None = None
    """Where a header cannot be true; None: nowhere. What is behind it nobody knows."""

    def page_borders(self) -> NDArray[np.int64]:
        """Return numbers of pages: from one to before the next all pages hold the same.

        The first is that of its begin, the last that behind its end.
        """
        first, last = self.start >> PAGE_SHIFT, self.end + PAGE_SIZE - 1 >> PAGE_SHIFT
        begins = self.pieces[:, 0] >> PAGE_SHIFT
        borders = np.concatenate([begins, begins + 1, [first, self.end >> PAGE_SHIFT, last]])
        return np.unique(borders[(first <= borders) & (borders <= last)])

    def bytes_of_pages(self, pages: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return for pages by their numbers, and each of KINDS, how many bytes are that."""
        begins, ends = pages << PAGE_SHIFT, (pages + 1) << PAGE_SHIFT
        kinds = range(len(KINDS))
        upto = [_bytes_before(ends, self.pieces, kind) for kind in kinds]
        before = [_bytes_before(begins, self.pieces, kind) for kind in kinds]
        return np.stack(upto, axis=1) - np.stack(before, axis=1)


def _bytes_before(
    addresses: NDArray[np.int64], pieces: NDArray[np.int64], kind: int
) -> NDArray[np.int64]:
    """Return how many bytes of a kind lie before each of some addresses."""
    mine = pieces[pieces[:, 2] == kind]
    if not len(mine):
        return np.zeros(len(addresses), dtype=np.int64)
    before = np.concatenate(([0], np.cumsum(mine[:, 1])))
    nth = np.searchsorted(mine[:, 0], addresses, side="right")
    last = np.maximum(nth - 1, 0)
    within = np.minimum(addresses - mine[last, 0], mine[last, 1])
    return np.where(nth > 0, before[last] + within, 0)


def noted_rows(note: Callable[[NDArray[np.int64]], int], nr_columns: int) -> NDArray[np.int64]:
    """Return what `note` writes as rows into an array, one behind the other.

    It says how many rows there are, and gets room a second time if that of the first was too small.
    """
    found = np.zeros(_USUAL * nr_columns, dtype=np.int64)
    nr_words = note(found) * nr_columns
    if nr_words > len(found):
        found = np.zeros(nr_words, dtype=np.int64)
        note(found)
    return found[:nr_words].reshape(-1, nr_columns)


def segment_of_chunks(what: str, chunks: NDArray[np.int64], *, arena: int = 0) -> Segment:
    """Return a segment of chunks without gaps; those of one kind in a row are one piece."""
    kinds = chunks[:, 2]
    firsts = np.flatnonzero(np.append(True, kinds[1:] != kinds[:-1]))
    start, end = int(chunks[0, 0]), int(chunks[-1, 0] + chunks[-1, 1])
    begins = chunks[firsts, 0]
    sizes = np.diff(np.append(begins, end))
    pieces = np.column_stack([begins, sizes, kinds[firsts]])
    return Segment(what=what, arena=arena, start=start, end=end, pieces=pieces, chunks=chunks)
