"""Stacks of threads, as pthread_create maps them (nptl/allocatestack.c, nptl-stack.c, glibc 2.36).

A stack is mapped without rights, then all but its guard page gets them; then calloc gives room for
a pointer to each library's variables of the thread (the dtv). It lies in the stack's own cache when
the thread has ended, its pages given back, and the next thread takes the one that came last. More
than 40 MiB are not kept. Left out: who joins a thread, and only then gives back its stack; what
else a thread has on its stack.
"""

from collections import deque
from typing import Final

from attrs import define, field, frozen

from mmactors.malloc.library import MallocLibrary
from mmactors.malloc.request import Madvise, MallocSteps, Mmap, Mprotect, Munmap
from mmactors.mm.syscall.mman import (
    MADV_DONTNEED,
    MAP_ANONYMOUS,
    MAP_PRIVATE,
    MAP_STACK,
    PROT_NONE,
    PROT_READ,
    PROT_WRITE,
)
from mmactors.units import MIB, PAGE_SIZE

STACK_BYTES: Final = 8 * MIB
"""RLIMIT_STACK when the program begins (__pthread_initialize_minimal_internal)."""
GUARD_BYTES: Final = PAGE_SIZE
DESCRIPTOR_BYTES: Final = 0x940
"""struct pthread, at the stack's upper end; the thread's variables lie below it (measured)."""
SELF: Final = 0x10
"""Where in it is a pointer to itself, which who makes the thread writes."""
FRAMES_BYTES: Final = 2 * PAGE_SIZE
"""What lies above the frame of a thread that ends: its descriptor and variables (measured)."""
PTHREAD_STACK_MIN: Final = 4 * PAGE_SIZE
"""So much below that frame it does not give back (advise_stack_range)."""
CACHE_BYTES_MAX: Final = 40 * MIB
"""stack_cache_maxsize."""
DTV_SURPLUS: Final = 16
"""Members of a dtv besides those of modules that are there (DTV_SURPLUS and two)."""
DTV_BYTES: Final = 16
"""sizeof(dtv_t)."""


@frozen
class ThreadStack:
    """A thread's stack, its guard at the lower end."""

    address: int
    length: int
    dtv: int
    """Where the heap has the thread's dtv."""


@define(eq=False)
class ThreadStacks:
    """All stacks of a process's threads but the first one's."""

    stack_bytes: int = STACK_BYTES
    nr_modules: int = 1
    """Files of the process that have variables of threads: libc alone."""
    in_use: dict[int, ThreadStack] = field(factory=dict)
    """By the number of the thread."""
    cached: deque[ThreadStack] = field(factory=deque)
    """Of threads that have ended, the last one first."""

    def after_fork(self, thread: int) -> "ThreadStacks":
        """Return those of a child: of the used ones only that of who forked is (reclaim_stacks)."""
        others = [stack for number, stack in self.in_use.items() if number != thread]
        in_use = {thread: self.in_use[thread]} if thread in self.in_use else {}
        cached = deque([*others, *self.cached])
        return ThreadStacks(self.stack_bytes, self.nr_modules, in_use, cached)


def allocate_stack(
    stacks: ThreadStacks, library: MallocLibrary, creator: int, thread: int
) -> MallocSteps[bool]:
    """Let a new thread have a stack; False: there is no room for it (EAGAIN)."""
    if stacks.cached:
        stacks.in_use[thread] = stacks.cached.popleft()
        return True
    length = stacks.stack_bytes + GUARD_BYTES
    flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK
    address = yield Mmap(length=length, prot=PROT_NONE, flags=flags)
    assert address is not None, "mmap is answered"
    if address < 0:
        return False
    rights = PROT_READ | PROT_WRITE
    error = yield Mprotect(address=address + GUARD_BYTES, length=stacks.stack_bytes, prot=rights)
    if not error:
        descriptor = address + length - DESCRIPTOR_BYTES
        library.words.store(descriptor + SELF, descriptor)
        library.set_thread_pointer(thread, descriptor)
        members = stacks.nr_modules + DTV_SURPLUS
        dtv = yield from library.calloc(creator, members, DTV_BYTES)
    else:
        dtv = 0
    if not dtv:
        yield Munmap(address=address, length=length)
        return False
    stacks.in_use[thread] = ThreadStack(address, length, dtv)
    return True


def end_thread(stacks: ThreadStacks, library: MallocLibrary, thread: int) -> MallocSteps[None]:
    """Let a thread's cache and arena go, then the pages of its stack (start_thread)."""
    yield from library.end_thread(thread)
    stack = stacks.in_use.pop(thread, None)
    if stack is None:
        return  # The thread that main() runs in, or one that was there before the library.
    if stack.length > FRAMES_BYTES + 2 * PTHREAD_STACK_MIN:
        length = stack.length - FRAMES_BYTES - PTHREAD_STACK_MIN
        yield Madvise(address=stack.address, length=length, advice=MADV_DONTNEED)
    stacks.cached.appendleft(stack)
    while sum(each.length for each in stacks.cached) > CACHE_BYTES_MAX:
        oldest = stacks.cached.pop()
        yield from library.free(thread, oldest.dtv)
        yield Munmap(address=oldest.address, length=oldest.length)
