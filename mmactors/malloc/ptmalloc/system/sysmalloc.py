"""Memory from the system, and back to it (sysmalloc, systrim of malloc/malloc.c; misc/sbrk.c).

Large requests are mappings of their own. The top of the main arena grows by the program break, as
long as nobody else moves that, else by mappings; what the old top has left is fenced and freed. A
break that somebody else has moved up counts as the arena's memory. Other arenas have heaps.
"""

from typing import Final

import numpy as np
from attrs import define, field
from numpy.typing import NDArray

from mmactors.arch.trace import as_signed
from mmactors.label import Label, Mode
from mmactors.malloc.library import MallocAbortError
from mmactors.malloc.ptmalloc.arena.arenas import Arenas
from mmactors.malloc.ptmalloc.arena.heap_info import (
    AR_PTR,
    extend_top,
    heap_for_ptr,
    heap_trim,
    madvise_thp,
)
from mmactors.malloc.ptmalloc.chunk import (
    ALIGN_MASK,
    CHUNK_HDR_SZ,
    MINSIZE,
    PREV_INUSE,
    SIZE,
    SIZE_BITS,
)
from mmactors.malloc.ptmalloc.cut import cut_top
from mmactors.malloc.ptmalloc.int_free import int_free
from mmactors.malloc.ptmalloc.malloc_par import (
    HP_FLAGS,
    HP_PAGESIZE,
    MMAP_THRESHOLD,
    N_MMAPS,
    N_MMAPS_MAX,
    SBRK_BASE,
    THP_PAGESIZE,
    TOP_PAD,
)
from mmactors.malloc.ptmalloc.malloc_state import (
    MAX_SYSTEM_MEM,
    SYSTEM_MEM,
    TOP,
    UNSORTED,
    bin_at,
    is_contiguous,
    set_noncontiguous,
)
from mmactors.malloc.ptmalloc.messages import NEEDS_TRIM, check, malloc_assert
from mmactors.malloc.ptmalloc.system.mmap_chunk import map_memory, sysmalloc_mmap
from mmactors.malloc.request import Brk, MallocSteps, ask
from mmactors.units import MIB, PAGE_SIZE, ULONG_MAX

MMAP_AS_MORECORE_SIZE: Final = MIB
"""Bytes that are mapped at least where the program break cannot grow."""

_OLD_TOP_IS_RIGHT: Final = (
    "(old_top == initial_top (av) && old_size == 0) || ((unsigned long) (old_size) >= MINSIZE &&"
    " prev_inuse (old_top) && ((unsigned long) old_end & (pagesize - 1)) == 0)"
)


@define(eq=False)
class SystemMemory:
    """How a process's malloc gets memory, and gives it back."""

    arenas: Arenas
    curbrk: int = 0
    """Where the C library takes the program break to be (__curbrk); 0: it has not asked yet."""
    begins: list[int] = field(factory=list)
    """Where memory of the main arena begins that does not join what it had: glibc does not know."""

    def arrays(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Return what compiled paths work on, with room for one operation."""
        words = self.arenas.words
        words.make_room()
        return words.words, words.log, self.arenas.par

    def sbrk(self, increment: int) -> MallocSteps[int]:
        """Move the program break; return where it was, 0: it cannot be moved (MORECORE)."""
        if self.arenas.par[HP_PAGESIZE]:
            return 0
        if not self.curbrk:
            self.curbrk = yield from ask(Brk(0))
        old = self.curbrk
        wanted = old + increment
        if increment == 0:
            return old
        if not 0 <= wanted <= ULONG_MAX:
            return 0
        self.curbrk = yield from ask(Brk(wanted))
        return old if self.curbrk >= wanted else 0

    def sysmalloc(self, tcache: int, av: int, size: int) -> MallocSteps[int]:
        """Return a block for a chunk that the top of an arena cannot serve; 0: there is no memory.

        An arena of 0 is none: only a mapping can serve then.
        """
        arenas, words, par = self.arenas, self.arenas.words, self.arenas.par
        if arenas.wants_step():
            yield Label("read mmap_threshold", (arenas.touches_par(Mode.READ),))
        tried_mmap = not av or (
            size >= int(par[MMAP_THRESHOLD]) & ULONG_MAX and par[N_MMAPS] < par[N_MMAPS_MAX]
        )
        if tried_mmap:
            block = yield from self._map_chunk(size)
            if block or not av:
                return block
        old_top = words.load(av + TOP)
        head = words.load(old_top + SIZE)
        old_size = head & ~SIZE_BITS
        is_right = (
            old_size >= MINSIZE and head & PREV_INUSE and (old_top + old_size) % PAGE_SIZE == 0
        ) or (old_top == bin_at(av, UNSORTED) and old_size == 0)
        malloc_assert(bool(is_right), "sysmalloc", _OLD_TOP_IS_RIGHT)
        if av == arenas.main_arena:
            yield from self._extend_main_top(tcache, size, old_top, old_size)
        else:

            def free(arena: int, chunk: int) -> MallocSteps[None]:
                return self.free_locked(tcache, arena, chunk)

            is_extended = yield from extend_top(arenas, av, size, free)
            if not is_extended and not tried_mmap:
                block = yield from sysmalloc_mmap(arenas, size, PAGE_SIZE, 0)
                if block:
                    return block
        system_mem = words.load(av + SYSTEM_MEM)
        if system_mem > words.load(av + MAX_SYSTEM_MEM):
            words.store(av + MAX_SYSTEM_MEM, system_mem)
        top = words.load(av + TOP)
        found = words.load(top + SIZE) & ~SIZE_BITS
        if found < size + MINSIZE:
            return 0
        return cut_top(*self.arrays(), av, top, size, found)

    def _map_chunk(self, size: int) -> MallocSteps[int]:
        hp_pagesize = int(self.arenas.par[HP_PAGESIZE])
        if hp_pagesize and size >= hp_pagesize:
            flags = int(self.arenas.par[HP_FLAGS])
            block = yield from sysmalloc_mmap(self.arenas, size, hp_pagesize, flags)
            if block:
                return block
        return (yield from sysmalloc_mmap(self.arenas, size, PAGE_SIZE, 0))

    def _extend_main_top(
        self, tcache: int, nb: int, old_top: int, old_size: int
    ) -> MallocSteps[None]:
        """Let the main arena's top grow for a chunk of `nb` bytes, or begin elsewhere."""
        words, par, av = self.arenas.words, self.arenas.par, self.arenas.main_arena
        size = nb + int(par[TOP_PAD]) + MINSIZE
        if is_contiguous(words.words, words.log, av):
            size -= old_size
        thp_pagesize = int(par[THP_PAGESIZE])
        if thp_pagesize:
            size = (self.curbrk + size + thp_pagesize - 1 & -thp_pagesize) - self.curbrk
        else:
            size = size + PAGE_SIZE - 1 & -PAGE_SIZE
        size = as_signed(size & ULONG_MAX)
        start = second = 0
        if size > 0:
            start = yield from self.sbrk(size)
            if start:
                yield from madvise_thp(self.arenas, start, size)
        if not start:
            start, size = yield from self._map_as_top(size, nb, old_size)
            second = start + size
        if not start:
            return
        par[SBRK_BASE] = par[SBRK_BASE] or start
        self._add_system_mem(size)
        if start == old_top + old_size and not second:
            words.store(old_top + SIZE, (size + old_size) | PREV_INUSE)
        elif is_contiguous(words.words, words.log, av) and old_size and start < old_top + old_size:
            raise MallocAbortError("break adjusted to free malloc space")
        else:
            yield from self._begin_top(tcache, start, size, second)

    def _map_as_top(self, size: int, nb: int, old_size: int) -> MallocSteps[tuple[int, int]]:
        """Map memory instead of moving the break; 0: it cannot be had (sysmalloc_mmap_fallback)."""
        words, par, av = self.arenas.words, self.arenas.par, self.arenas.main_arena
        hp_pagesize = int(par[HP_PAGESIZE])
        pages = [(MMAP_AS_MORECORE_SIZE, PAGE_SIZE, 0)]
        if hp_pagesize:
            pages.insert(0, (hp_pagesize, hp_pagesize, int(par[HP_FLAGS])))
        for pagesize, least, flags in pages:
            length = size
            if is_contiguous(words.words, words.log, av):
                length = size + old_size + pagesize - 1 & -pagesize
            length = max(length & ULONG_MAX, least)
            if length <= nb:
                break
            start = yield from map_memory(self.arenas, length, flags)
            if start:
                words.make_room()
                set_noncontiguous(words.words, words.log, av)
                return start, length
        return 0, 0

    def _begin_top(self, tcache: int, start: int, size: int, end: int) -> MallocSteps[None]:
        """Let the top be new memory that does not join the old one, which is fenced and freed.

        `end` is where the new memory ends, or 0 if that is the program break.
        """
        words, av = self.arenas.words, self.arenas.main_arena
        old_top = words.load(av + TOP)
        old_size = words.load(old_top + SIZE) & ~SIZE_BITS
        correction = 0
        aligned = start
        if is_contiguous(words.words, words.log, av):
            if old_size:
                # What somebody else has got by sbrk counts as ours.
                self._add_system_mem(start - old_top - old_size)
            aligned += -(start + CHUNK_HDR_SZ) & ALIGN_MASK
            correction = aligned - start + old_size
            correction += -(start + size + correction) % PAGE_SIZE
            end = yield from self.sbrk(correction)
            if end:
                yield from madvise_thp(self.arenas, end, correction)
            else:
                correction = 0
                end = yield from self.sbrk(0)
        elif not end:
            end = yield from self.sbrk(0)
        if not end:
            return
        self.begins.append(aligned)
        words.store(av + TOP, aligned)
        words.store(aligned + SIZE, (end - aligned + correction) | PREV_INUSE)
        self._add_system_mem(correction)
        if not old_size:
            return
        old_size = old_size - 2 * CHUNK_HDR_SZ & ~ALIGN_MASK
        fence = old_top + old_size
        words.store(old_top + SIZE, old_size | PREV_INUSE)
        words.store(fence + SIZE, CHUNK_HDR_SZ | PREV_INUSE)
        words.store(fence + CHUNK_HDR_SZ + SIZE, CHUNK_HDR_SZ | PREV_INUSE)
        if old_size >= MINSIZE:
            yield from self.free_locked(tcache, av, old_top)

    def _add_system_mem(self, nr_bytes: int) -> None:
        """Count bytes that the main arena has got, or given back."""
        place = self.arenas.main_arena + SYSTEM_MEM
        self.arenas.words.store(place, self.arenas.words.load(place) + nr_bytes)

    def free_locked(self, tcache: int, av: int, chunk: int) -> MallocSteps[None]:
        """Free a chunk of an arena that the thread has locked."""
        if check(int_free(*self.arrays(), tcache, av, chunk, 1)) == NEEDS_TRIM:
            yield from self.trim(av)

    def trim(self, av: int) -> MallocSteps[None]:
        """Give back what an arena's top can spare, after a free of a large chunk."""
        words, top_pad = self.arenas.words, int(self.arenas.par[TOP_PAD])
        if av == self.arenas.main_arena:
            yield from self.systrim(top_pad)
            return
        heap = heap_for_ptr(self.arenas, words.load(av + TOP))
        malloc_assert(words.load(heap + AR_PTR) == av, "_int_free", "heap->ar_ptr == av")
        yield from heap_trim(self.arenas, heap, top_pad)

    def systrim(self, pad: int) -> MallocSteps[bool]:
        """Move the program break down but for `pad` bytes; say whether it went anywhere."""
        words, par, av = self.arenas.words, self.arenas.par, self.arenas.main_arena
        top = words.load(av + TOP)
        top_size = words.load(top + SIZE) & ~SIZE_BITS
        spare = top_size - MINSIZE - 1
        if spare & ULONG_MAX <= pad & ULONG_MAX:
            return False
        extra = spare - (pad & ULONG_MAX) & -(int(par[THP_PAGESIZE]) or PAGE_SIZE)
        if extra == 0:
            return False
        end = yield from self.sbrk(0)
        if end != top + top_size:
            return False
        # As soon as the break has moved, another thread may have what was below it mapped.
        words.discard(end - extra + PAGE_SIZE - 1 & -PAGE_SIZE, end & -PAGE_SIZE)
        yield from self.sbrk(-extra)
        released = end - (yield from self.sbrk(0))
        if released == 0:
            return False
        self._add_system_mem(-released)
        if self.arenas.wants_step():
            yield Label("write the top's size", (self.arenas.touches_arena(av, Mode.WRITE),))
        words.store(top + SIZE, (top_size - released) | PREV_INUSE)
        return True
