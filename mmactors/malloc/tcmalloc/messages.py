"""What tcmalloc writes when it cannot go on, before it aborts (Log(kCrash, ...))."""

from mmactors.malloc.library import MallocAbortError, MallocCircleError, MallocFaultError
from mmactors.malloc.tcmalloc.system.object_allocator import ALLOC_INCREMENT
from mmactors.malloc.tcmalloc.task import CIRCLE, INVALID_FREE, INVALID_REALLOC, OUT_OF_METADATA
from mmactors.units import ULONG_MAX


def allocation_failed(nr_bytes: int) -> str:
    """Return what a central list writes that got no span (CentralFreeList::Populate)."""
    return f"src/central_freelist.cc:330] tcmalloc: allocation failed {nr_bytes} "


def error_of(code: int, address: int, nr_bytes: int) -> MallocAbortError:
    """Return what a step's code says: of a block at `address`, or of structures of `nr_bytes`."""
    if code == CIRCLE:
        return MallocCircleError()
    block = f"{address & ULONG_MAX:#x}"
    if code == INVALID_FREE:
        return MallocAbortError(f"src/tcmalloc.cc:333] Attempt to free invalid pointer {block} ")
    if code == INVALID_REALLOC:
        place = "src/tcmalloc.cc:337]"
        return MallocAbortError(f"{place} Attempt to realloc invalid pointer {block} ")
    if code == OUT_OF_METADATA:
        what = "FATAL ERROR: Out of memory trying to allocate internal tcmalloc data"
        sizes = f"{ALLOC_INCREMENT} {nr_bytes}"
        return MallocAbortError(
            f"src/page_heap_allocator.h:74] {what} (bytes, object-size) {sizes} "
        )
    return MallocFaultError()
