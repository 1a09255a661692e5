"""What ptmalloc says of a broken heap: each of its messages, for a heap that is broken that way."""

import pytest
from ptmallocs import MAIN_ARENA, Guest

from mmactors.malloc.library import MallocAbortError
from mmactors.malloc.ptmalloc.malloc_par import TCACHE_KEY
from mmactors.malloc.ptmalloc.messages import MESSAGES

NO_TCACHE = {"tcache_count": 0}
ONLY_BINS = {"tcache_count": 0, "mxfast": 0}
SIZE, FD, BK, FD_NEXTSIZE, BK_NEXTSIZE = 8, 16, 24, 32, 40
UNSORTED = MAIN_ARENA + 0x60
TOP = MAIN_ARENA + 0x60
FASTBIN_0 = MAIN_ARENA + 0x10
VIEWS = ("int_mallinfo(", "__malloc_info(")
"""How messages of paths begin that only look at a heap."""


class Heap:
    """A process whose heap is broken by hand. Chunks are known by their blocks."""

    def __init__(self, **tunables):
        self.guest = Guest(environment=tunables)
        self.library = self.guest.library
        self.words = self.library.words

    def malloc(self, size):
        return self.guest.call(self.library.malloc(0, size))

    def mallocs(self, *sizes):
        return [self.malloc(size) for size in sizes]

    def free(self, *blocks):
        for block in blocks:
            self.guest.call(self.library.free(0, block))

    def realloc(self, block, size):
        return self.guest.call(self.library.realloc(0, block, size))

    def set(self, block, offset, value):
        """Write a word of a chunk."""
        self.words.store(block - 16 + offset, value)

    def get(self, block, offset):
        return self.words.load(block - 16 + offset)

    def top(self):
        return self.words.load(TOP)

    def tcache(self):
        return int(self.library.tcache[0])

    def in_bins(self, *sizes):
        """Free blocks of these sizes into their bins; used ones are between."""
        blocks = [self.mallocs(size, 24)[0] for size in sizes]
        self.free(*blocks)
        self.malloc(100_000)
        return blocks


BREAKS = {}


def breaks(message, **tunables):
    """Declare what breaks a heap so that the message is the end."""

    def declare(program):
        BREAKS[message] = program, tunables
        return program

    return declare


@breaks("malloc(): unaligned tcache chunk detected")
def _(heap):
    heap.free(heap.malloc(24))
    heap.words.store(heap.tcache() + 0x80, heap.words.load(heap.tcache() + 0x80) + 8)
    heap.malloc(24)


@breaks("malloc(): unaligned fastbin chunk detected", **NO_TCACHE)
def _(heap):
    heap.library.new_thread()
    first, second = heap.mallocs(24, 24)
    heap.free(first, second)
    heap.set(second, FD, 8)
    heap.malloc(24)


@breaks("malloc(): unaligned fastbin chunk detected 2", **NO_TCACHE)
def _(heap):
    heap.free(heap.malloc(24))
    heap.words.store(FASTBIN_0, heap.words.load(FASTBIN_0) + 8)
    heap.malloc(24)


@breaks("malloc(): unaligned fastbin chunk detected 3")
def _(heap):
    blocks = heap.mallocs(*[24] * 9)
    heap.free(*blocks)
    heap.set(blocks[8], FD, 8)
    heap.mallocs(*[24] * 8)


@breaks("malloc(): memory corruption (fast)", **NO_TCACHE)
def _(heap):
    block = heap.malloc(24)
    heap.free(block)
    heap.set(block, SIZE, 0x31)
    heap.malloc(24)


@breaks("malloc(): smallbin double linked list corrupted", **ONLY_BINS)
def _(heap):
    (block,) = heap.in_bins(200)
    heap.set(block, BK, block + 256)
    heap.malloc(200)


@breaks("malloc(): invalid size (unsorted)", **ONLY_BINS)
def _(heap):
    block, _ = heap.mallocs(200, 24)
    heap.free(block)
    heap.set(block, SIZE, 0x11)
    heap.malloc(500)


@breaks("malloc(): invalid next size (unsorted)", **ONLY_BINS)
def _(heap):
    block, after = heap.mallocs(200, 24)
    heap.free(block)
    heap.set(after, SIZE, 0)
    heap.malloc(500)


@breaks("malloc(): mismatching next->prev_size (unsorted)", **ONLY_BINS)
def _(heap):
    block, after = heap.mallocs(200, 24)
    heap.free(block)
    heap.set(after, 0, 0x20)
    heap.malloc(500)


@breaks("malloc(): unsorted double linked list corrupted", **ONLY_BINS)
def _(heap):
    block, _ = heap.mallocs(200, 24)
    heap.free(block)
    heap.set(block, FD, block)
    heap.malloc(500)


@breaks("malloc(): invalid next->prev_inuse (unsorted)", **ONLY_BINS)
def _(heap):
    block, after = heap.mallocs(200, 24)
    heap.free(block)
    heap.set(after, SIZE, heap.get(after, SIZE) | 1)
    heap.malloc(500)


@breaks("malloc(): largebin double linked list corrupted (nextsize)", **ONLY_BINS)
def _(heap):
    large, _, small, _, between, _ = heap.mallocs(1120, 24, 1090, 24, 1105, 24)
    heap.free(large, small)
    heap.malloc(100_000)
    heap.set(small, BK_NEXTSIZE, small - 16)
    heap.free(between)
    heap.malloc(100_000)


@breaks("malloc(): largebin double linked list corrupted (bk)", **ONLY_BINS)
def _(heap):
    large, _, small, _, between, _ = heap.mallocs(1120, 24, 1090, 24, 1105, 24)
    heap.free(large, small)
    heap.malloc(100_000)
    heap.set(small, BK, small - 16)
    heap.free(between)
    heap.malloc(100_000)


@breaks("malloc(): corrupted unsorted chunks", **ONLY_BINS)
def _(heap):
    (block,) = heap.in_bins(1120)
    heap.words.store(UNSORTED + FD, block)
    heap.malloc(1090)


@breaks("malloc(): corrupted unsorted chunks 2", **ONLY_BINS)
def _(heap):
    (block,) = heap.in_bins(1120)
    heap.words.store(UNSORTED + FD, block)
    heap.malloc(24)


@breaks("malloc(): corrupted top size")
def _(heap):
    heap.malloc(24)
    heap.words.store(heap.top() + SIZE, 0x10_0001)
    heap.malloc(500)


@breaks("corrupted size vs. prev_size", **ONLY_BINS)
def _(heap):
    first, second, third = heap.mallocs(200, 200, 200)
    heap.free(second)
    heap.set(third, 0, 0x40)
    heap.free(first)


@breaks("corrupted double-linked list", **ONLY_BINS)
def _(heap):
    first, second, _ = heap.mallocs(200, 200, 200)
    heap.free(second)
    heap.set(second, FD, first)
    heap.free(first)


@breaks("corrupted double-linked list (not small)", **ONLY_BINS)
def _(heap):
    first, second, _ = heap.mallocs(200, 1100, 24)
    heap.free(second)
    heap.malloc(100_000)
    heap.set(second, FD_NEXTSIZE, first)
    heap.free(first)


@breaks("free(): invalid pointer")
def _(heap):
    heap.free(heap.malloc(24) + 8)


@breaks("free(): invalid size")
def _(heap):
    block = heap.malloc(24)
    heap.set(block, SIZE, 0x29)
    heap.free(block)


@breaks("free(): too many chunks detected in tcache")
def _(heap):
    *cached, block = heap.mallocs(*[24] * 8)
    heap.free(*cached)
    last = cached[0]
    heap.words.store(last, last >> 12 ^ cached[-1])
    heap.words.store(block + 8, int(heap.library.par[TCACHE_KEY]))
    heap.free(block)


@breaks("free(): unaligned chunk detected in tcache 2")
def _(heap):
    cached, block = heap.mallocs(24, 24)
    heap.free(cached)
    heap.words.store(heap.tcache() + 0x80, cached + 8)
    heap.words.store(block + 8, int(heap.library.par[TCACHE_KEY]))
    heap.free(block)


@breaks("free(): double free detected in tcache 2")
def _(heap):
    block = heap.malloc(24)
    heap.free(block, block)


@breaks("free(): invalid next size (fast)", **NO_TCACHE)
def _(heap):
    block, after = heap.mallocs(24, 24)
    heap.set(after, SIZE, 1)
    heap.free(block)


@breaks("double free or corruption (fasttop)", **NO_TCACHE)
def _(heap):
    block = heap.malloc(24)
    heap.free(block, block)


@breaks("invalid fastbin entry (free)", **NO_TCACHE)
def _(heap):
    first, second, _ = heap.mallocs(24, 100, 24)
    heap.free(first)
    heap.set(first, SIZE, 0x31)
    heap.realloc(second, 72)


@breaks("double free or corruption (top)")
def _(heap):
    heap.malloc(24)
    heap.free(heap.top() + 16)


@breaks("double free or corruption (out)", **ONLY_BINS)
def _(heap):
    block = heap.malloc(200)
    heap.set(block, SIZE, 0x40_0001)
    heap.free(block)


@breaks("double free or corruption (!prev)", **ONLY_BINS)
def _(heap):
    block, _ = heap.mallocs(200, 24)
    heap.free(block, block)


@breaks("free(): invalid next size (normal)", **ONLY_BINS)
def _(heap):
    block, after = heap.mallocs(200, 24)
    heap.set(after, SIZE, 1)
    heap.free(block)


@breaks("corrupted size vs. prev_size while consolidating", **ONLY_BINS)
def _(heap):
    first, second, _ = heap.mallocs(200, 200, 24)
    heap.free(first)
    heap.set(second, 0, 0x40)
    heap.free(second)


@breaks("free(): corrupted unsorted chunks", **ONLY_BINS)
def _(heap):
    block, after = heap.mallocs(200, 24)
    heap.words.store(UNSORTED + FD, after)
    heap.free(block)


@breaks("malloc_consolidate(): unaligned fastbin chunk detected", **NO_TCACHE)
def _(heap):
    block = heap.malloc(24)
    heap.free(block)
    heap.words.store(FASTBIN_0, block)
    heap.words.store(FASTBIN_0, block + 8)
    heap.malloc(2000)


@breaks("malloc_consolidate(): invalid chunk size", **NO_TCACHE)
def _(heap):
    block = heap.malloc(24)
    heap.free(block)
    heap.set(block, SIZE, 0x31)
    heap.malloc(2000)


@breaks("corrupted size vs. prev_size in fastbins", **NO_TCACHE)
def _(heap):
    first, second, _ = heap.mallocs(200, 24, 24)
    heap.free(first, second)
    heap.set(second, 0, 0x40)
    heap.malloc(2000)


@breaks("realloc(): invalid old size")
def _(heap):
    block = heap.malloc(200)
    heap.set(block, SIZE, 0x40_0001)
    heap.realloc(block, 300)


@breaks("realloc(): invalid next size")
def _(heap):
    block, after = heap.mallocs(200, 24)
    heap.set(after, SIZE, 1)
    heap.realloc(block, 300)


@breaks("realloc(): invalid pointer")
def _(heap):
    heap.realloc(heap.malloc(24) + 8, 100)


@breaks(
    "Fatal glibc error: malloc assertion failure in _int_malloc:"
    " (unsigned long) (size) >= (unsigned long) (nb)",
    **ONLY_BINS,
)
def _(heap):
    (block,) = heap.in_bins(500)
    heap.set(block, SIZE, 0x41)
    heap.malloc(200)


@breaks("Segmentation fault", **ONLY_BINS)
def _(heap):
    _, small = heap.in_bins(1120, 1090)
    heap.set(small, SIZE, 0x41)
    heap.set(small, BK_NEXTSIZE, 0)
    heap.malloc(1105)


@breaks("munmap_chunk(): invalid pointer")
def _(heap):
    block = heap.malloc(200_000)
    heap.set(block, 0, 8)
    heap.free(block)


@breaks("mremap_chunk(): invalid pointer")
def _(heap):
    block = heap.malloc(200_000)
    heap.set(block, 0, 8)
    heap.realloc(block, 300_000)


@breaks("tcache_thread_shutdown(): unaligned tcache chunk detected")
def _(heap):
    heap.free(heap.malloc(24))
    heap.words.store(heap.tcache() + 0x80, heap.words.load(heap.tcache() + 0x80) + 8)
    heap.guest.call(heap.library.end_thread(0))


@breaks("break adjusted to free malloc space")
def _(heap):
    heap.malloc(24)
    heap.library.memory.curbrk -= 4096
    heap.malloc(132_000 - 8192)
    heap.malloc(100_000)


@breaks(
    "Fatal glibc error: malloc assertion failure in sysmalloc:"
    " (old_top == initial_top (av) && old_size == 0) || ((unsigned long) (old_size) >= MINSIZE &&"
    " prev_inuse (old_top) && ((unsigned long) old_end & (pagesize - 1)) == 0)"
)
def _(heap):
    heap.malloc(24)
    heap.words.store(heap.top() + SIZE, 0x101)
    heap.malloc(500)


@pytest.mark.parametrize("message", BREAKS)
def test_a_broken_heap_ends_with_its_message(message):
    program, tunables = BREAKS[message]

    with pytest.raises(MallocAbortError) as raised:
        program(Heap(**tunables))

    assert message == raised.value.message


def test_every_message_of_a_compiled_path_has_a_heap_that_is_broken_that_way():
    expected = {each for each in MESSAGES if not each.startswith(VIEWS)}

    assert expected <= BREAKS.keys()
