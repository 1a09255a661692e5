"""malloc_trim: give back what is free, also between what is used (mtrim of malloc/malloc.c)."""

from collections.abc import Callable, Iterator
from typing import Final

from mmactors.label import Label, Mode
from mmactors.malloc.library import MallocCircleError
from mmactors.malloc.mman import MADV_DONTNEED
from mmactors.malloc.ptmalloc.arena.arena import all_arenas
from mmactors.malloc.ptmalloc.arena.arenas import Arenas
from mmactors.malloc.ptmalloc.bins import bin_index
from mmactors.malloc.ptmalloc.chunk import BK, SIZE, SIZE_BITS
from mmactors.malloc.ptmalloc.malloc_consolidate import malloc_consolidate
from mmactors.malloc.ptmalloc.malloc_state import NBINS, UNSORTED, bin_at
from mmactors.malloc.ptmalloc.messages import check
from mmactors.malloc.request import Madvise, MallocSteps, ask
from mmactors.malloc.user_words import longest_walk
from mmactors.units import PAGE_SIZE

_LINKS: Final = 48
"""Bytes of a large free chunk that are not given back: its header and its links."""

Systrim = Callable[[int], MallocSteps[bool]]
"""Gives the end of the program break back, but for so many bytes."""


def malloc_trim(arenas: Arenas, pad: int, systrim: Systrim) -> MallocSteps[int]:
    """Give the kernel whole pages inside free chunks of all arenas, and the end of the main one.

    `pad` bytes stay at the end. Return 1 if any memory was given back, else 0. The tops of other
    arenas stay as they are.
    """
    result = False
    for arena in all_arenas(arenas):
        yield arenas.lock(arena)
        if arenas.wants_step():
            yield Label("trim an arena", arenas.touches_all_of(arena, Mode.WRITE))
        result |= yield from _mtrim(arenas, arena)
        if arena == arenas.main_arena:
            result |= yield from systrim(pad)
        yield arenas.unlock(arena)
    return int(result)


def _mtrim(arenas: Arenas, arena: int) -> MallocSteps[bool]:
    """Give back the whole pages inside an arena's free chunks; say whether there were any."""
    words = arenas.words
    check(malloc_consolidate(words.words, words.log, arena))
    result = False
    for chunk in _large_free_chunks(arenas, arena):
        size = words.load(chunk + SIZE) & ~SIZE_BITS
        start = chunk + _LINKS + PAGE_SIZE - 1 & -PAGE_SIZE
        length = chunk + size - start & -PAGE_SIZE
        if size > PAGE_SIZE - 1 + _LINKS and length:
            words.discard(start, start + length)
            yield from ask(Madvise(address=start, length=length, advice=MADV_DONTNEED))
            result = True
    return result


def _large_free_chunks(arenas: Arenas, arena: int) -> Iterator[int]:
    """Walk over the unsorted chunks, then over those of bins that hold a page or more."""
    words = arenas.words
    for index in (UNSORTED, *range(bin_index(PAGE_SIZE), NBINS)):
        head = bin_at(arena, index)
        chunk = words.load(head + BK)
        nr_steps = 0
        while chunk != head:
            yield chunk
            chunk = words.load(chunk + BK)
            nr_steps += 1
            if nr_steps > longest_walk(words.words):
                raise MallocCircleError
