"""malloc_info: the XML text about all arenas and the free chunks in them.

Its form and its numbers are those of __malloc_info of malloc/malloc.c (glibc 2.36). Sizes of chunks
in bins are as they stand in memory, with the flags of their low bits.
"""

from typing import Final

import numpy as np
from attrs import define
from numpy.typing import NDArray

from mmactors.malloc.library import MallocCircleError
from mmactors.malloc.ptmalloc.arena.arena import all_arenas
from mmactors.malloc.ptmalloc.arena.arenas import Arenas
from mmactors.malloc.ptmalloc.arena.heap_info import HEAP_SIZE, MPROTECT_SIZE, PREV, heap_for_ptr
from mmactors.malloc.ptmalloc.malloc_par import MMAPPED_MEM, N_MMAPS
from mmactors.malloc.ptmalloc.malloc_state import (
    MAX_SYSTEM_MEM,
    NFASTBINS,
    SYSTEM_MEM,
    TOP,
)
from mmactors.malloc.ptmalloc.messages import check, number_of
from mmactors.malloc.ptmalloc.report.free_chunks import (
    COUNT,
    FROM,
    NR_COLUMNS,
    NR_NUMBERS,
    TO,
    TOP_BYTES,
    TOTAL,
    count_free_chunks,
)
from mmactors.malloc.request import MallocSteps
from mmactors.malloc.user_words import longest_walk

_UNALIGNED: Final = number_of("__malloc_info(): unaligned fastbin chunk detected")


@define
class _Sums:
    """What an arena adds to the totals."""

    nr_fast: int = 0
    fast_bytes: int = 0
    nr_rest: int = 0
    rest_bytes: int = 0
    system: int = 0
    max_system: int = 0
    aspace: int = 0
    aspace_mprotect: int = 0

    def add(self, other: "_Sums") -> None:
        self.nr_fast += other.nr_fast
        self.fast_bytes += other.fast_bytes
        self.nr_rest += other.nr_rest
        self.rest_bytes += other.rest_bytes
        self.system += other.system
        self.max_system += other.max_system
        self.aspace += other.aspace
        self.aspace_mprotect += other.aspace_mprotect


def malloc_info(arenas: Arenas) -> MallocSteps[str]:
    """Return the text. MallocAbortError."""
    lines = ['<malloc version="1">']
    totals = _Sums()
    for nth, arena in enumerate(all_arenas(arenas)):
        lines += [f'<heap nr="{nth}">', "<sizes>"]
        yield arenas.lock(arena)
        sums, sizes, nr_heaps = _look_at(arenas, arena)
        yield arenas.unlock(arena)
        totals.add(sums)
        lines += [*sizes, "</sizes>", *_free_lines(sums), *_system_lines(sums)]
        if nr_heaps:
            lines.append(f'<aspace type="subheaps" size="{nr_heaps}"/>')
        lines.append("</heap>")
    nr_mmaps, mmapped = arenas.par[N_MMAPS], arenas.par[MMAPPED_MEM]
    lines += [*_free_lines(totals), f'<total type="mmap" count="{nr_mmaps}" size="{mmapped}"/>']
    lines += [*_system_lines(totals), "</malloc>"]
    return "".join(f"{line}\n" for line in lines)


def _look_at(arenas: Arenas, arena: int) -> tuple[_Sums, list[str], int]:
    """Return an arena's numbers, its lines about sizes, and of how many heaps it is made."""
    user = arenas.words
    numbers: NDArray[np.int64] = np.zeros(NR_NUMBERS, dtype=np.int64)
    check(count_free_chunks(user.words, user.log, arena, _UNALIGNED, numbers))
    lists = numbers[:TOP_BYTES].reshape(-1, NR_COLUMNS).tolist()
    fast, rest = lists[:NFASTBINS], lists[NFASTBINS:]
    sums = _Sums(
        nr_fast=sum(row[COUNT] for row in fast),
        fast_bytes=sum(row[TOTAL] for row in fast),
        nr_rest=1 + sum(row[COUNT] for row in rest),
        rest_bytes=int(numbers[TOP_BYTES]) + sum(row[TOTAL] for row in rest),
        system=user.load(arena + SYSTEM_MEM),
        max_system=user.load(arena + MAX_SYSTEM_MEM),
    )
    unsorted, *bins = rest
    sizes = [_size_line("  <size", row) for row in (*fast, *bins) if row[COUNT]]
    if unsorted[COUNT]:
        sizes.append(_size_line("  <unsorted", unsorted))
    if arena == arenas.main_arena:
        sums.aspace = sums.aspace_mprotect = sums.system
        return sums, sizes, 0
    nr_heaps = 0
    heap = heap_for_ptr(arenas, user.load(arena + TOP))
    while heap:
        sums.aspace += user.load(heap + HEAP_SIZE)
        sums.aspace_mprotect += user.load(heap + MPROTECT_SIZE)
        nr_heaps += 1
        heap = user.load(heap + PREV)
        if nr_heaps > longest_walk(user.words):
            raise MallocCircleError
    return sums, sizes, nr_heaps


def _size_line(begin: str, row: list[int]) -> str:
    numbers = f'from="{row[FROM]}" to="{row[TO]}" total="{row[TOTAL]}" count="{row[COUNT]}"'
    return f"{begin} {numbers}/>"


def _free_lines(sums: _Sums) -> list[str]:
    return [
        f'<total type="fast" count="{sums.nr_fast}" size="{sums.fast_bytes}"/>',
        f'<total type="rest" count="{sums.nr_rest}" size="{sums.rest_bytes}"/>',
    ]


def _system_lines(sums: _Sums) -> list[str]:
    return [
        f'<system type="current" size="{sums.system}"/>',
        f'<system type="max" size="{sums.max_system}"/>',
        f'<aspace type="total" size="{sums.aspace}"/>',
        f'<aspace type="mprotect" size="{sums.aspace_mprotect}"/>',
    ]
