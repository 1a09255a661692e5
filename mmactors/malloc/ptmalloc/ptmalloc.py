"""ptmalloc, as a library that a process is linked with (the public functions of malloc/malloc.c).

A call asks the thread's cache, then an arena: the main one without a lock while the process has one
thread, else the thread's own with its mutex held. What an arena does is in compiled paths; where
they cannot go on, a generator asks the kernel. The first call makes the thread's cache.

A process that has several threads takes locks to the end of its life, as glibc's does.
"""

from collections.abc import Callable, Mapping
from copy import copy
from typing import Final, Self

import numpy as np
from attrs import evolve

from mmactors.arch.heap_trace import CALLOC, FREE, MEMALIGN, REALLOC
from mmactors.arch.trace import as_signed
from mmactors.label import WantsStep, never
from mmactors.malloc.heap_map import Segment
from mmactors.malloc.heap_rows import HeapRows
from mmactors.malloc.library import (
    HeapBytes,
    HeapNumbers,
    MallocAbortError,
    MallocCircleError,
    MallocLibrary,
)
from mmactors.malloc.ptmalloc.arena.arena import leave_arena
from mmactors.malloc.ptmalloc.arena.arena_calls import ArenaCalls
from mmactors.malloc.ptmalloc.arena.arenas import Arenas
from mmactors.malloc.ptmalloc.arena.fork import (
    fork_lock_parent,
    fork_unlock_child,
    fork_unlock_parent,
)
from mmactors.malloc.ptmalloc.arena.heap_info import arena_for_chunk
from mmactors.malloc.ptmalloc.chunk import (
    ALIGN_MASK,
    CHUNK_HDR_SZ,
    IS_MMAPPED,
    MINSIZE,
    PTRDIFF_MAX,
    SIZE,
    SIZE_BITS,
    SIZE_SZ,
    request2size,
    reveal,
)
from mmactors.malloc.ptmalloc.int_free import free_hit
from mmactors.malloc.ptmalloc.malloc_par import SINGLE_THREAD, TCACHE_MAX_BINS, malloc_par
from mmactors.malloc.ptmalloc.malloc_state import ATTACHED_THREADS, NEXT, malloc_init_state
from mmactors.malloc.ptmalloc.messages import check
from mmactors.malloc.ptmalloc.options import mallopt
from mmactors.malloc.ptmalloc.options.mallopt import HugePages, set_tunables
from mmactors.malloc.ptmalloc.replay_rows import ARENA, CHUNK, replay_rows, usable_size_of
from mmactors.malloc.ptmalloc.report import mallinfo, malloc_info
from mmactors.malloc.ptmalloc.report.heap_map import heap_map
from mmactors.malloc.ptmalloc.system import malloc_trim
from mmactors.malloc.ptmalloc.system.mmap_chunk import free_mapped, mremap_chunk, munmap_chunk
from mmactors.malloc.ptmalloc.system.sysmalloc import SystemMemory
from mmactors.malloc.ptmalloc.tcache import ENTRIES, TCACHE_SIZE, malloc_hit, tcache_malloc
from mmactors.malloc.replay_rows import STOPPED
from mmactors.malloc.request import MallocSteps
from mmactors.malloc.user_words import UserWords, clear_words, longest_walk, note_access
from mmactors.rules import Rules
from mmactors.units import ULONG_MAX

_NO_TUNABLES: Final[Mapping[str, int]] = {}
_HEAD_IN_TCACHE: Final = "tcache_thread_shutdown(): unaligned tcache chunk detected"


class Ptmalloc(MallocLibrary):
    """The allocator of a process, which has a heap, arenas and thread caches."""

    bytes_before_block = 8

    def __init__(
        self,
        *,
        main_arena: int,
        locks: int,
        nr_cpus: int,
        tcache_key: int,
        rules: Rules,
        tunables: Mapping[str, int] = _NO_TUNABLES,
        huge_pages: HugePages | None = None,
        may_shrink_heap: bool = False,
        number: int = 0,
        wants_step: WantsStep = never,
    ) -> None:
        self.words = UserWords()
        self.par = malloc_par(main_arena=main_arena, tcache_key=tcache_key)
        self.arenas = Arenas(
            words=self.words,
            par=self.par,
            thread_arena=np.zeros(0, dtype=np.int64),
            locks_at=locks,
            nr_cpus=nr_cpus,
            may_shrink_heap=may_shrink_heap,
            rules=rules,
            number=number,
            wants_step=wants_step,
        )
        self.memory = SystemMemory(self.arenas)
        self.calls = ArenaCalls(self.arenas, self.memory)
        self.tcache = np.zeros(0, dtype=np.int64)
        """By thread the address of its cache; 0: it has none yet, or none any more."""
        self._shutting_down: set[int] = set()
        """The threads that end, which get no cache (tcache_shutting_down)."""
        self._is_initialized = False
        # What libc's file says of main_arena; mapping it is no access.
        self.words.put(main_arena + NEXT, main_arena)
        self.words.put(main_arena + ATTACHED_THREADS, 1)
        set_tunables(self.par, tunables, huge_pages or HugePages())

    def new_thread(self) -> int:
        """Return the number of a thread that begins; from the second on the process has several."""
        number = len(self.tcache)
        self.tcache = np.append(self.tcache, 0)
        self.arenas.thread_arena = np.append(self.arenas.thread_arena, 0)
        self.par[SINGLE_THREAD] = number == 0
        return number

    def initialize(self, thread: int) -> None:
        """Make the main arena ready, at the first call that needs it (ptmalloc_init)."""
        if not self._is_initialized:
            self._is_initialized = True
            self.arenas.thread_arena[thread] = self.arenas.main_arena
            malloc_init_state(*self.memory.arrays(), self.arenas.main_arena)

    def _tcache_of(self, thread: int) -> MallocSteps[int]:
        """Return a thread's cache, made if it has none; 0: it cannot be had (tcache_init)."""
        tcache = int(self.tcache[thread])
        if tcache or thread in self._shutting_down:
            return tcache
        block = yield from self.calls.tcache(thread)
        if block:
            self.tcache[thread] = block
            words, log, _ = self.memory.arrays()
            clear_words(words, log, block, TCACHE_SIZE)
        return block

    def _tcache_size(self, size: int) -> int:
        """Return the size of chunks that the thread's cache is asked for; 0: over PTRDIFF_MAX."""
        if self.arenas.rules.malloc_checks_size_before_tcache:
            return request2size(as_signed(size)) & ULONG_MAX
        return max((size + SIZE_SZ + ALIGN_MASK & ULONG_MAX) & ~ALIGN_MASK, MINSIZE)

    def malloc(self, thread: int, size: int) -> MallocSteps[int]:
        """malloc(size): __libc_malloc."""
        self.initialize(thread)
        chunk_size = self._tcache_size(size)
        if not chunk_size:
            return 0
        tcache = yield from self._tcache_of(thread)
        block = check(tcache_malloc(*self.memory.arrays(), tcache, as_signed(chunk_size)))
        if block:
            return block
        return (yield from self.calls.malloc(thread, tcache, as_signed(size)))

    def malloc_hit(self, thread: int, size: int) -> int:
        """Return a block of the thread's cache, as malloc would; 0: malloc has more to do."""
        tcache = int(self.tcache[thread])
        chunk_size = self._tcache_size(size) if tcache else 0
        return malloc_hit(*self.memory.arrays(), tcache, as_signed(chunk_size)) if chunk_size else 0

    def free_hit(self, thread: int, address: int) -> bool:
        """Let the thread's cache have a block, as free would; False: free has more to do."""
        tcache = int(self.tcache[thread])
        if not tcache or not address:
            return False
        return bool(
            free_hit(*self.memory.arrays(), tcache, as_signed(address - CHUNK_HDR_SZ & ULONG_MAX))
        )

    def calloc(self, thread: int, members: int, size: int) -> MallocSteps[int]:
        """calloc(members, size): __libc_calloc."""
        nr_bytes = members * size
        if nr_bytes > ULONG_MAX:
            return 0
        self.initialize(thread)
        tcache = yield from self._tcache_of(thread)
        return (yield from self.calls.calloc(thread, tcache, as_signed(nr_bytes)))

    def free(self, thread: int, address: int) -> MallocSteps[None]:
        """free(address): __libc_free."""
        if not address:
            return
        chunk = as_signed(address - CHUNK_HDR_SZ & ULONG_MAX)
        head = self.words.load(chunk + SIZE)
        if head & IS_MMAPPED:
            yield from free_mapped(self.arenas, chunk, head)
            return
        tcache = yield from self._tcache_of(thread)
        yield from self.calls.free(tcache, arena_for_chunk(self.arenas, chunk, head), chunk)

    def realloc(self, thread: int, address: int, size: int) -> MallocSteps[int]:
        """realloc(address, size): __libc_realloc."""
        self.initialize(thread)
        if not size and address:
            yield from self.free(thread, address)
            return 0
        if not address:
            return (yield from self.malloc(thread, size))
        chunk = as_signed(address - CHUNK_HDR_SZ & ULONG_MAX)
        head = self.words.load(chunk + SIZE)
        old_size = head & ~SIZE_BITS & ULONG_MAX
        arena = 0
        if not head & IS_MMAPPED:
            yield from self._tcache_of(thread)
            arena = arena_for_chunk(self.arenas, chunk, head)
        if chunk & ULONG_MAX > -old_size & ULONG_MAX or chunk & ALIGN_MASK:
            raise MallocAbortError("realloc(): invalid pointer")
        chunk_size = request2size(as_signed(size)) & ULONG_MAX
        if not chunk_size:
            return 0
        if head & IS_MMAPPED:
            return (yield from self._realloc_mapped(thread, chunk, old_size, chunk_size, size))
        return (yield from self.realloc_chunk(thread, arena, chunk, size))

    def realloc_chunk(
        self, thread: int, arena: int, chunk: int, size: int, began: int | None = None
    ) -> MallocSteps[int]:
        """Change the size of an arena's chunk; `began`: what `int_realloc` returned, if it ran."""
        tcache = int(self.tcache[thread])
        chunk_size = request2size(size)
        block = yield from self.calls.realloc(tcache, arena, chunk, chunk_size, began)
        if not block and not self.par[SINGLE_THREAD]:
            block = yield from self.malloc(thread, size)
            if block:
                old_size = self.words.load(chunk + SIZE) & ~SIZE_BITS
                self._copy(chunk + CHUNK_HDR_SZ, block, old_size - SIZE_SZ)
                yield from self.calls.free(int(self.tcache[thread]), arena, chunk)
        return block

    def _realloc_mapped(
        self, thread: int, chunk: int, old_size: int, chunk_size: int, size: int
    ) -> MallocSteps[int]:
        """Change the size of a chunk that is a mapping."""
        moved = yield from mremap_chunk(self.arenas, chunk, chunk_size)
        if moved:
            return moved + CHUNK_HDR_SZ
        if old_size - SIZE_SZ >= chunk_size:
            return chunk + CHUNK_HDR_SZ
        block = yield from self.malloc(thread, size)
        if block:
            self._copy(chunk + CHUNK_HDR_SZ, block, old_size - CHUNK_HDR_SZ)
            yield from munmap_chunk(self.arenas, chunk)
        return block

    def _copy(self, source: int, target: int, nr_bytes: int) -> None:
        """Note that the contents of a block are copied."""
        note_access(self.words.log, source, nr_bytes, 0)
        note_access(self.words.log, target, nr_bytes, 1)

    def memalign(self, thread: int, alignment: int, size: int) -> MallocSteps[int]:
        """memalign(alignment, size): _mid_memalign; 0 with EINVAL if `alignment` is over 2**63."""
        self.initialize(thread)
        if alignment <= ALIGN_MASK + 1:
            return (yield from self.malloc(thread, size))
        if alignment > PTRDIFF_MAX + 1:
            return 0
        # No power of two: the next one counts.
        alignment = max(1 << (alignment - 1).bit_length(), MINSIZE)
        tcache = int(self.tcache[thread])
        return (yield from self.calls.memalign(thread, tcache, alignment, as_signed(size)))

    def end_thread(self, thread: int) -> MallocSteps[None]:
        """Let a thread's cache and arena go, as it ends (__malloc_arena_thread_freeres)."""
        tcache = int(self.tcache[thread])
        self._shutting_down.add(thread)
        self.tcache[thread] = 0
        if tcache:
            for index in range(TCACHE_MAX_BINS):
                head = tcache + ENTRIES + 8 * index
                nr_steps = 0
                while block := self.words.load(head):
                    nr_steps += 1
                    if nr_steps > longest_walk(self.words.words):
                        raise MallocCircleError
                    if block & ALIGN_MASK:
                        raise MallocAbortError(_HEAD_IN_TCACHE)
                    words, log, _ = self.memory.arrays()
                    self.words.store(head, reveal(words, log, block))
                    yield from self.free(thread, block)
            yield from self.free(thread, tcache)
        yield from leave_arena(self.arenas, thread)

    def malloc_trim(self, thread: int, pad: int) -> MallocSteps[int]:
        """malloc_trim(pad): 1 if memory was given back, else 0."""
        self.initialize(thread)
        return (yield from malloc_trim.malloc_trim(self.arenas, pad, self.memory.systrim))

    def mallopt(self, thread: int, parameter: int, value: int) -> MallocSteps[int]:
        """mallopt(parameter, value): 1 if it was set, else 0."""
        self.initialize(thread)
        return (yield from mallopt.mallopt(self.arenas, parameter, value))

    def has_memory_at(self, address: int) -> bool:
        """Return whether the chunk of a block that was freed still has a size."""
        return self.words.peek(address - self.bytes_before_block) != 0

    def peek_usable_size(self, address: int) -> int:
        """Return the usable size of a block, without an access."""
        return usable_size_of(self.words.words, address)

    def heap_bytes(self) -> HeapBytes:
        """Return what is where, without an access."""
        return mallinfo.heap_bytes(self.arenas, self.tcache.tolist())

    def reports(self) -> dict[str, Callable[[], MallocSteps[object]]]:
        """Return the library's calls that tell of its heap, by the name of what they tell."""
        return {
            "mallinfo2": lambda: mallinfo.mallinfo2(self.arenas),
            "malloc_info.xml": lambda: malloc_info.malloc_info(self.arenas),
            "malloc_stats": lambda: mallinfo.malloc_stats(self.arenas),
        }

    def heap_map(self) -> list[Segment]:
        """Return all memory that it has got from the system and what it holds, without access."""
        return heap_map(self)

    def run_rows(self, rows: HeapRows, end: int) -> None:
        """Do rows of a heap trace in one compiled loop, as far as possible without a request."""
        words, log, par = self.memory.arrays()
        rows.row = replay_rows(
            words,
            log,
            par,
            self.tcache,
            self.arenas.thread_arena,
            *rows.arrays(),
            rows.row,
            end,
            rows.most_accesses,
            rows.touches,
        )

    def resume_row(
        self, rows: HeapRows, thread: int, op: int, old: int, size: int, arg: int
    ) -> MallocSteps[int]:
        """Go on with a row where its compiled path has stopped."""
        calls, tcache, began = self.calls, int(self.tcache[thread]), int(rows.stop[STOPPED])
        arena, chunk = int(rows.stop[ARENA]), int(rows.stop[CHUNK])
        if op == FREE or (op == REALLOC and old and not size):
            yield from calls.free(tcache, arena, chunk, began)
            return 0
        if op == REALLOC and old:
            return (yield from self.realloc_chunk(thread, arena, chunk, size, began))
        if op == CALLOC:
            members = arg or 1
            return (yield from calls.calloc(thread, tcache, size // members * members, began))
        if op == MEMALIGN and arg > ALIGN_MASK + 1:
            return (yield from calls.memalign(thread, tcache, max(arg, MINSIZE), size, began))
        return (yield from calls.malloc(thread, tcache, size, began))

    def mallinfo2(self, thread: int) -> MallocSteps[HeapNumbers]:
        """mallinfo2()."""
        self.initialize(thread)
        return (yield from mallinfo.mallinfo2(self.arenas))

    def malloc_info(self, thread: int) -> MallocSteps[str]:
        """The text that malloc_info(0, stream) prints."""
        self.initialize(thread)
        return (yield from malloc_info.malloc_info(self.arenas))

    def malloc_stats(self, thread: int) -> MallocSteps[str]:
        """The text that malloc_stats() prints on stderr."""
        self.initialize(thread)
        return (yield from mallinfo.malloc_stats(self.arenas))

    def before_fork(self) -> MallocSteps[None]:
        """Lock all arenas, if there are several threads (__libc_fork)."""
        if not self.par[SINGLE_THREAD]:
            yield from fork_lock_parent(self.arenas)

    def after_fork(self) -> MallocSteps[None]:
        """Unlock all arenas in the parent."""
        if not self.par[SINGLE_THREAD]:
            yield from fork_unlock_parent(self.arenas)

    def fork(self, number: int) -> Self:
        """Return the library of a child whose memory is a copy, and whose process is `number`."""
        child = copy(self)
        child.words = self.words.copy()
        child.par = self.par.copy()
        child.tcache = self.tcache.copy()
        child.arenas = evolve(
            self.arenas,
            words=child.words,
            par=child.par,
            thread_arena=self.arenas.thread_arena.copy(),
            number=number,
        )
        child.memory = SystemMemory(child.arenas, self.memory.curbrk, list(self.memory.begins))
        child.calls = ArenaCalls(child.arenas, child.memory)
        child._shutting_down = set(self._shutting_down)  # noqa: SLF001 - one of us
        return child

    def begin_child(self, thread: int) -> MallocSteps[None]:
        """Unlock all arenas in the child; those whose threads are not there are free."""
        if not self.par[SINGLE_THREAD]:
            yield from fork_unlock_child(self.arenas, thread)
