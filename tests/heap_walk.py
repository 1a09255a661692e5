"""A heap of ptmalloc, walked from its begin to its top: what must hold between any two calls."""

from itertools import islice

from mmactors.malloc.ptmalloc.arena.arena import all_arenas
from mmactors.malloc.ptmalloc.arena.heap_info import HEAP_INFO, HEAP_SIZE, PREV, heap_for_ptr
from mmactors.malloc.ptmalloc.bins import bin_index
from mmactors.malloc.ptmalloc.chunk import IS_MMAPPED, NON_MAIN_ARENA, PREV_INUSE
from mmactors.malloc.ptmalloc.malloc_par import SBRK_BASE, TCACHE_BINS
from mmactors.malloc.ptmalloc.malloc_state import (
    BINMAP,
    NBINS,
    NFASTBINS,
    STATE_SIZE,
    SYSTEM_MEM,
    TOP,
    UNSORTED,
    bin_at,
)


class Walk:
    """One look at a library's heap, whose live blocks are known."""

    def __init__(self, library, live):
        self.library = library
        self.words = library.words
        self.live = live
        """By block how many bytes its owner may write."""
        self.used = {block - 16: "live" for block in live}
        """Chunks that count as used, and who has them."""

    def load(self, address):
        return self.words.load(address)

    def check(self):
        for thread, tcache in enumerate(self.library.tcache.tolist()):
            if tcache:
                self.own(tcache - 16, f"cache of {thread}")
                self.check_tcache(tcache)
        seen = set()
        arenas = list(islice(all_arenas(self.library.arenas), 100))
        assert len(arenas) == len(set(arenas)), "the list of arenas is broken"
        for arena in arenas:
            self.check_fastbins(arena)
        for arena in arenas:
            seen |= self.check_arena(arena)
        mapped = {each for each in self.used if self.load(each + 8) & IS_MMAPPED}
        assert self.used.keys() - mapped <= seen, "a chunk is in no heap"

    def own(self, chunk, owner):
        assert chunk not in self.used, f"{chunk:#x} is {self.used[chunk]} and {owner}"
        self.used[chunk] = owner

    def check_tcache(self, tcache):
        for index in range(64):
            count = self.load(tcache + 2 * index & ~7) >> 16 * (index % 4) & 0xFFFF
            block, found = self.load(tcache + 0x80 + 8 * index), 0
            while block:
                assert self.load(block - 8) & ~7 == 32 + 16 * index
                self.own(block - 16, "cached")
                block, found = self.load(block) ^ block >> 12, found + 1
            assert count == found
            assert not found or index < self.library.par[TCACHE_BINS]

    def check_fastbins(self, arena):
        for index in range(NFASTBINS):
            chunk = self.load(arena + 0x10 + 8 * index)
            while chunk:
                assert self.load(chunk + 8) & ~7 == 32 + 16 * index
                self.own(chunk, "in a fastbin")
                chunk = self.load(chunk + 16) ^ chunk + 16 >> 12

    def free_chunks(self, arena):
        """Return the chunks in an arena's bins, whose order and links are right."""
        found = []
        for index in range(1, NBINS):
            head = bin_at(arena, index)
            chunk, before, sizes, firsts = self.load(head + 16), head, [], []
            while chunk != head:
                assert self.load(chunk + 24) == before
                size = self.load(chunk + 8) & ~7
                assert index in {UNSORTED, bin_index(size)}
                if index > 63 and (not sizes or sizes[-1] != size):
                    firsts.append(chunk)
                sizes.append(size)
                found.append(chunk)
                before, chunk = chunk, self.load(chunk + 16)
            assert self.load(head + 24) == before
            if index > 63:
                assert sizes == sorted(sizes, reverse=True)
                ring = [self.load(each + 32) for each in firsts]
                assert ring == firsts[1:] + firsts[:1]
                assert [self.load(each + 40) for each in firsts] == firsts[-1:] + firsts[:-1]
            if sizes and index > UNSORTED:
                word = self.load(arena + BINMAP + 4 * (index >> 5) & ~7)
                assert word >> (index & 63) & 1, f"bin {index} is not in the binmap"
        assert len(found) == len(set(found))
        return set(found)

    def check_arena(self, arena):
        """Check one arena; return all its chunks."""
        library = self.library
        top = self.load(arena + TOP)
        if not top:
            return set()
        free = self.free_chunks(arena)
        if top == bin_at(arena, UNSORTED):
            return set()
        is_main = arena == library.arenas.main_arena
        chunks, nr_bytes = set(), 0
        for start, end in self.segments(arena, top, is_main=is_main):
            nr_bytes += end - (start & -4096)
            chunk, is_before_free, before_size = start, False, 0
            while chunk < end:
                head = self.load(chunk + 8)
                size = head & ~7
                assert bool(head & PREV_INUSE) != is_before_free
                if is_before_free:
                    assert self.load(chunk) == before_size
                if size <= 16:
                    break  # A fence.
                assert size % 16 == 0
                assert chunk + size <= end
                if chunk == top:
                    assert chunk + size == end
                    assert chunk not in self.used
                    break
                is_used = bool(self.load(chunk + size + 8) & PREV_INUSE)
                assert is_used == (chunk in self.used), f"{chunk:#x} {head:#x}"
                assert is_used != (chunk in free)
                assert is_used or not is_before_free, "two free neighbours"
                if is_used:
                    self.check_used(chunk, head, size, is_main=is_main)
                chunks.add(chunk)
                is_before_free, before_size, chunk = not is_used, size, chunk + size
        assert free <= chunks
        assert self.load(arena + SYSTEM_MEM) == nr_bytes
        return chunks

    def check_used(self, chunk, head, size, *, is_main):
        assert bool(head & NON_MAIN_ARENA) != is_main
        if self.used[chunk] == "live":
            assert self.live[chunk + 16] <= size - 8

    def segments(self, arena, top, *, is_main):
        """Yield where an arena's memory begins, first chunk, and ends."""
        library = self.library
        if is_main:
            yield int(library.par[SBRK_BASE]), library.memory.curbrk
            return
        heap = heap_for_ptr(library.arenas, top)
        while heap:
            first = heap + HEAP_INFO
            if first == arena:
                first = arena + STATE_SIZE + 15 & ~15
            yield first, heap + self.load(heap + HEAP_SIZE)
            heap = self.load(heap + PREV)
