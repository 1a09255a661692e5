"""A process's heap: the C library that it is linked with, its locks, the stacks of its threads.

It is made at the first call of the library, or when a second thread begins. A child that is forked
has a copy. It ends with the address space, of which it is a part.
"""

from typing import Final

from attrs import define, field

from mmactors.actors.program.malloc.thread_stack import ThreadStacks
from mmactors.actors.state.kernel import Kernel
from mmactors.engine.lock.spinlock import Mutex
from mmactors.malloc.library import MallocLibrary
from mmactors.mm.area.vm_flags import page_align
from mmactors.units import PAGE_MASK

_ADDRESS_END: Final = 1 << 63
"""Where addresses of programs end for the library's words, at the latest."""


@define(eq=False, kw_only=True, repr=False)
class UserHeap:
    """What the threads of a process share of its allocator."""

    kernel: Kernel
    ctx_id: int
    """Of the address space in which it lies."""
    library: MallocLibrary
    stacks: ThreadStacks = field(factory=ThreadStacks)
    _locks: dict[int, Mutex] = field(factory=dict, init=False)
    """By the address of their words."""

    def lock_of(self, word: int, name: str) -> Mutex:
        """Return the library's lock at an address; all of one name are one class of locks."""
        lock = self._locks.get(word)
        if lock is None:
            kernel = self.kernel
            lock = self._locks[word] = Mutex(
                kernel.engine, kernel.locks.of(name), name=f"{name}[{self.ctx_id}:{word:#x}]"
            )
        return lock

    def forget(self, start: int, length: int) -> None:
        """Let the library's words in some pages read 0: they are not mapped any more, or new."""
        if length > 0 and start + length < _ADDRESS_END:
            self.library.words.discard(start & PAGE_MASK, page_align(start + length))

    def fork(self, ctx_id: int, forking_tid: int) -> "UserHeap":
        """Return the heap of a child whose address space has been copied for a thread of ours."""
        return UserHeap(
            kernel=self.kernel,
            ctx_id=ctx_id,
            library=self.library.fork(),
            stacks=self.stacks.after_fork(forking_tid),
        )
