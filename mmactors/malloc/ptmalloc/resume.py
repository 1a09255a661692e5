"""What follows when a compiled path has returned, which may have asked for something on its way."""

from mmactors.malloc.ptmalloc.chunk import ALIGN_MASK, request2size
from mmactors.malloc.ptmalloc.int_calloc import clear_block
from mmactors.malloc.ptmalloc.int_malloc import perturb
from mmactors.malloc.ptmalloc.int_memalign import padded_request, without_lead, without_tail
from mmactors.malloc.ptmalloc.int_realloc import copied
from mmactors.malloc.ptmalloc.malloc_par import OLD_TOP, OLD_TOP_SIZE, RESULT
from mmactors.malloc.ptmalloc.messages import (
    NEEDS_SYSMALLOC,
    NEEDS_TRIM,
    NEEDS_TRIM_THEN_TAIL,
    check,
)
from mmactors.malloc.ptmalloc.sysmalloc import SystemMemory
from mmactors.malloc.request import MallocSteps


def resume_malloc(
    memory: SystemMemory, tcache: int, arena: int, size: int, result: int
) -> MallocSteps[int]:
    """Return the block that `int_malloc` has returned or needs the system for; 0: it cannot be had."""
    if check(result) != NEEDS_SYSMALLOC:
        return result
    return (yield from from_system(memory, tcache, arena, size))


def from_system(memory: SystemMemory, tcache: int, arena: int, size: int) -> MallocSteps[int]:
    """Return a block for a request that an arena, or none, cannot serve; 0: it cannot be had."""
    block = yield from memory.sysmalloc(tcache, arena, request2size(size))
    if block:
        perturb(memory.arenas.words.log, memory.arenas.par, block, size)
    return block


def resume_calloc(
    memory: SystemMemory, tcache: int, arena: int, size: int, result: int
) -> MallocSteps[int]:
    """Return the cleared block that `int_calloc` has returned or needs the system for; or 0."""
    if check(result) != NEEDS_SYSMALLOC:
        return result
    par = memory.arenas.par
    # Others may call calloc meanwhile.
    old_top, old_top_size = par[OLD_TOP], par[OLD_TOP_SIZE]
    block = yield from from_system(memory, tcache, arena, size)
    if block:
        par[OLD_TOP], par[OLD_TOP_SIZE] = old_top, old_top_size
        clear_block(*memory.arrays(), block, size)
    return block


def resume_free(memory: SystemMemory, arena: int, result: int) -> MallocSteps[None]:
    """End a free of an arena's chunk."""
    if check(result) == NEEDS_TRIM:
        yield from memory.trim(arena)


def resume_realloc(
    memory: SystemMemory, tcache: int, arena: int, chunk: int, size: int, result: int
) -> MallocSteps[int]:
    """Return the block that a chunk of an arena has become, which `int_realloc` began; or 0.

    `size` is that of the new chunk.
    """
    if check(result) == NEEDS_SYSMALLOC:
        block = yield from from_system(memory, tcache, arena, size - ALIGN_MASK)
        if not block:
            return 0
        result = check(copied(*memory.arrays(), tcache, arena, chunk, size, block))
    return (yield from _trimmed(memory, arena, result))


def resume_memalign(
    memory: SystemMemory, tcache: int, arena: int, alignment: int, request: int, result: int
) -> MallocSteps[int]:
    """Return the aligned block that `int_memalign` began; 0: it cannot be had."""
    size = request2size(request)
    if check(result) == NEEDS_SYSMALLOC:
        padded = padded_request(alignment, request)
        block = yield from from_system(memory, tcache, arena, padded)
        if not block:
            return 0
        result = check(without_lead(*memory.arrays(), tcache, arena, alignment, size, block))
    if result == NEEDS_TRIM_THEN_TAIL:
        block = int(memory.arenas.par[RESULT])
        yield from memory.trim(arena)
        result = check(without_tail(*memory.arrays(), tcache, arena, size, block))
    return (yield from _trimmed(memory, arena, result))


def _trimmed(memory: SystemMemory, arena: int, result: int) -> MallocSteps[int]:
    """Return a block, after the trim that a free asks for that was made for it."""
    if result != NEEDS_TRIM:
        return result
    block = int(memory.arenas.par[RESULT])
    yield from memory.trim(arena)
    return block
