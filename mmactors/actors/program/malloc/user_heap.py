"""A process's heap: the C library that it is linked with, its locks, the stacks of its threads.

It is made at the first call of the library, or when a second thread begins. A child that is forked
has a copy. It ends with the address space, of which it is a part.
"""

from collections import Counter
from typing import assert_never, get_args

import numpy as np
from attrs import define, field
from numpy.typing import NDArray

from mmactors.actors.program.futex.futex import Futexes
from mmactors.actors.program.futex.lowlevellock import LowLevelLock
from mmactors.actors.program.futex.malloc_mutex import MallocMutex
from mmactors.actors.program.futex.spinlock import SpinDelays, SpinLock
from mmactors.actors.program.futex.user_lock import FREE, UserLock, UserWord
from mmactors.actors.program.malloc.thread_stack import ThreadStacks
from mmactors.malloc.library import MallocLibrary
from mmactors.malloc.replay_rows import LIVE_BLOCKS, LIVE_BYTES, LIVE_USABLE, NR_LIVE
from mmactors.malloc.request import LockKind, LockType, SystemCall
from mmactors.mm.area.vm_flags import page_align
from mmactors.units import PAGE_MASK


@define(eq=False, kw_only=True, repr=False)
class UserHeap:
    """What the threads of a process share of its allocator."""

    futexes: Futexes
    ctx_id: int
    """Of the address space in which it lies."""
    library: MallocLibrary
    end_of_addresses: int
    """Where addresses of programs end."""
    metadata_in_memory: bool
    """Its accesses go through TLBs, caches and page faults."""
    is_copy: bool = False
    """It was copied by a fork, and nobody has let its locks be free yet."""
    stacks: ThreadStacks = field(factory=ThreadStacks)
    live: NDArray[np.int64] = field(factory=lambda: np.zeros(NR_LIVE, np.int64))
    """What of it is in use (NR_LIVE of malloc/replay_rows.py)."""
    nr_calls: int = field(default=0, init=False)
    """Of the library, that have returned."""
    nr_system_calls: Counter[type[SystemCall]] = field(factory=Counter, init=False)
    """That the library has made."""
    _blocks: dict[int, tuple[int, int]] = field(factory=dict)
    """Blocks of operations by address: bytes that were asked for, and usable ones."""
    _locks: dict[int, tuple[UserLock, str, LockKind]] = field(factory=dict, init=False)
    """By the address of their words, each with its name and kind."""
    _delays: SpinDelays = field(factory=SpinDelays)

    def lock_of(self, word: int, name: str, kind: LockKind) -> UserLock:
        """Return the library's lock at an address; all of one name are one class of locks."""
        found = self._locks.get(word)
        return self._new_lock(word, name, kind, FREE) if found is None else found[0]

    def _new_lock(self, address: int, name: str, kind: LockKind, value: int) -> UserLock:
        """Make a lock whose word is `value`, unless it is in memory."""
        in_memory = self.metadata_in_memory
        word = UserWord(ctx_id=self.ctx_id, address=address, in_memory=in_memory, value=value)
        lock = self._made(word, name, kind)
        self._locks[address] = lock, name, kind
        return lock

    def _made(self, word: UserWord, name: str, kind: LockKind) -> UserLock:
        match kind.type:
            case LockType.LLL_LOCK:
                return LowLevelLock(self.futexes, name, word)
            case LockType.SPIN_LOCK:
                return SpinLock(self.futexes, name, word, spins=kind.spins, delays=self._delays)
            case LockType.MALLOC_MUTEX:
                words = self.library.words
                return MallocMutex(self.futexes, name, word, spins=kind.spins, words=words)
            case _:
                assert_never(kind.type)

    def counters(self) -> tuple[int, ...]:
        """Return what there is of it, as observe/counters/table.py names it (HEAP)."""
        blocks, live, usable = self.live.tolist()
        held = self.library.heap_bytes()
        calls = (self.nr_system_calls[kind] for kind in get_args(SystemCall))
        return (live, usable, blocks, held.system, held.free, held.cached, self.nr_calls, *calls)

    def allocated(self, address: int, size: int) -> None:
        """Count a block that an operation has got; 0: it has got none."""
        if address:
            usable = self.library.peek_usable_size(address)
            self._blocks[address] = size, usable
            self._add_live(1, size, usable)

    def freed(self, address: int) -> None:
        """Count a block that an operation has freed, if it was one."""
        block = self._blocks.pop(address, None)
        if block is not None:
            self._add_live(-1, -block[0], -block[1])

    def _add_live(self, blocks: int, size: int, usable: int) -> None:
        live = self.live
        live[LIVE_BLOCKS] += blocks
        live[LIVE_BYTES] += size
        live[LIVE_USABLE] += usable

    def forget(self, start: int, length: int) -> None:
        """Let the library's words in some pages read 0: they are not mapped any more, or new."""
        if length > 0 and start + length <= self.end_of_addresses:
            self.library.words.discard(start & PAGE_MASK, page_align(start + length))

    def fill(self, start: int, nr_bytes: int, byte: int) -> None:
        """Take what the program has written, one byte again and again."""
        self.library.words.fill(start, nr_bytes, byte)

    def put_bytes(self, address: int, data: bytes) -> None:
        """Take a few bytes that the program has written."""
        self.library.words.put_bytes(address, data)

    def fork(self, ctx_id: int, thread: int) -> "UserHeap":
        """Return the heap of a child whose address space has been copied for a thread of ours."""
        child = UserHeap(
            futexes=self.futexes,
            ctx_id=ctx_id,
            library=self.library.fork(ctx_id),
            end_of_addresses=self.end_of_addresses,
            metadata_in_memory=self.metadata_in_memory,
            is_copy=True,
            stacks=self.stacks.after_fork(thread),
            live=self.live.copy(),
            blocks=self._blocks.copy(),
            delays=self._delays.copy(),
        )
        for address, (lock, name, lock_kind) in self._locks.items():
            if lock.value != FREE:
                child._new_lock(address, name, lock_kind, lock.value)
        return child
