"""Chunks that are mappings of their own (malloc/malloc.c).

The word before its size says how far such a chunk is from its mapping's begin: memalign moves it.
When one is freed that is larger than the threshold from which requests are mapped, that becomes the
threshold, and twice that the size from which the top is given back.
"""

from typing import Final

from mmactors.arch.trace import as_signed
from mmactors.label import Label, Mode
from mmactors.malloc.library import MallocAbortError
from mmactors.malloc.mman import (
    MAP_ANONYMOUS,
    MAP_HUGETLB,
    MAP_PRIVATE,
    MREMAP_MAYMOVE,
    PROT_READ,
    PROT_WRITE,
)
from mmactors.malloc.ptmalloc.arena.arenas import Arenas
from mmactors.malloc.ptmalloc.arena.heap_info import madvise_thp, unmap
from mmactors.malloc.ptmalloc.chunk import (
    CHUNK_HDR_SZ,
    IS_MMAPPED,
    SIZE,
    SIZE_BITS,
    SIZE_SZ,
    is_above,
)
from mmactors.malloc.ptmalloc.malloc_par import (
    DEFAULT_MMAP_THRESHOLD_MAX,
    MAX_MMAPPED_MEM,
    MAX_N_MMAPS,
    MMAP_THRESHOLD,
    MMAPPED_MEM,
    N_MMAPS,
    NO_DYN_THRESHOLD,
    TRIM_THRESHOLD,
)
from mmactors.malloc.request import MallocSteps, Mmap, Mremap, ask
from mmactors.units import PAGE_SIZE, ULONG_MAX

_MAP: Final = MAP_PRIVATE | MAP_ANONYMOUS
_RW: Final = PROT_READ | PROT_WRITE


def map_memory(arenas: Arenas, length: int, flags: int) -> MallocSteps[int]:
    """Map memory that may be written; 0: it cannot be had."""
    start = yield from ask(Mmap(length=length, prot=_RW, flags=_MAP | flags))
    if start < 0:
        return 0
    if not flags & MAP_HUGETLB:
        yield from madvise_thp(arenas, start, length)
    return start


def sysmalloc_mmap(arenas: Arenas, size: int, pagesize: int, flags: int) -> MallocSteps[int]:
    """Return the block of a chunk that is mapped for `size` bytes; 0: it cannot be had."""
    length = size + SIZE_SZ + pagesize - 1 & -pagesize
    chunk = yield from map_memory(arenas, length, flags)
    if not chunk:
        return 0
    arenas.words.store(chunk, 0)
    arenas.words.store(chunk + SIZE, length | IS_MMAPPED)
    par = arenas.par
    par[N_MMAPS] += 1
    par[MAX_N_MMAPS] = max(par[MAX_N_MMAPS], par[N_MMAPS])
    _count_mapped(arenas, length)
    return chunk + CHUNK_HDR_SZ


def _count_mapped(arenas: Arenas, nr_bytes: int) -> None:
    par = arenas.par
    par[MMAPPED_MEM] = as_signed(int(par[MMAPPED_MEM]) + nr_bytes & ULONG_MAX)
    par[MAX_MMAPPED_MEM] = max(par[MAX_MMAPPED_MEM], par[MMAPPED_MEM])


def free_mapped(arenas: Arenas, chunk: int, head: int) -> MallocSteps[None]:
    """Free a chunk that is a mapping, and learn from its size what to map."""
    par = arenas.par
    if arenas.wants_step():
        yield Label("write mmap_threshold", (arenas.touches_par(Mode.WRITE),))
    if (
        not par[NO_DYN_THRESHOLD]
        and is_above(head, int(par[MMAP_THRESHOLD]))
        and not is_above(head, DEFAULT_MMAP_THRESHOLD_MAX)
    ):
        par[MMAP_THRESHOLD] = head & ~SIZE_BITS
        par[TRIM_THRESHOLD] = 2 * (head & ~SIZE_BITS)
    yield from munmap_chunk(arenas, chunk)


def _mapping_of(arenas: Arenas, chunk: int, function: str) -> tuple[int, int]:
    """Return where a chunk's mapping begins and how long it is, if that can be true."""
    offset = arenas.words.load(chunk)
    length = offset + (arenas.words.load(chunk + SIZE) & ~SIZE_BITS) & ULONG_MAX
    start = chunk - offset & ULONG_MAX
    in_page = (chunk + CHUNK_HDR_SZ) % PAGE_SIZE
    if start % PAGE_SIZE or length % PAGE_SIZE or in_page & in_page - 1:
        raise MallocAbortError(f"{function}(): invalid pointer")
    return start, length


def munmap_chunk(arenas: Arenas, chunk: int) -> MallocSteps[None]:
    """Unmap a chunk; if the kernel refuses, it stays and nobody knows of it."""
    start, length = _mapping_of(arenas, chunk, "munmap_chunk")
    arenas.par[N_MMAPS] -= 1
    _count_mapped(arenas, -length)
    if (yield from unmap(arenas, start, length)) != 0:
        _put_header(arenas, chunk, start, length)


def _put_header(arenas: Arenas, chunk: int, start: int, length: int) -> None:
    """Let a mapped chunk, which the kernel has left as it was, have its header again."""
    arenas.words.put(chunk, chunk - start)
    arenas.words.put(chunk + SIZE, (length - (chunk - start)) | IS_MMAPPED)


def mremap_chunk(arenas: Arenas, chunk: int, size: int) -> MallocSteps[int]:
    """Let a mapped chunk have `size` bytes; return where it is then, 0: the kernel refuses."""
    words = arenas.words
    start, length = _mapping_of(arenas, chunk, "mremap_chunk")
    offset = chunk - start
    new_length = size + offset + SIZE_SZ + PAGE_SIZE - 1 & -PAGE_SIZE
    if length == new_length:
        return chunk
    # From here on another thread may be given the addresses, and write there.
    words.discard(start, start + length)
    moved = yield from ask(
        Mremap(address=start, old_length=length, new_length=new_length, flags=MREMAP_MAYMOVE)
    )
    if moved < 0:
        _put_header(arenas, chunk, start, length)
        return 0
    yield from madvise_thp(arenas, moved, new_length)
    chunk = moved + offset
    words.put(chunk, offset)
    words.store(chunk + SIZE, (new_length - offset) | IS_MMAPPED)
    _count_mapped(arenas, new_length - length)
    return chunk
