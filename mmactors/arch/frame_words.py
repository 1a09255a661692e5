"""Words of 32 bits that programs have stored: what stands in user memory, where anybody looks.

Frames hold no data of programs. What operations on words have stored is kept here by the page that
was reached, a byte each, as long as the page is not given back; all else is zeros. A copy of a page
has what the page had, and a file's page what was there when it was written to its device.

Left out: whatever programs do to memory otherwise. An access of `touch`, a write of a device or a
`read` from a file changes no word.
"""

from collections.abc import Hashable
from typing import Final

from mmactors.arch.page import PageColumns
from mmactors.units import PAGE_SIZE

WORD_BYTES: Final = 4
WORD_MASK: Final = (1 << 32) - 1

Bytes = dict[int, int]
"""By offset in a page; absent: 0."""


class FrameWords:
    """The bytes of words that were stored, by page."""

    def __init__(self, pages: PageColumns) -> None:
        self._generation: Final = pages.generation_view
        self._frames: Final[dict[int, tuple[int, Bytes]]] = {}
        """By page: its generation when they were stored, and its bytes."""
        self._stored: Final[dict[tuple[object, int], Bytes]] = {}
        """By file and page of it: what its device has."""

    def load(self, pfn: int, offset: int, nr_bytes: int = WORD_BYTES) -> int:
        """Return the bytes of a page from an offset on, the lowest first."""
        there = self._of(pfn)
        value = 0
        if there:
            for nth in range(nr_bytes):
                value |= there.get(offset + nth, 0) << (8 * nth)
        return value

    def store(self, pfn: int, offset: int, value: int, nr_bytes: int = WORD_BYTES) -> None:
        """Let a page have bytes from an offset on, the lowest first."""
        assert offset + nr_bytes <= PAGE_SIZE, f"{nr_bytes} bytes from {offset} on leave the page"
        there = self._of(pfn)
        if there is None:
            there = {}
            self._frames[pfn] = self._generation[pfn], there
        for nth in range(nr_bytes):
            there[offset + nth] = value >> (8 * nth) & 0xFF

    def copy(self, source: int, target: int) -> None:
        """Let a page have what another has."""
        if self._frames:
            self._fill(target, self._of(source))

    def write_page(self, pfn: int, mapping: object, index: int) -> None:
        """Let the device of a file have what a page of it has."""
        if self._frames:
            self._stored[mapping, index] = dict(self._of(pfn) or {})

    def read_page(self, pfn: int, mapping: object, index: int) -> None:
        """Let a new page have what the device of a file has."""
        if self._stored:
            self._fill(pfn, self._stored.get((mapping, index)))

    def drop_page(self, mapping: object, index: int) -> None:
        """Let the device of a file have nothing there."""
        self._stored.pop((mapping, index), None)

    def key(self, pfn: int) -> Hashable:
        """Return what a page has, as a value."""
        there = self._of(pfn)
        return tuple(sorted(there.items())) if there else ()

    def words_of(self, pfn: int) -> dict[int, int]:
        """Return the words of a page that are not 0, by their offsets."""
        offsets = {offset & -WORD_BYTES for offset in self._of(pfn) or ()}
        words = {offset: self.load(pfn, offset) for offset in sorted(offsets)}
        return {offset: word for offset, word in words.items() if word}

    def _of(self, pfn: int) -> Bytes | None:
        generation, there = self._frames.get(pfn, (-1, None))
        return there if generation == self._generation[pfn] else None

    def _fill(self, pfn: int, there: Bytes | None) -> None:
        self._frames.pop(pfn, None)
        if there:
            self._frames[pfn] = self._generation[pfn], dict(there)
