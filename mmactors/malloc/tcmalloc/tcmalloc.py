"""tcmalloc, as a library that a process is linked with (src/tcmalloc.cc of gperftools 2.10).

Calls are tasks (task.py), whose compiled steps a generator drives: it takes and gives back locks,
and asks the kernel. Of the process's start the first call does what happens before main(): the C++
library takes a block for exceptions when there is no memory, then the constructors of tcmalloc read
their settings and make a few calls of their own.

Left out: hooks, samples and reports of large blocks, which this build does not have.
"""

from collections.abc import Callable
from copy import copy
from typing import Final, Self

import numpy as np

from mmactors import label
from mmactors.arch.heap_trace import CALLOC, FREE, MALLOC, MEMALIGN, REALLOC
from mmactors.arch.trace import as_signed
from mmactors.label import Label, Mode, WantsStep, never
from mmactors.malloc.heap_map import Segment
from mmactors.malloc.heap_rows import HeapRows
from mmactors.malloc.library import HeapBytes, HeapNumbers, MallocLibrary
from mmactors.malloc.mman import (
    MADV_DONTNEED,
    MAP_ANONYMOUS,
    MAP_PRIVATE,
    PROT_READ,
    PROT_WRITE,
)
from mmactors.malloc.replay_rows import STOPPED
from mmactors.malloc.request import (
    Brk,
    InitMutex,
    LockKind,
    LockMutex,
    LockType,
    Madvise,
    MallocSteps,
    Mmap,
    Munmap,
    Say,
    UnlockMutex,
    ask,
)
from mmactors.malloc.tcmalloc import steps
from mmactors.malloc.tcmalloc.advance import advance
from mmactors.malloc.tcmalloc.cache.thread_cache import free_hit, malloc_hit
from mmactors.malloc.tcmalloc.calls import begin, peek_usable_size
from mmactors.malloc.tcmalloc.layout import (
    CENTRAL_BYTES,
    CENTRAL_CACHE,
    NUM_SIZE_CLASSES,
    OVERALL_CACHE_SIZE,
    PAGE_HEAP_LOCK,
    PER_THREAD_CACHE_SIZE,
    UNCLAIMED_CACHE_SPACE,
)
from mmactors.malloc.tcmalloc.messages import allocation_failed, error_of
from mmactors.malloc.tcmalloc.options.settings import Settings
from mmactors.malloc.tcmalloc.replay_rows import replay_rows
from mmactors.malloc.tcmalloc.report.dump_stats import dump_stats
from mmactors.malloc.tcmalloc.report.heap_bytes import heap_bytes
from mmactors.malloc.tcmalloc.report.heap_map import heap_map
from mmactors.malloc.tcmalloc.report.print_stats import print_stats
from mmactors.malloc.tcmalloc.report.stats import extract_stats
from mmactors.malloc.tcmalloc.task import (
    AFTER_FREE,
    ANSWER,
    ASKS_LOCKS,
    ASKS_NOTHING,
    ASKS_STEPS,
    BRK,
    CACHE,
    DONE,
    GO_ON,
    LOCK,
    LOOK,
    MADVISE,
    MMAP,
    MUNMAP,
    REQUEST,
    REQUEST_BYTES,
    RESULT,
    SAY_FAILED,
    STEP,
    THREAD,
    UNLOCK,
    Task,
    new_task,
)
from mmactors.malloc.tcmalloc.tcmalloc_par import (
    DEFAULT_OVERALL_CACHE_SIZE,
    IS_STARTED,
    MAX_THREAD_CACHE_SIZE,
    TSD_INITED,
    set_at_construction,
    tcmalloc_par,
)
from mmactors.malloc.unused_heap import UNUSED_INFO, UNUSED_NUMBERS
from mmactors.malloc.user_words import UserWords
from mmactors.rules import Rules
from mmactors.units import ULONG_MAX

EMERGENCY_POOL: Final = 72704
"""What libstdc++ asks for when it begins, for exceptions that find no memory."""
SPINS: Final = 1000
"""How often a taken SpinLock is looked at where there are several CPUs (adaptive_spin_count)."""
_PROT: Final = PROT_READ | PROT_WRITE
_MAP: Final = MAP_PRIVATE | MAP_ANONYMOUS


class Tcmalloc(MallocLibrary):
    """The allocator of a process, which has a page heap, central free lists and thread caches."""

    def __init__(
        self,
        *,
        data_at: int,
        nr_cpus: int,
        rules: Rules | None = None,
        settings: Settings | None = None,
        number: int = 0,
        wants_step: WantsStep = never,
    ) -> None:
        """Link a process with the library, whose writable data lies at `data_at` (layout.py)."""
        self.words = UserWords()
        self.settings: Final = settings or Settings()
        self.par = tcmalloc_par(data_at=data_at, settings=self.settings)
        self.caches = np.zeros(0, dtype=np.int64)
        """By thread the address of its cache; 0: it has none yet, or none any more."""
        self.data_at: Final = data_at
        self.number = number
        self.rules: Final = rules or Rules()
        self.wants_step = wants_step
        self.lock_kind: Final = LockKind(LockType.SPIN_LOCK, SPINS if nr_cpus > 1 else 0)
        self._row_task = new_task()
        # What the library's file says; mapping it is no access.
        self.words.put(data_at + UNCLAIMED_CACHE_SPACE, DEFAULT_OVERALL_CACHE_SIZE)
        self.words.put(data_at + OVERALL_CACHE_SIZE, DEFAULT_OVERALL_CACHE_SIZE)
        self.words.put(data_at + PER_THREAD_CACHE_SIZE, MAX_THREAD_CACHE_SIZE)

    # -- threads and processes -------------------------------------------------------------------

    def new_thread(self) -> int:
        """Return the number of a thread that begins."""
        number = len(self.caches)
        self.caches = np.append(self.caches, 0)
        return number

    def end_thread(self, thread: int) -> MallocSteps[None]:
        """Let a thread's cache go, as it ends (ThreadCache::DestroyThreadCache)."""
        cache = int(self.caches[thread])
        if cache:
            self.caches[thread] = 0
            task = new_task()
            task[THREAD], task[CACHE] = thread, cache
            task[AFTER_FREE] = steps.FINISHED
            task[STEP] = steps.CLEAN_UP
            yield from self._drive(task)

    def start(self, thread: int) -> MallocSteps[None]:
        """Do what happens with the heap before main(), unless it was done."""
        if self.par[IS_STARTED]:
            return
        self.par[IS_STARTED] = 1
        yield from self._call(thread, MALLOC, size=EMERGENCY_POOL)
        set_at_construction(self.par, self.settings)
        # TCMallocGuard::TCMallocGuard.
        block = yield from self._call(thread, MALLOC, size=1)
        yield from self._call(thread, FREE, block=block)
        self.par[TSD_INITED] = 1
        block = yield from self._call(thread, MALLOC, size=1)
        yield from self._call(thread, FREE, block=block)
        # A TCMallocImplementation, and where MallocExtension keeps it.
        yield from self._call(thread, MALLOC, size=16)
        yield from self._call(thread, MALLOC, size=8)

    def _locks(self) -> list[tuple[int, str]]:
        """Return the locks that a fork takes, in order (CentralCacheLockAll)."""
        if not self.rules.tcmalloc_holds_locks_at_fork:
            return []
        nr_classes = self.words.peek(self.data_at + NUM_SIZE_CLASSES) & 0xFFFF_FFFF
        central = self.data_at + CENTRAL_CACHE
        words = [central + CENTRAL_BYTES * each for each in range(min(nr_classes, 128))]
        return [(word, self._name_of(word)) for word in [self._heap_lock, *words]]

    def _locks_to_give_back(self) -> list[tuple[int, str]]:
        """Return them in their order then (CentralCacheUnlockAll)."""
        locks = self._locks()
        return [*locks[1:], *locks[:1]]

    @property
    def _heap_lock(self) -> int:
        return self.data_at + PAGE_HEAP_LOCK

    def _name_of(self, word: int) -> str:
        return "pageheap_lock" if word == self._heap_lock else "central_cache.lock"

    def _label_of(self, word: int) -> Label:
        """Say what is touched under a lock, from when it is held until it is given back."""
        if word == self._heap_lock:
            touched = label.page_heap(self.number)
        else:
            central = self.data_at + CENTRAL_CACHE
            touched = label.central_list(self.number, (word - central) // CENTRAL_BYTES)
        return Label(f"hold {self._name_of(word)}", ((touched, Mode.WRITE),))

    def before_fork(self) -> MallocSteps[None]:
        """Take all locks, that of the page heap first."""
        for word, name in self._locks():
            yield LockMutex(word, name, self.lock_kind)

    def after_fork(self) -> MallocSteps[None]:
        """Give them back in the parent, that of the page heap last (CentralCacheUnlockAll)."""
        for word, name in self._locks_to_give_back():
            yield UnlockMutex(word, name, self.lock_kind)

    def begin_child(self, thread: int) -> MallocSteps[None]:  # noqa: ARG002 - it is none of ours
        """Let them be free in the child."""
        for word, name in self._locks_to_give_back():
            yield InitMutex(word, name, self.lock_kind)

    def fork(self, number: int) -> Self:
        """Return the library of a child whose memory is a copy, and whose process is `number`."""
        child = copy(self)
        child.words = self.words.copy()
        child.par = self.par.copy()
        child.caches = self.caches.copy()
        child.number = number
        child._row_task = new_task()  # noqa: SLF001 - one of us
        return child

    # -- calls -----------------------------------------------------------------------------------

    def malloc(self, thread: int, size: int) -> MallocSteps[int]:
        """malloc(size): tc_malloc."""
        block = self.malloc_hit(thread, size)
        return block or (yield from self._started_call(thread, MALLOC, size=size))

    def malloc_hit(self, thread: int, size: int) -> int:
        """Return a block of the thread's cache, as malloc would; 0: malloc has more to do."""
        cache = int(self.caches[thread])
        if not cache:
            return 0
        self.words.make_room()
        return malloc_hit(self.words.words, self.words.log, self.par, cache, as_signed(size))

    def free_hit(self, thread: int, address: int) -> bool:
        """Let the thread's cache have a block, as free would; False: free has more to do."""
        cache = int(self.caches[thread])
        if not cache or not address:
            return False
        self.words.make_room()
        words, log = self.words.words, self.words.log
        return bool(free_hit(words, log, self.par, cache, as_signed(address)))

    def calloc(self, thread: int, members: int, size: int) -> MallocSteps[int]:
        """calloc(members, size): tc_calloc."""
        nr_bytes = members * size
        if nr_bytes > ULONG_MAX:
            return 0
        return (yield from self._started_call(thread, CALLOC, size=nr_bytes))

    def realloc(self, thread: int, address: int, size: int) -> MallocSteps[int]:
        """realloc(address, size): tc_realloc."""
        return (yield from self._started_call(thread, REALLOC, block=address, size=size))

    def memalign(self, thread: int, alignment: int, size: int) -> MallocSteps[int]:
        """memalign(alignment, size): tc_memalign, which also stands for aligned_alloc."""
        call = self._started_call(thread, MEMALIGN, size=size, argument=alignment)
        return (yield from call)

    def free(self, thread: int, address: int) -> MallocSteps[None]:
        """free(address): tc_free."""
        if not self.free_hit(thread, address):
            yield from self._started_call(thread, FREE, block=address)

    def malloc_trim(self, thread: int, pad: int) -> MallocSteps[int]:  # noqa: ARG002 - glibc's
        """malloc_trim(pad): glibc's own, whose heap is empty, so that it gives nothing back."""
        yield from ()
        return 0

    def mallopt(self, thread: int, parameter: int, value: int) -> MallocSteps[int]:  # noqa: ARG002
        """mallopt(parameter, value): tc_mallopt, which knows no parameter and returns 1."""
        yield from ()
        return 1

    def peek_usable_size(self, address: int) -> int:
        """Return the usable size of a block, without an access."""
        return peek_usable_size(self.words.words, self.par, as_signed(address))

    def run_rows(self, rows: HeapRows, end: int) -> None:
        """Do rows from `rows.row` to before `end`, as far as the system is not needed."""
        rows.row = replay_rows(
            self.words.words,
            self.words.log,
            self.par,
            self._row_task,
            self.caches,
            *rows.arrays(),
            rows.row,
            end,
            rows.most_accesses,
            rows.touches,
        )

    def resume_row(
        self,
        rows: HeapRows,
        thread: int,  # noqa: ARG002 - the task knows all of it
        op: int,  # noqa: ARG002
        old: int,  # noqa: ARG002
        size: int,  # noqa: ARG002
        arg: int,  # noqa: ARG002
    ) -> MallocSteps[int]:
        """Go on with the row at which `run_rows` has stopped."""
        code = int(rows.stop[STOPPED])
        return (yield from self._drive(self._row_task, code, is_alone=True))

    def _started_call(
        self, thread: int, op: int, *, block: int = 0, size: int = 0, argument: int = 0
    ) -> MallocSteps[int]:
        yield from self.start(thread)
        call = self._call(thread, op, block=block, size=size, argument=argument)
        return (yield from call)

    def _call(
        self, thread: int, op: int, *, block: int = 0, size: int = 0, argument: int = 0
    ) -> MallocSteps[int]:
        """Do a call from its beginning; a thread whose first one it is remembers its cache."""
        task = new_task()
        begin(
            task,
            thread,
            int(self.caches[thread]),
            op,
            as_signed(block),
            as_signed(size),
            as_signed(argument),
        )
        result = yield from self._drive(task)
        if self.par[TSD_INITED]:
            self.caches[thread] = task[CACHE]
        return result

    def _drive(self, task: Task, code: int = GO_ON, *, is_alone: bool = False) -> MallocSteps[int]:
        """Do a task to its end, from where a step has returned a code, and return its result."""
        asks = ASKS_STEPS if self.wants_step() else ASKS_LOCKS
        asks = ASKS_NOTHING if is_alone else asks
        while code != DONE:
            if code == GO_ON:
                self.words.make_room()
                code = advance(self.words.words, self.words.log, self.par, task, asks)
                continue
            task[ANSWER] = yield from self._answer(code, task)
            code = GO_ON
        return int(task[RESULT]) & ULONG_MAX

    def _answer(self, code: int, task: Task) -> MallocSteps[int]:
        """Have done what a step needs, and return the answer."""
        address, nr_bytes = int(task[REQUEST]), int(task[REQUEST_BYTES])
        if code == LOCK:
            yield self.lock(address)
            if self.wants_step():
                yield self._label_of(address)
            return 0
        if code == LOOK:
            touches = ((label.central_lists(self.number), Mode.WRITE),)
            yield Label("choose a class to take a slot from", touches)
            return 0
        if code == UNLOCK:
            yield self.unlock(address)
            return 0
        if code == BRK:
            return (yield from ask(Brk(address)))
        if code == MMAP:
            return (yield from ask(Mmap(length=nr_bytes, prot=_PROT, flags=_MAP)))
        if code == MUNMAP:
            return (yield from ask(Munmap(address=address, length=nr_bytes)))
        if code == MADVISE:
            request = Madvise(address=address, length=nr_bytes, advice=MADV_DONTNEED)
            return (yield from ask(request))
        if code == SAY_FAILED:
            yield Say(allocation_failed(nr_bytes))
            return 0
        raise error_of(code, address, nr_bytes)

    # -- views -----------------------------------------------------------------------------------

    def lock(self, word: int) -> LockMutex:
        """Return what asks for the lock whose word lies at an address."""
        return LockMutex(word, self._name_of(word), self.lock_kind)

    def unlock(self, word: int) -> UnlockMutex:
        """Return what gives it back."""
        return UnlockMutex(word, self._name_of(word), self.lock_kind)

    def heap_bytes(self) -> HeapBytes:
        """Return what is where, without an access."""
        return heap_bytes(self.words, self.par)

    def mallinfo(self) -> MallocSteps[HeapNumbers]:
        """mallinfo(): tc_mallinfo."""
        return (yield from extract_stats(self, is_detailed=False)).mallinfo()

    def mallinfo2(self, thread: int) -> MallocSteps[HeapNumbers]:  # noqa: ARG002 - glibc's
        """mallinfo2(): glibc's own, whose heap is empty."""
        yield from ()
        return UNUSED_NUMBERS

    def malloc_info(self, thread: int) -> MallocSteps[str]:  # noqa: ARG002 - glibc's
        """The text that malloc_info(0, stream) prints: glibc's own, whose heap is empty."""
        yield from ()
        return UNUSED_INFO

    def malloc_stats(self, thread: int) -> MallocSteps[str]:
        """The text that malloc_stats() prints on stderr: tc_malloc_stats."""
        yield from self.start(thread)
        return (yield from print_stats(self, thread))

    def get_stats(self) -> MallocSteps[str]:
        """The long text: MallocExtension::GetStats."""
        return dump_stats((yield from extract_stats(self, is_detailed=True)), is_detailed=True)

    def reports(self) -> dict[str, Callable[[], MallocSteps[object]]]:
        """Return the library's calls that tell of its heap, by the name of what they tell."""
        return {"mallinfo": self.mallinfo, "GetStats": self.get_stats}

    def heap_map(self) -> list[Segment]:
        """Return all memory that it has got from the system and what it holds, without access."""
        return heap_map(self.words, self.par)
