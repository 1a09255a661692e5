"""Words of 32 bits that programs have stored: what stands in user memory, where anybody looks.

Frames hold no data of programs. What operations on words have stored is kept here by the page that
was reached, as long as the page is not given back; all else is zeros. A copy of a page has what the
page had, and a file's page what was there when it was written to its device.

Left out: whatever programs do to memory otherwise. An access of `touch`, a write of a device or a
`read` from a file changes no word, nor does a file whose length comes to lie within a page.
"""

from collections.abc import Hashable
from typing import Final

from mmactors.arch.page import PageColumns
from mmactors.units import PAGE_SIZE

WORD_BYTES: Final = 4
WORD_MASK: Final = (1 << 32) - 1
_WORD_BITS: Final = 8 * WORD_BYTES

Words = dict[int, int]
"""Aligned words by their offsets in a page, the lowest byte first; absent: 0."""


class FrameWords:
    """What was stored, by page."""

    def __init__(self, pages: PageColumns) -> None:
        self._generation: Final = pages.generation_view
        self._frames: Final[dict[int, tuple[int, Words]]] = {}
        """By page: its generation when they were stored, and its words."""
        self._stored: Final[dict[tuple[object, int], Words]] = {}
        """By file and page of it: what its device has."""

    def load(self, pfn: int, offset: int, nr_bytes: int = WORD_BYTES) -> int:
        """Return the bytes of a page from an offset on, the lowest first; at most a word."""
        there = self._of(pfn)
        if there is None:
            return 0
        shift = offset % WORD_BYTES
        word = there.get(offset - shift, 0)
        if shift:
            word |= there.get(offset - shift + WORD_BYTES, 0) << _WORD_BITS
        return word >> (8 * shift) & (1 << 8 * nr_bytes) - 1

    def store(self, pfn: int, offset: int, value: int, nr_bytes: int = WORD_BYTES) -> None:
        """Let a page have bytes from an offset on, the lowest first; at most a word."""
        assert offset + nr_bytes <= PAGE_SIZE, f"{nr_bytes} bytes from {offset} on leave the page"
        there = self._of(pfn)
        if there is None:
            there = {}
            self._frames[pfn] = self._generation[pfn], there
        shift = offset % WORD_BYTES
        first = offset - shift
        if not shift and nr_bytes == WORD_BYTES:
            there[first] = value & WORD_MASK
            return
        mask = (1 << 8 * nr_bytes) - 1
        both = there.get(first, 0) | there.get(first + WORD_BYTES, 0) << _WORD_BITS
        both = both & ~(mask << 8 * shift) | (value & mask) << 8 * shift
        there[first] = both & WORD_MASK
        if both >> _WORD_BITS:
            there[first + WORD_BYTES] = both >> _WORD_BITS
        else:
            there.pop(first + WORD_BYTES, None)

    def copy(self, source: int, target: int) -> None:
        """Let a page have what another has."""
        if self._frames:
            self._fill(target, self._of(source))

    def write_page(self, pfn: int, mapping: object, index: int) -> None:
        """Let the device of a file have what a page of it has."""
        if self._frames or self._stored:
            self._stored[mapping, index] = dict(self._of(pfn) or {})

    def read_page(self, pfn: int, mapping: object, index: int) -> None:
        """Let a new page have what the device of a file has."""
        if self._frames or self._stored:
            self._fill(pfn, self._stored.get((mapping, index)))

    def drop_page(self, mapping: object, index: int) -> None:
        """Let the device of a file have nothing there."""
        self._stored.pop((mapping, index), None)

    def key(self, pfn: int) -> Hashable:
        """Return what a page has, as a value."""
        return tuple(self.words_of(pfn).items())

    def words_of(self, pfn: int) -> Words:
        """Return the words of a page that are not 0, by their offsets."""
        there = self._of(pfn)
        return {offset: word for offset, word in sorted(there.items()) if word} if there else {}

    def _of(self, pfn: int) -> Words | None:
        generation, there = self._frames.get(pfn, (-1, None))
        return there if generation == self._generation[pfn] else None

    def _fill(self, pfn: int, there: Words | None) -> None:
        self._frames.pop(pfn, None)
        if there:
            self._frames[pfn] = self._generation[pfn], dict(there)
