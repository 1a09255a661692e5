"""A process's heap, as far as all of its paths need it: its words, its settings, its pages."""

import numpy as np
from attrs import define
from numpy.typing import NDArray

from mmactors.malloc.jemalloc.pages.pages import Pages
from mmactors.malloc.jemalloc.par import DATA_AT
from mmactors.malloc.jemalloc.tcache.ticker import tick
from mmactors.malloc.request import MallocSteps
from mmactors.malloc.user_words import UserWords


@define(eq=False, kw_only=True)
class Heap:
    """What the calls of a process's jemalloc work on."""

    words: UserWords
    par: NDArray[np.int64]
    pages: Pages
    """What gives extents, and takes them back."""

    @property
    def data_at(self) -> int:
        """The address of the library's own data."""
        return int(self.par[DATA_AT])

    def arrays(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Return words, log and settings, with room for what an operation writes."""
        self.words.make_room()
        return self.words.words, self.words.log, self.par

    def tick(self, tsd: int, arena: int, nr_ticks: int = 1) -> MallocSteps[None]:
        """Count down, and look at an arena's decay if it is time (arena_decay_ticks)."""
        words, log, par = self.arrays()
        if tick(words, log, par, tsd, nr_ticks):
            yield from self.pages.purge.decay(tsd, arena)
