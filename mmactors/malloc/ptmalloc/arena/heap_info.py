"""Heaps: the memory of arenas that are not the main one (heap_info, glibc 2.36's malloc/arena.c).

A heap is a mapping of HEAP_MAX_SIZE that is aligned to as much, so that a chunk's address says its
heap. It begins with a heap_info, and is readable as far as it has grown: the rest is reserved only.
An arena has one or more of them; its top is in the newest. With pages of hugetlbfs a heap is four
of these instead. Left out: memory tags.
"""

from collections.abc import Callable
from typing import Final

from mmactors.arch.trace import as_signed
from mmactors.label import Label, Mode
from mmactors.malloc.library import MallocFaultError
from mmactors.malloc.mman import (
    MADV_DONTNEED,
    MADV_HUGEPAGE,
    MAP_ANONYMOUS,
    MAP_FIXED,
    MAP_NORESERVE,
    MAP_PRIVATE,
    PROT_NONE,
    PROT_READ,
    PROT_WRITE,
)
from mmactors.malloc.ptmalloc.arena.arenas import Arenas
from mmactors.malloc.ptmalloc.bins import unlink_chunk
from mmactors.malloc.ptmalloc.chunk import (
    ALIGN_MASK,
    CHUNK_HDR_SZ,
    MINSIZE,
    NON_MAIN_ARENA,
    PREV_INUSE,
    SIZE,
    SIZE_BITS,
    is_above,
)
from mmactors.malloc.ptmalloc.malloc_par import (
    HEAP_MAX_SIZE,
    HP_FLAGS,
    HP_PAGESIZE,
    THP_PAGESIZE,
    TOP_PAD,
    TRIM_THRESHOLD,
)
from mmactors.malloc.ptmalloc.malloc_state import SYSTEM_MEM, TOP
from mmactors.malloc.ptmalloc.messages import check, malloc_assert
from mmactors.malloc.request import Madvise, MallocSteps, Mmap, Mprotect, Munmap, ask
from mmactors.malloc.user_words import longest_walk
from mmactors.units import KIB, PAGE_SIZE, ULONG_MAX

HEAP_MIN_SIZE: Final = 32 * KIB

AR_PTR: Final = 0
PREV: Final = 8
HEAP_SIZE: Final = 16
MPROTECT_SIZE: Final = 24
PAGESIZE: Final = 32
"""Offsets of a heap_info's words."""
HEAP_INFO: Final = 48
"""Its bytes."""

_FENCE: Final = 16
"""Bytes of a fence's header."""

# Texts of assertions, as glibc prints them.
_IS_FENCE: Final = "chunksize_nomask (p) == (0 | PREV_INUSE)"
_IS_SHORT: Final = "new_size > 0 && new_size < (long) (2 * MINSIZE)"
_IS_IN_HEAP: Final = "new_size > 0 && new_size < max_size"
_ENDS_A_PAGE: Final = "((unsigned long) ((char *) p + new_size) & (heap->pagesize - 1)) == 0"
_ENDS_THE_HEAP: Final = "((char *) p + new_size) == ((char *) heap + heap->size)"

_MAP: Final = MAP_PRIVATE | MAP_ANONYMOUS
_RW: Final = PROT_READ | PROT_WRITE


def heap_max_size(arenas: Arenas) -> int:
    """Return the bytes that a heap's mapping has."""
    hp_pagesize = int(arenas.par[HP_PAGESIZE])
    return 4 * hp_pagesize if hp_pagesize else HEAP_MAX_SIZE


def heap_for_ptr(arenas: Arenas, address: int) -> int:
    """Return the heap in which an address of an arena lies."""
    return address & -heap_max_size(arenas)


def arena_for_chunk(arenas: Arenas, chunk: int, head: int) -> int:
    """Return the arena that a chunk is of, as a flag of its head and its address say."""
    if not head & NON_MAIN_ARENA:
        return arenas.main_arena
    arena = arenas.words.load(heap_for_ptr(arenas, chunk) + AR_PTR)
    if arena <= 0:
        raise MallocFaultError
    return arena


def new_heap(arenas: Arenas, size: int, top_pad: int) -> MallocSteps[int]:
    """Map a heap with `size` usable bytes or somewhat more; 0: there is no memory for it."""
    hp_pagesize = int(arenas.par[HP_PAGESIZE])
    if hp_pagesize:
        flags = int(arenas.par[HP_FLAGS])
        heap = yield from _alloc_new_heap(arenas, size, top_pad, hp_pagesize, flags)
        if heap:
            return heap
    return (yield from _alloc_new_heap(arenas, size, top_pad, PAGE_SIZE, MAP_NORESERVE))


def _alloc_new_heap(
    arenas: Arenas, size: int, top_pad: int, pagesize: int, flags: int
) -> MallocSteps[int]:
    """Map a heap with pages of a size (alloc_new_heap)."""
    max_size = heap_max_size(arenas)
    least = int(arenas.par[HP_PAGESIZE]) or HEAP_MIN_SIZE
    padded = size + top_pad & ULONG_MAX
    if padded < least:
        size = least
    elif padded <= max_size:
        size = padded
    elif size > max_size:
        return 0
    else:
        size = max_size
    size = size + pagesize - 1 & -pagesize
    heap = yield from _map_aligned(arenas, max_size, flags | _MAP)
    if not heap:
        return 0
    if (yield from ask(Mprotect(address=heap, length=size, prot=_RW))) != 0:
        yield from unmap(arenas, heap, max_size)
        return 0
    yield from madvise_thp(arenas, heap, size)
    arenas.words.store(heap + HEAP_SIZE, size)
    arenas.words.store(heap + MPROTECT_SIZE, size)
    arenas.words.store(heap + PAGESIZE, pagesize)
    return heap


def _map_aligned(arenas: Arenas, max_size: int, flags: int) -> MallocSteps[int]:
    """Reserve `max_size` bytes that are aligned to as much; 0: there is no place for them.

    Twice as much always has such a part, and is reserved in one piece first. If it began with one,
    where it ended is where the next heap is tried to be put, if mappings get ever higher addresses.
    """
    if arenas.wants_step():
        yield Label("take aligned_heap_area", (arenas.touches_list(Mode.WRITE),))
    hint, arenas.aligned_heap_area = arenas.aligned_heap_area, 0
    if hint:
        start = yield from _reserve(hint, max_size, flags)
        if start:
            if start % max_size == 0:
                return start
            yield from unmap(arenas, start, max_size)
    start = yield from _reserve(0, 2 * max_size, flags)
    if start:
        heap = start + max_size - 1 & -max_size
        if heap == start:
            if arenas.wants_step():
                yield Label("write aligned_heap_area", (arenas.touches_list(Mode.WRITE),))
            arenas.aligned_heap_area = heap + max_size
        else:
            yield from unmap(arenas, start, heap - start)
        yield from unmap(arenas, heap + max_size, start + max_size - heap)
        return heap
    start = yield from _reserve(0, max_size, flags)
    if start % max_size:
        yield from unmap(arenas, start, max_size)
        return 0
    return start


def _reserve(address: int, length: int, flags: int) -> MallocSteps[int]:
    """Map memory that nobody may touch; 0: it cannot be had."""
    start = yield from ask(Mmap(address=address, length=length, prot=PROT_NONE, flags=flags))
    return max(start, 0)


def unmap(arenas: Arenas, start: int, length: int) -> MallocSteps[int]:
    """Forget what was written to pages, and unmap them; return 0 or minus the errno.

    Once the kernel has unmapped them, another thread may have them, and have written there.
    """
    arenas.words.discard(start, start + length)
    return (yield from ask(Munmap(address=start, length=length)))


def madvise_thp(arenas: Arenas, start: int, length: int) -> MallocSteps[None]:
    """Ask for huge pages, if `glibc.malloc.hugetlb` is 1 and there is room for one."""
    thp_pagesize = int(arenas.par[THP_PAGESIZE])
    if thp_pagesize == 0 or length < thp_pagesize:
        return
    # The kernel refuses an address within a page.
    below = start % PAGE_SIZE
    request = Madvise(address=start - below, length=length + below, advice=MADV_HUGEPAGE)
    yield from ask(request)


def grow_heap(arenas: Arenas, heap: int, diff: int) -> MallocSteps[bool]:
    """Let `diff` more bytes of a heap be usable, in whole pages; say whether that can be done."""
    words = arenas.words
    pagesize = words.load(heap + PAGESIZE)
    size = words.load(heap + HEAP_SIZE) + (diff + pagesize - 1 & -pagesize)
    if size > heap_max_size(arenas):
        return False
    readable = words.load(heap + MPROTECT_SIZE)
    if size > readable:
        request = Mprotect(address=heap + readable, length=size - readable, prot=_RW)
        if (yield from ask(request)) != 0:
            return False
        words.store(heap + MPROTECT_SIZE, size)
    words.store(heap + HEAP_SIZE, size)
    return True


def shrink_heap(arenas: Arenas, heap: int, diff: int) -> MallocSteps[bool]:
    """Give the last `diff` bytes of a heap back, whole pages; say whether that was done.

    They stay readable, but where the machine counts what it has promised (vm.overcommit_memory=2):
    there the heap gives up its claim to them.
    """
    words = arenas.words
    size = words.load(heap + HEAP_SIZE) - diff
    if size < HEAP_INFO:
        return False
    if arenas.may_shrink_heap:
        flags = MAP_FIXED | _MAP
        request = Mmap(address=heap + size, length=diff, prot=PROT_NONE, flags=flags)
        if (yield from ask(request)) < 0:
            return False
        words.store(heap + MPROTECT_SIZE, size)
    else:
        yield from ask(Madvise(address=heap + size, length=diff, advice=MADV_DONTNEED))
    words.discard(heap + size, heap + size + diff)
    words.store(heap + HEAP_SIZE, size)
    return True


def heap_trim(arenas: Arenas, heap: int, pad: int) -> MallocSteps[bool]:
    """Unmap an arena's newest heaps if they are not used, then give back what its top can spare.

    `pad` bytes stay. Says whether the top was made smaller.
    """
    words = arenas.words
    arena = words.load(heap + AR_PTR)
    top = words.load(arena + TOP)
    max_size = heap_max_size(arenas)
    for _ in range(longest_walk(words.words)):
        if top != heap + HEAP_INFO:
            break
        older = words.load(heap + PREV)
        last, size = _end_of_heap(arenas, older)
        room = size + max_size - words.load(older + HEAP_SIZE)
        if room < pad + MINSIZE + words.load(heap + PAGESIZE):
            break
        _add_system_mem(arenas, arena, -words.load(heap + HEAP_SIZE))
        if arenas.wants_step():
            yield Label("write aligned_heap_area", (arenas.touches_list(Mode.WRITE),))
        if heap + max_size == arenas.aligned_heap_area:
            arenas.aligned_heap_area = 0
        yield from unmap(arenas, heap, max_size)
        heap = older
        if not words.load(last + SIZE) & PREV_INUSE:
            last = as_signed(last - words.load(last) & ULONG_MAX)
            check(unlink_chunk(words.words, words.log, last))
        end, heap_end = last + size, heap + words.load(heap + HEAP_SIZE)
        malloc_assert(not end & words.load(heap + PAGESIZE) - 1, "heap_trim", _ENDS_A_PAGE)
        malloc_assert(end == heap_end, "heap_trim", _ENDS_THE_HEAP)
        top = last
        words.store(arena + TOP, top)
        words.store(top + SIZE, size | PREV_INUSE)
    top_size = words.load(top + SIZE) & ~SIZE_BITS
    if is_above(int(arenas.par[TRIM_THRESHOLD]), top_size):
        return False
    spare = top_size - MINSIZE - 1
    if spare < 0 or not is_above(spare, pad):
        return False
    extra = spare - pad & -words.load(heap + PAGESIZE)
    if extra == 0 or not (yield from shrink_heap(arenas, heap, extra)):
        return False
    _add_system_mem(arenas, arena, -extra)
    if arenas.wants_step():
        yield Label("write the top's size", (arenas.touches_arena(arena, Mode.WRITE),))
    words.store(top + SIZE, top_size - extra | PREV_INUSE)
    return True


def _end_of_heap(arenas: Arenas, heap: int) -> tuple[int, int]:
    """Return the last chunk before a heap's fence, and the bytes that are free there with it.

    The fence is what was left of the heap's top when its arena went on in another heap.
    """
    words = arenas.words
    fence = heap + words.load(heap + HEAP_SIZE) - _FENCE
    misalign = fence & ALIGN_MASK
    fence -= misalign
    malloc_assert(words.load(fence + SIZE) == PREV_INUSE, "heap_trim", _IS_FENCE)
    last = fence - words.load(fence)
    size = (words.load(last + SIZE) & ~SIZE_BITS) + _FENCE + misalign
    malloc_assert(0 < size < 2 * MINSIZE, "heap_trim", _IS_SHORT)
    if not words.load(last + SIZE) & PREV_INUSE:
        size += words.load(last)
    malloc_assert(0 < size < heap_max_size(arenas), "heap_trim", _IS_IN_HEAP)
    return last, size


IntFree = Callable[[int, int], MallocSteps[None]]
"""Frees a chunk of an arena that is locked."""


def extend_top(arenas: Arenas, arena: int, nb: int, int_free: IntFree) -> MallocSteps[bool]:
    """Let an arena's top grow for a chunk of `nb` bytes, or go on in another heap (sysmalloc).

    Says whether one of both could be done. `int_free` frees what is left of the old top.
    """
    words = arenas.words
    old_top = words.load(arena + TOP)
    old_size = words.load(old_top + SIZE) & ~SIZE_BITS
    old_heap = heap_for_ptr(arenas, old_top)
    old_heap_size = words.load(old_heap + HEAP_SIZE)
    missing = as_signed(MINSIZE + nb - old_size & ULONG_MAX)
    if missing > 0 and (yield from grow_heap(arenas, old_heap, missing)):
        size = words.load(old_heap + HEAP_SIZE)
        _add_system_mem(arenas, arena, size - old_heap_size)
        words.store(old_top + SIZE, old_heap + size - old_top | PREV_INUSE)
        return True
    heap = yield from new_heap(arenas, nb + MINSIZE + HEAP_INFO, int(arenas.par[TOP_PAD]))
    if not heap:
        return False
    words.store(heap + AR_PTR, arena)
    words.store(heap + PREV, old_heap)
    size = words.load(heap + HEAP_SIZE)
    _add_system_mem(arenas, arena, size)
    top = heap + HEAP_INFO
    words.store(arena + TOP, top)
    words.store(top + SIZE, size - HEAP_INFO | PREV_INUSE)
    # The fence has a chunk before it that is in use, and room for both to be a top again.
    old_size = old_size - MINSIZE & ~ALIGN_MASK
    words.store(old_top + old_size + CHUNK_HDR_SZ + SIZE, PREV_INUSE)
    if old_size >= MINSIZE:
        words.store(old_top + old_size + SIZE, CHUNK_HDR_SZ | PREV_INUSE)
        words.store(old_top + old_size + CHUNK_HDR_SZ, CHUNK_HDR_SZ)
        words.store(old_top + SIZE, old_size | PREV_INUSE | NON_MAIN_ARENA)
        yield from int_free(arena, old_top)
    else:
        words.store(old_top + SIZE, old_size + CHUNK_HDR_SZ | PREV_INUSE)
        words.store(old_top + old_size + CHUNK_HDR_SZ, old_size + CHUNK_HDR_SZ)
    return True


def _add_system_mem(arenas: Arenas, arena: int, nr_bytes: int) -> None:
    """Count bytes that an arena has got from the system, or given back."""
    arenas.words.store(arena + SYSTEM_MEM, arenas.words.load(arena + SYSTEM_MEM) + nr_bytes)
