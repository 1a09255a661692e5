"""Where a chunk is taken from that the thread's cache has not (_int_malloc of malloc/malloc.c).

A fastbin, a small bin; the unsorted chunks, which are sorted on the way; the large bin of the size;
the smallest chunk of the next bins that are not empty; the top chunk. What the top cannot serve
comes from the system (`sysmalloc.py`), once no fastbin holds a chunk any more.
"""

from typing import Final

from mmactors.arch.column import Words
from mmactors.arch.jit import compiled
from mmactors.malloc.ptmalloc.bins import (
    bin_index,
    fastbin_at,
    fastbin_index,
    in_smallbin_range,
)
from mmactors.malloc.ptmalloc.chunk import (
    ALIGN_MASK,
    BK,
    BK_NEXTSIZE,
    FD,
    MINSIZE,
    NON_MAIN_ARENA,
    chunksize,
    head_of,
    is_above,
    request2size,
    reveal,
    set_head,
    set_inuse,
)
from mmactors.malloc.ptmalloc.cut import cut, cut_top, use_whole
from mmactors.malloc.ptmalloc.malloc_consolidate import malloc_consolidate
from mmactors.malloc.ptmalloc.malloc_par import (
    GLOBAL_MAX_FAST,
    MAIN_ARENA,
    PERTURB_BYTE,
    SINGLE_THREAD,
)
from mmactors.malloc.ptmalloc.malloc_state import (
    BINMAP,
    NBINS,
    bin_at,
    have_fastchunks,
    system_mem_of,
    top_of,
)
from mmactors.malloc.ptmalloc.messages import (
    CIRCLE,
    LOST,
    NEEDS_SYSMALLOC,
    block_of,
    number_of,
)
from mmactors.malloc.ptmalloc.tcache import (
    csize2tidx,
    has_list,
    has_place,
    tcache_put,
)
from mmactors.malloc.ptmalloc.unsorted import from_unsorted
from mmactors.malloc.user_words import (
    load_bits,
    load_word,
    longest_walk,
    note_access,
    store_bits,
    store_word,
)

_UNALIGNED_NEXT: Final = number_of("malloc(): unaligned fastbin chunk detected")
_UNALIGNED: Final = number_of("malloc(): unaligned fastbin chunk detected 2")
_UNALIGNED_STASHED: Final = number_of("malloc(): unaligned fastbin chunk detected 3")
_OTHER_SIZE: Final = number_of("malloc(): memory corruption (fast)")
_SMALLBIN: Final = number_of("malloc(): smallbin double linked list corrupted")
_CHUNKS: Final = number_of("malloc(): corrupted unsorted chunks")
_CHUNKS_2: Final = number_of("malloc(): corrupted unsorted chunks 2")
_TOP_SIZE: Final = number_of("malloc(): corrupted top size")

_ROUNDS_MAX: Final = 100
"""After the first one fastbins are empty, unless the flag that says so is overwritten each time."""

_ASSERTION: Final = number_of(
    "Fatal glibc error: malloc assertion failure in _int_malloc:"
    " (unsigned long) (size) >= (unsigned long) (nb)"
)


@compiled
def int_malloc(words: Words, log: Words, par: Words, tcache: int, av: int, request: int) -> int:
    """Return a block of an arena for `request` bytes; 0: they are too many; or a code."""
    size = request2size(request)
    if size == 0:
        return 0
    block = _take_chunk(words, log, par, tcache, av, size)
    if block > 0:
        perturb(log, par, block, request)
    return block


@compiled
def perturb(log: Words, par: Words, block: int, nr_bytes: int) -> None:
    """Note that a block is filled, if glibc.malloc.perturb asks for it (alloc_perturb)."""
    if par[PERTURB_BYTE]:
        note_access(log, block, nr_bytes, 1)


@compiled
def _take_chunk(words: Words, log: Words, par: Words, tcache: int, av: int, size: int) -> int:
    is_small = in_smallbin_range(size)
    if 0 < size <= par[GLOBAL_MAX_FAST]:
        block = _from_fastbin(words, log, par, tcache, av, size)
        if block:
            return block
    if is_small:
        block = _from_smallbin(words, log, par, tcache, av, size)
        if block:
            return block
    elif have_fastchunks(words, log, av):
        wrong = malloc_consolidate(words, log, av)
        if wrong:
            return wrong
    nr_sorted = 0
    for _ in range(_ROUNDS_MAX):
        block, nr_sorted = from_unsorted(words, log, par, tcache, av, size, nr_sorted)
        if block == 0 and not is_small:
            block = _from_largebin(words, log, par, av, size)
        if block == 0:
            block = _from_larger_bins(words, log, par, av, size)
        if block == 0:
            block = _from_top(words, log, par, av, size)
        if block != NEEDS_SYSMALLOC or not have_fastchunks(words, log, av):
            return block
        wrong = malloc_consolidate(words, log, av)
        if wrong:
            return wrong
    return CIRCLE


@compiled
def _pop_fastbin(words: Words, log: Words, par: Words, fastbin: int, chunk: int) -> int:
    """Take the first chunk off a fastbin; return 0, or what is wrong (REMOVE_FB, if threads)."""
    behind = reveal(words, log, chunk + FD)
    if par[SINGLE_THREAD] == 0 and behind & ALIGN_MASK:
        return _UNALIGNED_NEXT
    store_word(words, log, fastbin, behind)
    return 0


@compiled
def _from_fastbin(words: Words, log: Words, par: Words, tcache: int, av: int, size: int) -> int:
    """Take the first chunk of a size's fastbin; the others move into the thread's cache."""
    index = fastbin_index(size)
    fastbin = fastbin_at(av, index)
    chunk = load_word(words, log, fastbin)
    if chunk == 0:
        return 0
    if chunk & ALIGN_MASK:
        return _UNALIGNED
    wrong = _pop_fastbin(words, log, par, fastbin, chunk)
    if wrong:
        return wrong
    if fastbin_index(chunksize(words, log, chunk)) != index:
        return _OTHER_SIZE
    place = csize2tidx(size)
    if has_list(par, tcache, place):
        nr_steps = 0
        while has_place(words, log, par, tcache, place):
            stashed = load_word(words, log, fastbin)
            if stashed == 0:
                break
            nr_steps += 1
            if nr_steps > longest_walk(words):
                return CIRCLE
            if stashed & ALIGN_MASK:
                return _UNALIGNED_STASHED
            wrong = _pop_fastbin(words, log, par, fastbin, stashed)
            if wrong:
                return wrong
            tcache_put(words, log, par, tcache, stashed, place)
    return block_of(chunk)


@compiled
def _from_smallbin(words: Words, log: Words, par: Words, tcache: int, av: int, size: int) -> int:
    """Take the oldest chunk of a size's own bin; the others move into the thread's cache."""
    head = bin_at(av, size >> 4)
    chunk = load_word(words, log, head + BK)
    if chunk == head:
        return 0
    back = load_word(words, log, chunk + BK)
    if load_word(words, log, back + FD) != chunk:
        return _SMALLBIN
    set_inuse(words, log, chunk + size)
    store_word(words, log, head + BK, back)
    store_word(words, log, back + FD, head)
    if av != par[MAIN_ARENA]:
        set_head(words, log, chunk, head_of(words, log, chunk) | NON_MAIN_ARENA)
    place = csize2tidx(size)
    if has_list(par, tcache, place):
        nr_steps = 0
        while has_place(words, log, par, tcache, place):
            stashed = load_word(words, log, head + BK)
            if stashed == head:
                break
            if stashed == 0:
                return LOST
            nr_steps += 1
            if nr_steps > longest_walk(words):
                return CIRCLE
            back = load_word(words, log, stashed + BK)
            use_whole(words, log, par, av, stashed, size)
            store_word(words, log, head + BK, back)
            store_word(words, log, back + FD, head)
            tcache_put(words, log, par, tcache, stashed, place)
    return block_of(chunk)


@compiled
def _from_largebin(words: Words, log: Words, par: Words, av: int, size: int) -> int:
    """Take the smallest chunk that is large enough out of the size's own large bin."""
    head = bin_at(av, bin_index(size))
    chunk = load_word(words, log, head + FD)
    if chunk == head or is_above(size, head_of(words, log, chunk)):
        return 0
    chunk = load_word(words, log, chunk + BK_NEXTSIZE)
    found = chunksize(words, log, chunk)
    nr_steps = 0
    while is_above(size, found):
        chunk = load_word(words, log, chunk + BK_NEXTSIZE)
        if chunk == 0:
            return LOST
        nr_steps += 1
        if nr_steps > longest_walk(words):
            return CIRCLE
        found = chunksize(words, log, chunk)
    if chunk != load_word(words, log, head + BK):
        second = load_word(words, log, chunk + FD)
        if head_of(words, log, chunk) == head_of(words, log, second):
            # The first of its size stays: the ring need not be changed.
            chunk = second
    return cut(words, log, par, av, chunk, size, found) or _CHUNKS


@compiled
def _from_larger_bins(words: Words, log: Words, par: Words, av: int, size: int) -> int:
    """Take the last chunk of the first bin of larger chunks that the binmap finds."""
    first = bin_index(size) + 1
    block = first >> 5
    bit = first & 31
    bits = load_bits(words, log, av + BINMAP + 4 * block, 4)
    while True:
        while bits >> bit == 0:
            block += 1
            if block == NBINS >> 5:
                return 0
            bits = load_bits(words, log, av + BINMAP + 4 * block, 4)
            bit = 0
        while bits >> bit & 1 == 0:
            bit += 1
        head = bin_at(av, (block << 5) + bit)
        chunk = load_word(words, log, head + BK)
        if chunk != head:
            found = chunksize(words, log, chunk)
            if is_above(size, found):
                return _ASSERTION
            return cut(words, log, par, av, chunk, size, found) or _CHUNKS_2
        bits &= ~(1 << bit)
        store_bits(words, log, av + BINMAP + 4 * block, 4, bits)
        bit += 1


@compiled
def _from_top(words: Words, log: Words, par: Words, av: int, size: int) -> int:
    """Cut the begin off the top chunk, if enough of it stays."""
    chunk = top_of(words, log, av)
    found = chunksize(words, log, chunk)
    if is_above(found, system_mem_of(words, log, av)):
        return _TOP_SIZE
    if is_above(size + MINSIZE, found):
        return NEEDS_SYSMALLOC
    return cut_top(words, log, par, av, chunk, size, found)
