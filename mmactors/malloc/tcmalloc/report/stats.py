"""What tcmalloc counts, as a program has it counted (ExtractStats of src/tcmalloc.cc).

Each central list is looked at three times under its lock, then all caches and the page heap under
the page heap's: numbers of several lists need not fit each other if other threads go on meanwhile.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import numpy as np
from attrs import define, field, frozen
from numpy.typing import NDArray

from mmactors.malloc.library import HeapNumbers, MallocCircleError, MallocFaultError
from mmactors.malloc.request import MallocSteps
from mmactors.malloc.tcmalloc.cache.thread_cache import list_at, load_int
from mmactors.malloc.tcmalloc.central.size_map import batch_of, class_pages, class_size, nr_classes
from mmactors.malloc.tcmalloc.heap.span import NEXT
from mmactors.malloc.tcmalloc.heap.span_set import LEFT, PARENT, RIGHT, VALUE_LENGTH
from mmactors.malloc.tcmalloc.layout import (
    CACHED_BYTES,
    CENTRAL_BYTES,
    CENTRAL_CACHE,
    CENTRAL_LOCK,
    COUNTER,
    FREE_BYTES,
    FREE_LIST_BYTES,
    FREE_LISTS,
    LARGE_NORMAL,
    LARGE_RETURNED,
    LENGTH,
    MAX_PAGES,
    NEXT_CACHE,
    NUM_SPANS,
    PAGE_BYTES,
    PAGE_HEAP_LOCK,
    RETURNED_LIST,
    SIZE_CLASS,
    SPAN_ALLOCATOR,
    SYSTEM_BYTES,
    THREAD_HEAPS,
    THREADCACHE_ALLOCATOR,
    UNMAPPED_BYTES,
    USED_SLOTS,
)
from mmactors.malloc.tcmalloc.system.object_allocator import IN_USE
from mmactors.malloc.tcmalloc.task import longest_list
from mmactors.malloc.tcmalloc.tcmalloc_par import DATA_AT, METADATA_BYTES
from mmactors.malloc.user_words import UserWords
from mmactors.units import ULONG_MAX

if TYPE_CHECKING:
    from mmactors.malloc.tcmalloc.tcmalloc import Tcmalloc

_INT: Final = 1 << 31


@frozen(kw_only=True)
class Spans:
    """Free spans of one length, or of all above 128 pages."""

    normal: int = 0
    """How many have their pages; of long ones how many pages they have."""
    returned: int = 0
    """How many have given them back; of long ones how many pages they had."""


@define(kw_only=True)
class Stats:
    """What DumpStats asks for (struct TCMallocStats, and more); bytes if nothing else is said."""

    thread_bytes: int = 0
    central_bytes: int = 0
    transfer_bytes: int = 0
    metadata_bytes: int = 0
    system_bytes: int = 0
    free_bytes: int = 0
    unmapped_bytes: int = 0
    spans_in_use: int = 0
    """Structures; two more are there from the beginning on."""
    heaps_in_use: int = 0
    class_sizes: list[int] = field(factory=list)
    class_counts: list[int] = field(factory=list)
    """Free blocks of each class, in all lists; none are counted for a short text."""
    class_overheads: list[int] = field(factory=list)
    """Of each class the bytes at the ends of its spans."""
    small: list[Spans] = field(factory=list)
    """By length, from 1 page on."""
    large: Spans = Spans()
    nr_large: int = 0

    @property
    def in_use(self) -> int:
        """What nothing else is, as a size_t: of more lists than the page heap has it is large."""
        free = self.free_bytes + self.unmapped_bytes
        cached = self.thread_bytes + self.central_bytes + self.transfer_bytes
        return self.system_bytes - cached - free & ULONG_MAX

    def mallinfo(self) -> HeapNumbers:
        """Return struct mallinfo, of which four numbers are filled in, as ints (do_mallinfo)."""
        return HeapNumbers(
            arena=_int(self.system_bytes),
            fsmblks=_int(self.thread_bytes + self.central_bytes + self.transfer_bytes),
            fordblks=_int(self.free_bytes + self.unmapped_bytes),
            uordblks=_int(self.in_use),
        )


def _int(number: int) -> int:
    """Return what is left of a number in an int."""
    return (number + _INT) % (2 * _INT) - _INT


def extract_stats(library: "Tcmalloc", *, is_detailed: bool) -> MallocSteps[Stats]:
    """Return what is counted now; blocks of classes and free spans only if it `is_detailed`."""
    user, par = library.words, library.par
    look = _Look(user, par)
    stats = Stats()
    data = library.data_at
    for number in range(look.nr_classes()):
        central = data + CENTRAL_CACHE + CENTRAL_BYTES * number
        lock, unlock = library.lock(central + CENTRAL_LOCK), library.unlock(central + CENTRAL_LOCK)
        yield lock
        length = look.int_of(user.load(central + COUNTER))
        yield unlock
        yield lock
        nr_transferred = look.int_at(central + USED_SLOTS) * look.batch_of(central)
        yield unlock
        yield lock
        overhead = look.overhead_of(central)
        yield unlock
        size = look.class_size(number)
        stats.class_sizes.append(size)
        stats.class_counts.append(length + nr_transferred)
        stats.class_overheads.append(overhead)
        stats.central_bytes += size * length + overhead
        stats.transfer_bytes += size * nr_transferred
    yield library.lock(data + PAGE_HEAP_LOCK)
    for cache in look.caches():
        stats.thread_bytes += look.int_at(cache + CACHED_BYTES)
        if is_detailed:
            for number in range(len(stats.class_counts)):
                stats.class_counts[number] += look.int_at(list_at(cache, number) + LENGTH)
    stats.metadata_bytes = int(par[METADATA_BYTES])
    stats.system_bytes = user.load(data + SYSTEM_BYTES)
    stats.free_bytes = user.load(data + FREE_BYTES)
    stats.unmapped_bytes = user.load(data + UNMAPPED_BYTES)
    if is_detailed:
        look.count_spans(stats)
    yield library.unlock(data + PAGE_HEAP_LOCK)
    stats.spans_in_use = look.int_at(data + SPAN_ALLOCATOR + IN_USE)
    stats.heaps_in_use = look.int_at(data + THREADCACHE_ALLOCATOR + IN_USE)
    return stats


@define(eq=False)
class _Look:
    """Reads the library's structures, with accesses if they are watched."""

    user: UserWords
    par: NDArray[np.int64]

    def int_at(self, address: int) -> int:
        """Return an int."""
        return load_int(self.user.words, self.user.log, address)

    def int_of(self, number: int) -> int:
        """Return what is left of a size_t in an int."""
        return _int(number)

    def nr_classes(self) -> int:
        """Return how many classes there are, with class 0."""
        return nr_classes(self.user.words, self.user.log, self.par)

    def class_size(self, number: int) -> int:
        """Return the bytes of a class's blocks."""
        return class_size(self.user.words, self.user.log, self.par, number)

    def batch_of(self, central: int) -> int:
        """Return how many blocks a slot of a transfer cache has."""
        number = self.user.load(central + SIZE_CLASS)
        return batch_of(self.user.words, self.user.log, self.par, number)

    def overhead_of(self, central: int) -> int:
        """Return the bytes at the ends of a class's spans (OverheadBytes)."""
        number = self.user.load(central + SIZE_CLASS)
        if number == 0:
            return 0
        pages = class_pages(self.user.words, self.user.log, self.par, number)
        size = self.class_size(number)
        if size == 0:
            # SIGFPE: a program has written over the sizes of classes.
            raise MallocFaultError
        return self.user.load(central + NUM_SPANS) * (pages * PAGE_BYTES % size)

    def caches(self) -> Iterator[int]:
        """Yield all caches, the newest first."""
        return self._links(int(self.par[DATA_AT]) + THREAD_HEAPS, NEXT_CACHE, end=0)

    def count_spans(self, stats: Stats) -> None:
        """Count free spans (GetSmallSpanStats, GetLargeSpanStats)."""
        data = int(self.par[DATA_AT])
        for nr_pages in range(1, MAX_PAGES + 1):
            normal = data + FREE_LISTS + (nr_pages - 1) * FREE_LIST_BYTES
            heads = normal, normal + RETURNED_LIST
            numbers = [sum(1 for _ in self._links(head + NEXT, NEXT, end=head)) for head in heads]
            stats.small.append(Spans(normal=numbers[0], returned=numbers[1]))
        pages = [list(self._lengths(data + header)) for header in (LARGE_NORMAL, LARGE_RETURNED)]
        stats.nr_large = sum(map(len, pages))
        stats.large = Spans(normal=sum(pages[0]), returned=sum(pages[1]))

    def _links(self, first: int, link: int, *, end: int) -> Iterator[int]:
        """Yield what a list has, whose first one stands at `first`, up to `end`."""
        item = self.user.load(first)
        for _ in range(longest_list(self.user.words)):
            if item == end:
                return
            yield item
            item = self.user.load(item + link)
        raise MallocCircleError

    def _lengths(self, header: int) -> Iterator[int]:
        """Yield the lengths of a set's spans, from the smallest on."""
        above: list[int] = []
        node = self.user.load(header + PARENT)
        for _ in range(2 * longest_list(self.user.words)):
            if node:
                above.append(node)
                node = self.user.load(node + LEFT)
            elif above:
                node = above.pop()
                yield self.user.load(node + VALUE_LENGTH)
                node = self.user.load(node + RIGHT)
            else:
                return
        raise MallocCircleError
