"""What is asked of an arena, once a thread's cache cannot do it (the middle of malloc/malloc.c).

Each call locks the arena if the process has several threads, runs a compiled path, and goes on
where that has stopped: it needs memory, or gives some back. A block that one arena cannot give is
asked of another. Who has run the compiled path already passes on what it returned as `began`.
"""

from collections.abc import Callable

from attrs import define

from mmactors.arch.trace import as_signed
from mmactors.label import Label, Mode
from mmactors.malloc.ptmalloc.arena.arena import arena_get, arena_get_retry
from mmactors.malloc.ptmalloc.arena.arenas import Arenas
from mmactors.malloc.ptmalloc.chunk import ALIGN_MASK, MINSIZE, PTRDIFF_MAX, request2size
from mmactors.malloc.ptmalloc.int_calloc import clear_block, int_calloc
from mmactors.malloc.ptmalloc.int_free import (
    NEXT_FAST,
    free_to_tcache,
    free_with_lock,
    int_free,
    next_fast_is_wrong,
    old_head_is_right,
    push_fastbin,
)
from mmactors.malloc.ptmalloc.int_malloc import int_malloc, perturb
from mmactors.malloc.ptmalloc.int_memalign import (
    int_memalign,
    padded_request,
    without_lead,
    without_tail,
)
from mmactors.malloc.ptmalloc.int_realloc import copied, int_realloc
from mmactors.malloc.ptmalloc.malloc_par import OLD_TOP, OLD_TOP_SIZE, RESULT, SINGLE_THREAD
from mmactors.malloc.ptmalloc.messages import (
    NEEDS_FASTBIN,
    NEEDS_LOCK,
    NEEDS_SYSMALLOC,
    NEEDS_TRIM,
    NEEDS_TRIM_THEN_TAIL,
    check,
)
from mmactors.malloc.ptmalloc.system.sysmalloc import SystemMemory
from mmactors.malloc.ptmalloc.tcache import TCACHE_SIZE
from mmactors.malloc.request import MallocSteps
from mmactors.units import ULONG_MAX

Take = Callable[[int, int | None], MallocSteps[int]]
"""Takes a block of an arena that is locked, or of none, if nobody began with it; 0: no memory."""


@define(eq=False)
class ArenaCalls:
    """The arenas of a process, as its library's calls use them."""

    arenas: Arenas
    memory: SystemMemory

    @property
    def is_single(self) -> bool:
        """Whether the process never had a second thread: nothing is locked (SINGLE_THREAD_P)."""
        return bool(self.arenas.par[SINGLE_THREAD])

    def malloc(
        self, thread: int, tcache: int, size: int, began: int | None = None
    ) -> MallocSteps[int]:
        """Return a block that is not cached; 0: there is no memory."""
        return (
            yield from self._from_any_arena(
                thread, size, lambda arena, began: self.take(tcache, arena, size, began), began
            )
        )

    def calloc(
        self, thread: int, tcache: int, size: int, began: int | None = None
    ) -> MallocSteps[int]:
        """Return a cleared block; 0: there is no memory."""
        return (
            yield from self._from_any_arena(
                thread,
                size,
                lambda arena, began: self._take_cleared(tcache, arena, size, began),
                began,
            )
        )

    def memalign(
        self, thread: int, tcache: int, alignment: int, size: int, began: int | None = None
    ) -> MallocSteps[int]:
        """Return a block at a multiple of a power of two; 0: there is no memory."""
        return (
            yield from self._from_any_arena(
                thread,
                size,
                lambda arena, began: self._take_aligned(tcache, arena, alignment, size, began),
                began,
                padding=alignment + MINSIZE,
            )
        )

    def _from_any_arena(
        self, thread: int, size: int, take: Take, began: int | None, *, padding: int = 0
    ) -> MallocSteps[int]:
        """Take a block of the thread's arena, or else of another one.

        A new arena has room for `size` bytes, and the first one for `padding` bytes more.
        """
        # free is the only call that does not make the main arena ready.
        if self.is_single and self.arenas.thread_arena[thread]:
            return (yield from take(self.arenas.main_arena, began))
        return (yield from self._from_own_arena(thread, size, take, began, padding))

    def _from_own_arena(
        self, thread: int, size: int, take: Take, began: int | None, padding: int
    ) -> MallocSteps[int]:
        """Take a block of the arena that the thread is attached to, locked, or of another one."""
        arena = yield from arena_get(self.arenas, thread, size + padding & ULONG_MAX)
        block = yield from take(arena, began)
        if not block and arena:
            arena = yield from arena_get_retry(self.arenas, thread, arena, size & ULONG_MAX)
            block = yield from take(arena, None)
        if arena:
            yield self.arenas.unlock(arena)
        return block

    def tcache(self, thread: int) -> MallocSteps[int]:
        """Return a block for a thread's cache; 0: there is no memory (tcache_init).

        A process with one thread takes the arena's mutex, too, and asks another one.
        """
        return (
            yield from self._from_own_arena(
                thread,
                TCACHE_SIZE,
                lambda arena, began: self.take(0, arena, TCACHE_SIZE, began),
                None,
                0,
            )
        )

    def take(
        self, tcache: int, arena: int, size: int, began: int | None = None
    ) -> MallocSteps[int]:
        """Return a block of an arena that is locked, or of none (_int_malloc); 0: no memory."""
        if not arena:
            return (yield from self._from_system(tcache, 0, size))
        if began is None:
            yield from self._step("take a chunk", arena)
            began = int_malloc(*self.memory.arrays(), tcache, arena, size)
        if check(began) != NEEDS_SYSMALLOC:
            return began
        return (yield from self._from_system(tcache, arena, size))

    def _from_system(self, tcache: int, arena: int, size: int) -> MallocSteps[int]:
        """Return a block for a request that an arena, or none, cannot serve; 0: no memory."""
        nb = request2size(size)
        if not nb:
            return 0
        block = yield from self.memory.sysmalloc(tcache, arena, nb & ULONG_MAX)
        if block:
            perturb(self.arenas.words.log, self.arenas.par, block, size)
        return block

    def _take_cleared(
        self, tcache: int, arena: int, size: int, began: int | None
    ) -> MallocSteps[int]:
        """Return a cleared block of an arena that is locked, or a mapped one; 0: no memory."""
        if not arena:
            return (yield from self._from_system(tcache, 0, size))
        if began is None:
            yield from self._step("take a chunk", arena)
            began = int_calloc(*self.memory.arrays(), tcache, arena, size)
        if check(began) != NEEDS_SYSMALLOC:
            return began
        par = self.arenas.par
        # Others may call calloc meanwhile.
        old_top, old_top_size = par[OLD_TOP], par[OLD_TOP_SIZE]
        block = yield from self._from_system(tcache, arena, size)
        if block:
            par[OLD_TOP], par[OLD_TOP_SIZE] = old_top, old_top_size
            clear_block(*self.memory.arrays(), block, size)
        return block

    def _take_aligned(
        self, tcache: int, arena: int, alignment: int, request: int, began: int | None
    ) -> MallocSteps[int]:
        """Return an aligned block of an arena that is locked, or a mapped one; 0: no memory."""
        if alignment > PTRDIFF_MAX or not padded_request(alignment, request):
            return 0
        if not arena:
            began = NEEDS_SYSMALLOC
        elif began is None:
            yield from self._step("take a chunk", arena)
            began = int_memalign(*self.memory.arrays(), tcache, arena, alignment, request)
        size = request2size(request)
        if check(began) == NEEDS_SYSMALLOC:
            padded = padded_request(alignment, request)
            block = yield from self._from_system(tcache, arena, padded)
            if not block:
                return 0
            arrays = self.memory.arrays()
            began = check(without_lead(*arrays, tcache, arena, alignment, size, block))
        if began == NEEDS_TRIM_THEN_TAIL:
            block = int(self.arenas.par[RESULT])
            yield from self.memory.trim(arena)
            began = check(without_tail(*self.memory.arrays(), tcache, arena, size, block))
        return (yield from self._trimmed(arena, began))

    def _trimmed(self, arena: int, result: int) -> MallocSteps[int]:
        """Return a block, after the trim that a free for it asks for."""
        if result != NEEDS_TRIM:
            return result
        block = int(self.arenas.par[RESULT])
        yield from self.memory.trim(arena)
        return block

    def realloc(
        self, tcache: int, arena: int, chunk: int, size: int, began: int | None = None
    ) -> MallocSteps[int]:
        """Return the block that a chunk becomes with `size` bytes; 0: there is no memory."""
        if not self.is_single:
            yield self.arenas.lock(arena)
        if began is None:
            yield from self._step("change a chunk's size", arena)
            began = int_realloc(*self.memory.arrays(), tcache, arena, chunk, size)
        if check(began) == NEEDS_SYSMALLOC:
            request = as_signed(size - ALIGN_MASK & ULONG_MAX)
            began = yield from self._from_system(tcache, arena, request)
            if began:
                began = check(copied(*self.memory.arrays(), tcache, arena, chunk, size, began))
        block = yield from self._trimmed(arena, began)
        if not self.is_single:
            yield self.arenas.unlock(arena)
        return block

    def free(
        self, tcache: int, arena: int, chunk: int, began: int | None = None
    ) -> MallocSteps[None]:
        """Free a chunk (_int_free without have_lock)."""
        if began is None and self.is_single:
            began = int_free(*self.memory.arrays(), tcache, arena, chunk, 0)
        elif began is None:
            began = free_to_tcache(*self.memory.arrays(), tcache, chunk)
        if check(began) == NEEDS_FASTBIN:
            yield from self._free_to_fastbin(arena, chunk)
        elif began:
            if not self.is_single:
                yield self.arenas.lock(arena)
            if began == NEEDS_LOCK:
                yield from self._step("free a chunk", arena)
                began = check(free_with_lock(*self.memory.arrays(), arena, chunk))
            if began == NEEDS_TRIM:
                yield from self.memory.trim(arena)
            if not self.is_single:
                yield self.arenas.unlock(arena)

    def _free_to_fastbin(self, arena: int, chunk: int) -> MallocSteps[None]:
        """Put a chunk into its fastbin, without the arena's mutex (the middle of _int_free)."""
        rules = self.arenas.rules
        if self.arenas.wants_step():
            yield Label(
                "read the next chunk's size", (self.arenas.touches_arena(arena, Mode.READ),)
            )
        words, log, _ = self.memory.arrays()
        is_wrong = next_fast_is_wrong(words, log, arena, chunk)
        if is_wrong and rules.free_checks_next_size_again_when_locked:
            yield self.arenas.lock(arena)
            is_wrong = next_fast_is_wrong(words, log, arena, chunk)
            yield self.arenas.unlock(arena)
        check(NEXT_FAST if is_wrong else 0)
        if self.arenas.wants_step():
            yield Label("push a chunk", self.arenas.touches_all_of(arena, Mode.WRITE))
        old = check(push_fastbin(*self.memory.arrays(), arena, chunk))
        if old and not rules.free_checks_old_fastbin_head_when_locked:
            if self.arenas.wants_step():
                touches = self.arenas.touches_arena(arena, Mode.READ)
                yield Label("read the old first chunk's size", (touches,))
            words, log, _ = self.memory.arrays()
            check(old_head_is_right(words, log, chunk, old))

    def _step(self, name: str, arena: int) -> MallocSteps[None]:
        """Let others go first, if somebody asks for steps, before an arena is changed."""
        if self.arenas.wants_step():
            yield Label(name, self.arenas.touches_all_of(arena, Mode.WRITE))
