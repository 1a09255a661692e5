"""Memory from the system, and for tcmalloc's own structures (src/system-alloc.cc, src/common.cc).

Memory is got by moving the program break, as long as that works, else by mapping it. Where both
have failed, both are tried again the next time. tcmalloc's own memory is taken in chunks of 8 MiB.

Left out: the locks of both allocators, which are only taken under the page heap's, and other
allocators that a program may set (/dev/mem, huge pages of a file system).
"""

from typing import Final

from mmactors.arch.column import Words
from mmactors.arch.jit import compiled
from mmactors.malloc.tcmalloc.steps import (
    META_ALLOC,
    META_CHUNK,
    MMAP_ALLOC,
    MMAP_MAPPED,
    MMAP_TAIL,
    NEW_OBJECT,
    OBJECT_ROOM,
    SBRK_ALLOC,
    SBRK_EXTRA,
    SBRK_KNOWN,
    SBRK_MOVED,
    SBRK_PADDED,
    SYSTEM_ALLOC,
    SYSTEM_DONE,
)
from mmactors.malloc.tcmalloc.system.object_allocator import (
    ALLOC_INCREMENT,
    FREE_AREA,
    FREE_AVAIL,
    take_object,
)
from mmactors.malloc.tcmalloc.task import (
    AFTER_META,
    AFTER_OBJ,
    AFTER_SYS,
    ANSWER,
    BRK,
    GO_ON,
    META_BYTES,
    META_RESULT,
    MMAP,
    MUNMAP,
    OBJ,
    OBJ_ALLOCATOR,
    OBJ_BYTES,
    OUT_OF_METADATA,
    REQUEST,
    REQUEST_BYTES,
    STEP,
    SYS_ACTUAL,
    SYS_ALIGNMENT,
    SYS_PLACE,
    SYS_RESULT,
    SYS_SIZE,
)
from mmactors.malloc.tcmalloc.tcmalloc_par import (
    CURBRK,
    METADATA_AT,
    METADATA_AVAIL,
    METADATA_BYTES,
    METADATA_CHUNKS,
    MMAP_FAILED,
    MOST_METADATA_CHUNKS,
    NR_METADATA_CHUNKS,
    SBRK_FAILED,
    SKIP_MMAP,
    SKIP_SBRK,
    SYSTEM_TAKEN,
)
from mmactors.malloc.user_words import store_word, to_word
from mmactors.units import PAGE_SIZE

METADATA_CHUNK: Final = 8 * 1024 * 1024
_METADATA_ALIGNMENT: Final = 64
_SIGN: Final = -(1 << 63)


@compiled
def ask_system(task: Words, size: int, alignment: int, then: int) -> int:
    """Let the next steps get memory in SYS_RESULT, SYS_ACTUAL bytes of it (TCMalloc_SystemAlloc).

    A SYS_RESULT of 0: there is none.
    """
    task[SYS_SIZE] = size
    task[SYS_ALIGNMENT] = alignment
    task[AFTER_SYS] = then
    task[STEP] = SYSTEM_ALLOC
    return GO_ON


@compiled
def ask_metadata(task: Words, nr_bytes: int, then: int) -> int:
    """Let the next steps get room for a structure in META_RESULT; 0: there is none."""
    task[META_BYTES] = nr_bytes
    task[AFTER_META] = then
    task[STEP] = META_ALLOC
    return GO_ON


@compiled
def system_step(words: Words, log: Words, par: Words, task: Words) -> int:
    """Do a step of this module's."""
    step = task[STEP]
    if step == NEW_OBJECT:
        return _new_object(words, log, task)
    if step == OBJECT_ROOM:
        return _object_room(words, log, task)
    if step in (META_ALLOC, META_CHUNK):
        return _metadata(par, task)
    if step == SYSTEM_ALLOC:
        return _system_alloc(par, task)
    if step in (MMAP_ALLOC, MMAP_MAPPED, MMAP_TAIL):
        return _mmap_alloc(par, task)
    if step == SYSTEM_DONE:
        if task[SYS_RESULT]:
            par[SYSTEM_TAKEN] += task[SYS_ACTUAL]
        task[STEP] = task[AFTER_SYS]
        return GO_ON
    return _sbrk_alloc(par, task)


@compiled
def _new_object(words: Words, log: Words, task: Words) -> int:
    task[OBJ] = take_object(words, log, int(task[OBJ_ALLOCATOR]), int(task[OBJ_BYTES]))
    if task[OBJ] == 0:
        return ask_metadata(task, ALLOC_INCREMENT, OBJECT_ROOM)
    task[STEP] = task[AFTER_OBJ]
    return GO_ON


@compiled
def _object_room(words: Words, log: Words, task: Words) -> int:
    allocator = int(task[OBJ_ALLOCATOR])
    if task[META_RESULT] == 0:
        task[REQUEST_BYTES] = task[OBJ_BYTES]
        return OUT_OF_METADATA
    store_word(words, log, allocator + FREE_AREA, int(task[META_RESULT]))
    store_word(words, log, allocator + FREE_AVAIL, ALLOC_INCREMENT)
    task[STEP] = NEW_OBJECT
    return GO_ON


@compiled
def _metadata(par: Words, task: Words) -> int:
    """Cut room from the chunk at hand, or from a new one (MetaDataAlloc)."""
    nr_bytes = task[META_BYTES]
    skipped = -par[METADATA_AT] & (_METADATA_ALIGNMENT - 1)
    if task[STEP] == META_CHUNK:
        if task[SYS_RESULT] == 0:
            task[META_RESULT] = 0
            task[STEP] = task[AFTER_META]
            return GO_ON
        par[METADATA_AT] = task[SYS_RESULT]
        par[METADATA_AVAIL] = task[SYS_ACTUAL]
        if par[NR_METADATA_CHUNKS] < MOST_METADATA_CHUNKS:
            par[METADATA_CHUNKS + par[NR_METADATA_CHUNKS]] = task[SYS_RESULT]
            par[NR_METADATA_CHUNKS] += 1
        skipped = 0
    elif par[METADATA_AVAIL] < nr_bytes + skipped:
        return ask_system(task, METADATA_CHUNK, _METADATA_ALIGNMENT, META_CHUNK)
    task[META_RESULT] = par[METADATA_AT] + skipped
    par[METADATA_AT] += nr_bytes + skipped
    par[METADATA_AVAIL] -= nr_bytes + skipped
    par[METADATA_BYTES] += nr_bytes + skipped
    task[STEP] = task[AFTER_META]
    return GO_ON


@compiled
def _system_alloc(par: Words, task: Words) -> int:
    size = int(task[SYS_SIZE])
    task[SYS_RESULT] = 0
    task[STEP] = SYSTEM_DONE
    # A sum that wraps is refused.
    if (to_word(size + int(task[SYS_ALIGNMENT])) ^ _SIGN) >= (size ^ _SIGN):
        task[STEP] = MMAP_ALLOC if par[SBRK_FAILED] else SBRK_ALLOC
    return GO_ON


@compiled
def _brk(task: Words, address: int, then: int) -> int:
    task[REQUEST] = address
    task[STEP] = then
    return BRK


@compiled
def _sbrk_alloc(par: Words, task: Words) -> int:
    """Move the break (SbrkSysAllocator::Alloc); once more if its old place was not aligned."""
    alignment = int(task[SYS_ALIGNMENT])
    size = to_word(int(task[SYS_SIZE]) + alignment - 1) // alignment * alignment
    step = task[STEP]
    if step == SBRK_ALLOC:
        if par[SKIP_SBRK] or to_word(int(task[SYS_SIZE]) + alignment) < 0:
            return _sbrk_failed(par, task)
        task[SYS_ACTUAL] = size
        if par[CURBRK] == 0:
            return _brk(task, 0, SBRK_KNOWN)
        step = SBRK_KNOWN
    elif step == SBRK_KNOWN:
        par[CURBRK] = task[ANSWER]
    if step == SBRK_KNOWN:
        task[SYS_PLACE] = par[CURBRK]
        return _brk(task, int(par[CURBRK]) + size, SBRK_MOVED)
    # What the break is now, whether it went as far or not.
    old = int(par[CURBRK])
    par[CURBRK] = task[ANSWER]
    is_moved = par[CURBRK] >= task[REQUEST]
    if step == SBRK_EXTRA:
        if is_moved and old == task[SYS_PLACE] + size:
            task[SYS_RESULT] = task[SYS_PLACE] + (-task[SYS_PLACE] & (alignment - 1))
            task[STEP] = SYSTEM_DONE
            return GO_ON
        task[SYS_PLACE] = par[CURBRK]
        return _brk(task, int(par[CURBRK]) + size + alignment - 1, SBRK_PADDED)
    if not is_moved:
        return _sbrk_failed(par, task)
    skipped = int(-task[SYS_PLACE] & (alignment - 1))
    if skipped and step == SBRK_MOVED:
        return _brk(task, int(par[CURBRK]) + skipped, SBRK_EXTRA)
    task[SYS_RESULT] = task[SYS_PLACE] + skipped
    task[STEP] = SYSTEM_DONE
    return GO_ON


@compiled
def _sbrk_failed(par: Words, task: Words) -> int:
    par[SBRK_FAILED] = 1
    task[STEP] = MMAP_ALLOC
    return GO_ON


@compiled
def _mmap_alloc(par: Words, task: Words) -> int:
    """Map memory, with more around it to have it aligned (MmapSysAllocator::Alloc)."""
    alignment = max(int(task[SYS_ALIGNMENT]), PAGE_SIZE)
    size = to_word(int(task[SYS_SIZE]) + alignment - 1) // alignment * alignment
    extra = alignment - PAGE_SIZE
    place = int(task[ANSWER])
    if task[STEP] == MMAP_ALLOC:
        if par[MMAP_FAILED] or par[SKIP_MMAP]:
            return _mmap_failed(par, task)
        task[SYS_ACTUAL] = size
        task[REQUEST_BYTES] = size + extra
        task[STEP] = MMAP_MAPPED
        return MMAP
    if task[STEP] == MMAP_MAPPED:
        if -PAGE_SIZE < place < 0:
            return _mmap_failed(par, task)
        task[SYS_PLACE] = place
        task[STEP] = MMAP_TAIL
        if -place & (alignment - 1):
            task[REQUEST] = place
            task[REQUEST_BYTES] = -place & (alignment - 1)
            return MUNMAP
    adjust = -int(task[SYS_PLACE]) & (alignment - 1)
    task[SYS_RESULT] = task[SYS_PLACE] + adjust
    task[STEP] = SYSTEM_DONE
    if adjust < extra:
        task[REQUEST] = task[SYS_RESULT] + size
        task[REQUEST_BYTES] = extra - adjust
        return MUNMAP
    return GO_ON


@compiled
def _mmap_failed(par: Words, task: Words) -> int:
    """Let both ways be tried again the next time, as neither has worked."""
    par[SBRK_FAILED] = 0
    par[MMAP_FAILED] = 0
    task[STEP] = SYSTEM_DONE
    return GO_ON
