"""Blocks that are cleared (__libc_calloc of malloc/malloc.c).

What the top chunk never gave out is zero already. What a clearing writes is noted; the words stay,
for nobody reads what is left in a block that is in use.
"""

from typing import Final

from mmactors.arch.column import Words
from mmactors.arch.jit import compiled
from mmactors.malloc.ptmalloc.chunk import (
    CHUNK_HDR_SZ,
    IS_MMAPPED,
    SIZE_SZ,
    chunksize,
    head_of,
    is_above,
)
from mmactors.malloc.ptmalloc.int_malloc import int_malloc
from mmactors.malloc.ptmalloc.malloc_par import (
    HEAP_MAX_SIZE,
    HP_PAGESIZE,
    MAIN_ARENA,
    OLD_TOP,
    OLD_TOP_SIZE,
    PERTURB_BYTE,
    SBRK_BASE,
)
from mmactors.malloc.ptmalloc.malloc_state import MAX_SYSTEM_MEM, top_of
from mmactors.malloc.user_words import load_word, note_access, to_word

MPROTECT_SIZE: Final = 0x18
"""Offset in heap_info."""


@compiled
def heap_of(par: Words, address: int) -> int:
    """Return the heap_info of an address of an arena that is not the main one (heap_for_ptr)."""
    hp_pagesize = int(par[HP_PAGESIZE])
    return address & -(4 * hp_pagesize if hp_pagesize else HEAP_MAX_SIZE)


@compiled
def note_top(words: Words, log: Words, par: Words, av: int) -> None:
    """Keep the top chunk before it takes memory, and how much of it may be dirty."""
    top = top_of(words, log, av)
    size = chunksize(words, log, top)
    if av == par[MAIN_ARENA]:
        reach = to_word(int(par[SBRK_BASE]) + load_word(words, log, av + MAX_SYSTEM_MEM) - top)
    else:
        heap = heap_of(par, top)
        reach = to_word(heap + load_word(words, log, heap + MPROTECT_SIZE) - top)
    par[OLD_TOP] = top
    par[OLD_TOP_SIZE] = reach if is_above(reach, size) else size


@compiled
def int_calloc(words: Words, log: Words, par: Words, tcache: int, av: int, request: int) -> int:
    """Return a cleared block of an arena, or what `int_malloc` returns."""
    note_top(words, log, par, av)
    block = int_malloc(words, log, par, tcache, av, request)
    if block > 0:
        clear_block(words, log, par, block, request)
    return block


@compiled
def clear_block(words: Words, log: Words, par: Words, block: int, request: int) -> None:
    """Note what is written to clear a block that calloc has got."""
    chunk = block - CHUNK_HDR_SZ
    head = head_of(words, log, chunk)
    if head & IS_MMAPPED:
        if par[PERTURB_BYTE]:
            note_access(log, block, request, 1)
        return
    size = head & ~7
    if par[PERTURB_BYTE] == 0 and chunk == par[OLD_TOP] and is_above(size, int(par[OLD_TOP_SIZE])):
        size = int(par[OLD_TOP_SIZE])
    nr_words = to_word(size - SIZE_SZ) >> 3
    if nr_words > 9 or nr_words < 0:
        note_access(log, block, nr_words << 3, 1)
    else:
        for index in range(nr_words):
            note_access(log, block + 8 * index, 8, 1)
