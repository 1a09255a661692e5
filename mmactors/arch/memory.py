"""Physical memory: frames of 512 words.

The kernel writes page tables into frames and the hardware walker reads them there: the two share
nothing but this memory. The host commits a frame when it is first written, so data frames, whose
contents nobody reads, cost nothing.
"""

import mmap
import sys
from collections.abc import Callable
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from mmactors.arch.pte import PTRS_PER_TABLE
from mmactors.units import PAGE_SIZE

_NORESERVE: Final = 0x4000 if sys.platform == "linux" else 0
"""MAP_NORESERVE, which the mmap module names from Python 3.13 on only."""


class Words(Protocol):
    """What Python code reads and writes page-table entries through."""

    def __getitem__(self, index: int, /) -> int: ...
    def __setitem__(self, index: int, value: int, /) -> None: ...


MemorySnapshot = dict[int, tuple[bool, NDArray[np.int64]]]
"""By frame: whether it is a page table, and its words."""
Change = int | tuple[int, bytes]
"""A frame that was claimed as it was, or with other words."""


class PhysicalMemory:
    """The words of all frames, `words[pfn * 512 + index]`, as one int64 array.

    Only frames that were claimed, as page tables or for objects, are part of a snapshot.
    """

    def __init__(self, nr_frames: int) -> None:
        self.nr_frames: Final = nr_frames
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _NORESERVE
        try:
            self._map: Final = mmap.mmap(-1, nr_frames * PAGE_SIZE, flags=flags)
        except OSError as error:
            raise MemoryError(f"no address space for {nr_frames} frames: {error}") from None
        self.words: Final = np.frombuffer(self._map, dtype=np.int64)
        self.view: Words = memoryview(self._map).cast("q")
        """The same words; indexing it from Python is twice as fast. Guard mode replaces it."""
        self._tables: Final[set[int]] = set()
        self._slabs: Final[set[int]] = set()

    def claim_table(self, pfn: int) -> None:
        """Make frame `pfn` an empty page table."""
        assert pfn not in self._tables, f"frame {pfn:#x} is a page table already"
        self._tables.add(pfn)
        first = pfn * PTRS_PER_TABLE
        self.words[first : first + PTRS_PER_TABLE] = 0

    def release_table(self, pfn: int) -> None:
        """Frame `pfn` is no page table any more; its words stay, as in real memory."""
        self._tables.remove(pfn)

    def claim_slab(self, pfn: int, nr_frames: int) -> None:
        """Let frames hold kernel objects; their words stay what they are."""
        self._slabs.update(range(pfn, pfn + nr_frames))

    def release_slab(self, pfn: int, nr_frames: int) -> None:
        """Frames hold no kernel objects any more; their words stay."""
        self._slabs.difference_update(range(pfn, pfn + nr_frames))

    def holds_objects(self, pfn: int) -> bool:
        """Say whether a frame was claimed for kernel objects."""
        return pfn in self._slabs

    @property
    def nr_tables(self) -> int:
        """How many frames hold page tables."""
        return len(self._tables)

    def snapshot(self) -> MemorySnapshot:
        """Return a copy of all page tables and slabs."""
        return {pfn: (pfn in self._tables, self._frame(pfn).copy()) for pfn in self._claimed()}

    def restore(self, snapshot: MemorySnapshot) -> None:
        """Put back what `snapshot` returned."""
        self._tables.clear()
        self._slabs.clear()
        for pfn, (is_table, words) in snapshot.items():
            (self._tables if is_table else self._slabs).add(pfn)
            self._frame(pfn)[:] = words

    def changes_since(self, snapshot: MemorySnapshot) -> Callable[[], tuple[Change, ...]]:
        """Return what tells all page tables and slabs apart from those of `snapshot`, as a value.

        The value names the frames that there are, with their words where these have changed.
        """
        before = {pfn: words.tobytes() for pfn, (_, words) in snapshot.items()}

        def changes() -> tuple[Change, ...]:
            found: list[Change] = []
            for pfn in self._claimed():
                words = self._frame(pfn).tobytes()
                found.append(pfn if words == before.get(pfn) else (pfn, words))
            return tuple(found)

        return changes

    def _claimed(self) -> list[int]:
        return sorted(self._tables | self._slabs) if self._slabs else sorted(self._tables)

    def _frame(self, pfn: int) -> NDArray[np.int64]:
        first = pfn * PTRS_PER_TABLE
        return self.words[first : first + PTRS_PER_TABLE]
