"""Mappings that the page allocator asks the kernel for (jemalloc 5.3.0, pages.c).

With vm.overcommit_memory 0 or 1: address space is mapped without reservation, and all of it is
usable at once.
"""

from typing import Final

from mmactors.malloc.mman import (
    MADV_DONTNEED,
    MADV_FREE,
    MAP_ANONYMOUS,
    MAP_NORESERVE,
    MAP_PRIVATE,
    PROT_READ,
    PROT_WRITE,
)
from mmactors.malloc.request import Madvise, MallocSteps, Mmap, Munmap, ask
from mmactors.malloc.user_words import UserWords, note_access
from mmactors.units import PAGE_SIZE

_PROT: Final = PROT_READ | PROT_WRITE
_FLAGS: Final = MAP_PRIVATE | MAP_ANONYMOUS


def os_pages_map(length: int) -> MallocSteps[int]:
    """Map pages anywhere; 0: there is no room."""
    address = yield from ask(Mmap(length=length, prot=_PROT, flags=_FLAGS | MAP_NORESERVE))
    return max(address, 0)


def pages_unmap(address: int, length: int) -> MallocSteps[None]:
    """Give address space back."""
    yield from ask(Munmap(address=address, length=length))


def pages_map(length: int, alignment: int) -> MallocSteps[int]:
    """Map aligned pages, or too many, of which the ends go back; 0: no room (pages_map)."""
    address = yield from os_pages_map(length)
    if not address & alignment - 1:
        return address
    yield from pages_unmap(address, length)
    more = length + alignment - PAGE_SIZE
    address = yield from os_pages_map(more)
    if not address:
        return 0
    lead = -address & alignment - 1
    if lead:
        yield from pages_unmap(address, lead)
    trail = more - lead - length
    if trail:
        yield from pages_unmap(address + lead + length, trail)
    return address + lead


def pages_map_at(at: int, length: int) -> MallocSteps[int]:
    """Map pages at an address; 0: the kernel has them elsewhere, or nowhere."""
    flags = _FLAGS | MAP_NORESERVE
    address = yield from ask(Mmap(address=at, length=length, prot=_PROT, flags=flags))
    if address != at and address > 0:
        yield from pages_unmap(address, length)
    return at if address == at else 0


def purge_forced(address: int, length: int) -> MallocSteps[bool]:
    """Let pages read 0 again (pages_purge_forced); False: the kernel did not do it."""
    return (yield from ask(Madvise(address=address, length=length, advice=MADV_DONTNEED))) == 0


def purge_lazy(address: int, length: int) -> MallocSteps[bool]:
    """Let the kernel have pages when it needs them (pages_purge_lazy)."""
    return (yield from ask(Madvise(address=address, length=length, advice=MADV_FREE))) == 0


def pages_boot(words: UserWords) -> MallocSteps[None]:
    """Try what madvise does: whether pages are zero after DONTNEED, whether there is FREE."""
    page = yield from ask(Mmap(length=PAGE_SIZE, prot=_PROT, flags=_FLAGS))
    note_access(words.log, page, PAGE_SIZE, 1)
    yield from purge_forced(page, PAGE_SIZE)
    note_access(words.log, page, PAGE_SIZE, 0)
    yield from pages_unmap(page, PAGE_SIZE)
    page = yield from os_pages_map(PAGE_SIZE)
    yield from purge_lazy(page, PAGE_SIZE)
    yield from pages_unmap(page, PAGE_SIZE)
