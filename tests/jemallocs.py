"""jemalloc without a machine: a process that is linked with it, and its heap looked at."""

from typing import Final

import numpy as np
from attrs import define, field
from ptmallocs import Guest

from mmactors.arch.heap_trace import HeapOperations
from mmactors.malloc.jemalloc.jemalloc import Jemalloc
from mmactors.malloc.jemalloc.options import JemallocOptions
from mmactors.malloc.jemalloc.tsd import ARENA, TSD_BYTES
from mmactors.malloc.replay import Replay
from mmactors.malloc.request import ClockGettime, Madvise
from mmactors.validate.malloc.jemalloc_geometry import nr_taken

DATA_AT: Final = 0x7FFF_F7CC_D000
TSD_AT: Final = 0x7FFF_F7F9_1738
SECOND: Final = 1_000_000_000


class Clock:
    """Answers what time it is; other calls are the kernel's."""

    def __init__(self, kernel):
        self.kernel = kernel
        self.now_ns = SECOND

    @property
    def calls(self):
        return self.kernel.calls

    def answer(self, request):
        return self.now_ns if isinstance(request, ClockGettime) else self.kernel.answer(request)


@define(eq=False)
class JeGuest(Guest):
    """A process that is linked with jemalloc, which has started."""

    options: JemallocOptions = field(factory=JemallocOptions)
    library: Jemalloc = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.kernel = Clock(self.kernel)
        self.library = Jemalloc(
            data_at=DATA_AT,
            nr_cpus=self.nr_cpus,
            options=self.options,
        )
        assert self.new_thread() == 0
        self.call(self.library.initialize(0))

    def new_thread(self):
        thread = self.library.new_thread()
        self.library.set_thread_pointer(thread, TSD_AT + TSD_BYTES - 0x41000 * thread)
        return thread

    def go_on(self, running):
        """Let a thread come to its next request; pages that are given back read 0 from then on."""
        super().go_on(running)
        if isinstance(running.asked, Madvise):
            start = running.asked.address
            self.library.words.discard(start, start + running.asked.length)

    def malloc(self, size, thread=0):
        return self.call(self.library.malloc(thread, size))

    def calloc(self, members, size, thread=0):
        return self.call(self.library.calloc(thread, members, size))

    def realloc(self, block, size, thread=0):
        return self.call(self.library.realloc(thread, block, size))

    def memalign(self, alignment, size, thread=0):
        return self.call(self.library.memalign(thread, alignment, size))

    def free(self, block, thread=0):
        self.call(self.library.free(thread, block))

    def usable(self, block):
        return self.library.peek_usable_size(block)

    def arena_of_thread(self, thread=0):
        """Return the number of the arena that a thread has."""
        arenas = self.library.arenas
        tsd = int(self.library.tsds[thread])
        chosen = self.library.words.peek(tsd + ARENA)
        return next(index for index in range(arenas.nr_total) if arenas.at(index) == chosen)

    def taken(self, class_bytes):
        """Return how many blocks of a class the first arena has given, to caches too."""
        return nr_taken(self.library, self.library.arenas.at(0), class_bytes)

    def rows(self, rows, nr_threads=1):
        """Return a replay of rows of op, thread, object, size and argument."""
        op, tid, number, size, arg = list(zip(*rows, strict=True)) if rows else [[]] * 5
        return Replay(
            library=self.library,
            operations=HeapOperations(
                first=0,
                op=np.array(op, np.uint8),
                tid=np.array(tid, np.int32),
                id=np.array(number, np.int64),
                size=np.array(size, np.int64),
                arg=np.array(arg, np.int64),
                line=np.arange(len(rows)),
            ),
            threads=np.arange(nr_threads, dtype=np.int64),
            objects=np.zeros(max(number, default=0) + 1, np.int64),
            address=np.zeros(len(rows), np.int64),
            usable=np.zeros(len(rows), np.int64),
        )
