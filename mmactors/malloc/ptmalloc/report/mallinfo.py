"""mallinfo2 and malloc_stats: what arenas have from the system, and how much of it is free.

Numbers and texts are those of malloc/malloc.c (glibc 2.36): int_mallinfo, __malloc_stats.
"""

from collections.abc import Iterable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mmactors.malloc.library import HeapBytes, HeapNumbers
from mmactors.malloc.ptmalloc.arena.arena import all_arenas
from mmactors.malloc.ptmalloc.arena.arenas import Arenas
from mmactors.malloc.ptmalloc.malloc_par import MAX_MMAPPED_MEM, MAX_N_MMAPS, MMAPPED_MEM, N_MMAPS
from mmactors.malloc.ptmalloc.malloc_state import NEXT, NFASTBINS, SYSTEM_MEM
from mmactors.malloc.ptmalloc.messages import check, number_of
from mmactors.malloc.ptmalloc.report.free_chunks import (
    BYTES,
    COUNT,
    NR_COLUMNS,
    NR_NUMBERS,
    TOP_BYTES,
    count_free_chunks,
)
from mmactors.malloc.ptmalloc.tcache import tcache_bytes
from mmactors.malloc.request import MallocSteps
from mmactors.malloc.user_words import UNWATCHED

_UNALIGNED: Final = number_of("int_mallinfo(): unaligned fastbin chunk detected")
_UINT: Final = 0xFFFFFFFF


def int_mallinfo(arenas: Arenas, arena: int) -> HeapNumbers:
    """Return one arena's numbers; those of mapped chunks are the main arena's. MallocAbortError."""
    user, par = arenas.words, arenas.par
    numbers: NDArray[np.int64] = np.zeros(NR_NUMBERS, dtype=np.int64)
    check(count_free_chunks(user.words, user.log, arena, _UNALIGNED, numbers))
    lists = numbers[:TOP_BYTES].reshape(-1, NR_COLUMNS)
    fast, rest = lists[:NFASTBINS], lists[NFASTBINS:]
    top = int(numbers[TOP_BYTES])
    fast_bytes = int(fast[:, BYTES].sum())
    avail = top + fast_bytes + int(rest[:, BYTES].sum())
    system_mem = user.load(arena + SYSTEM_MEM)
    is_main = arena == arenas.main_arena
    return HeapNumbers(
        arena=system_mem,
        ordblks=1 + int(rest[:, COUNT].sum()),
        smblks=int(fast[:, COUNT].sum()),
        hblks=int(par[N_MMAPS]) if is_main else 0,
        hblkhd=int(par[MMAPPED_MEM]) if is_main else 0,
        usmblks=0,
        fsmblks=fast_bytes,
        uordblks=system_mem - avail,
        fordblks=avail,
        keepcost=top if is_main else 0,
    )


def heap_bytes(arenas: Arenas, tcaches: Iterable[int]) -> HeapBytes:
    """Return what is where; of a list that is broken what comes before it breaks."""
    words, par = arenas.words, arenas.par
    system, free = int(par[MMAPPED_MEM]), 0
    numbers: NDArray[np.int64] = np.zeros(NR_NUMBERS, dtype=np.int64)
    arena = arenas.main_arena
    for _ in range(arenas.narenas + 1):
        count_free_chunks(words.words, UNWATCHED, arena, _UNALIGNED, numbers)
        free += int(numbers[TOP_BYTES])
        free += int(numbers[:TOP_BYTES].reshape(-1, NR_COLUMNS)[:, BYTES].sum())
        system += words.peek(arena + SYSTEM_MEM)
        arena = words.peek(arena + NEXT)
        if arena <= 0 or arena == arenas.main_arena:
            break
    cached = sum(tcache_bytes(words.words, tcache) for tcache in tcaches if tcache)
    return HeapBytes(system=system, free=free, cached=cached)


def mallinfo2(arenas: Arenas) -> MallocSteps[HeapNumbers]:
    """Return the sums over all arenas."""
    total = HeapNumbers()
    for arena in all_arenas(arenas):
        yield arenas.lock(arena)
        total += int_mallinfo(arenas, arena)
        yield arenas.unlock(arena)
    return total


def malloc_stats(arenas: Arenas) -> MallocSteps[str]:
    """Return what malloc_stats prints: numbers of 32 bits without sign, but for the last."""
    par = arenas.par
    system_bytes = in_use_bytes = int(par[MMAPPED_MEM])
    lines: list[str] = []
    for nth, arena in enumerate(all_arenas(arenas)):
        yield arenas.lock(arena)
        numbers = int_mallinfo(arenas, arena)
        lines.append(f"Arena {nth}:")
        lines += _bytes_lines(numbers.arena, numbers.uordblks)
        system_bytes += numbers.arena
        in_use_bytes += numbers.uordblks
        yield arenas.unlock(arena)
    lines.append("Total (incl. mmap):")
    lines += _bytes_lines(system_bytes, in_use_bytes)
    lines.append(f"max mmap regions = {par[MAX_N_MMAPS] & _UINT:10}")
    lines.append(f"max mmap bytes   = {par[MAX_MMAPPED_MEM]:10}")
    return "".join(f"{line}\n" for line in lines)


def _bytes_lines(system_bytes: int, in_use_bytes: int) -> list[str]:
    return [
        f"system bytes     = {system_bytes & _UINT:10}",
        f"in use bytes     = {in_use_bytes & _UINT:10}",
    ]
