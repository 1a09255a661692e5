"""What the arenas of a process hold, for who looks on: no accesses are noted, nothing changes."""

from collections.abc import Hashable, Iterator
from typing import Final

from mmactors.malloc.ptmalloc.arena.arenas import Arenas
from mmactors.malloc.ptmalloc.arena.heap_info import AR_PTR, heap_for_ptr
from mmactors.malloc.ptmalloc.chunk import (
    FD,
    IS_MMAPPED,
    NON_MAIN_ARENA,
    SIZE,
    SIZE_BITS,
    protect_pointer,
)
from mmactors.malloc.ptmalloc.malloc_par import RESULT
from mmactors.malloc.ptmalloc.malloc_state import (
    ATTACHED_THREADS,
    FASTBINS,
    NEXT,
    NEXT_FREE,
    NFASTBINS,
    SYSTEM_MEM,
    TOP,
)

_CHUNKS_MAX: Final = 1 << 16
"""Of a fastbin that is followed, and arenas of a list: what is broken may be cyclic."""


class ArenaView:
    """Looks at the arenas of one process."""

    def __init__(self, arenas: Arenas) -> None:
        self._arenas: Final = arenas

    def peek(self, address: int) -> int:
        """Return the word at an address."""
        return self._arenas.words.peek(address)

    def size_of(self, chunk: int) -> int:
        """Return a chunk's size in bytes, as it says."""
        return self.peek(chunk + SIZE) & ~SIZE_BITS

    def is_of(self, chunk: int, arena: int) -> bool:
        """Return whether a chunk is an arena's, as it says."""
        head = self.peek(chunk + SIZE)
        if head & IS_MMAPPED:
            return False
        if not head & NON_MAIN_ARENA:
            return arena == self._arenas.main_arena
        return arena == self.peek(heap_for_ptr(self._arenas, chunk) + AR_PTR)

    def top_size(self, arena: int) -> int:
        """Return the bytes of the chunk at an arena's end."""
        return self.size_of(self.peek(arena + TOP))

    def system_mem(self, arena: int) -> int:
        """Return the bytes that an arena counts as got from the system."""
        return self.peek(arena + SYSTEM_MEM)

    def fastbins(self, arena: int) -> list[list[int]]:
        """Return the chunks of each fastbin, the last one freed first."""
        return [list(self._fastbin(arena + FASTBINS + 8 * nth)) for nth in range(NFASTBINS)]

    def _fastbin(self, head: int) -> Iterator[int]:
        chunk = self.peek(head)
        for _ in range(_CHUNKS_MAX):
            if not chunk:
                return
            yield chunk
            chunk = protect_pointer(chunk + FD, self.peek(chunk + FD))

    def arenas(self) -> list[int]:
        """Return all arenas, the main one first, then from the newest to the oldest."""
        found = [self._arenas.main_arena]
        for _ in range(_CHUNKS_MAX):
            arena = self.peek(found[-1] + NEXT)
            if arena in {found[0], 0}:
                break
            found.append(arena)
        return found

    def next_to_use(self) -> int:
        """Return the arena that a thread shares which has to share one."""
        return self._arenas.next_to_use or self._arenas.main_arena

    def free_list(self) -> list[int]:
        """Return the arenas that no thread uses; one that comes twice ends the list."""
        found: list[int] = []
        arena = self._arenas.free_list
        while arena:
            found.append(arena)
            if arena in found[:-1]:
                break
            arena = self.peek(arena + NEXT_FREE)
        return found

    def attached_threads(self, arena: int) -> int:
        """Return how many threads allocate from an arena, as it says."""
        return self.peek(arena + ATTACHED_THREADS)

    def content(self) -> Hashable:
        """Return all that the library wrote, as a value."""
        return self._arenas.words.content()

    def list_key(self) -> Hashable:
        """Return which arenas there are and may be, and which is shared next, as a value."""
        arenas = self._arenas
        limit, hint = arenas.narenas_limit, arenas.aligned_heap_area
        return tuple(self.arenas()), arenas.narenas, limit, arenas.next_to_use, hint

    def free_list_key(self) -> Hashable:
        """Return the arenas without threads, and how many each has, as a value."""
        attached = [self.attached_threads(arena) for arena in self.arenas()]
        return tuple(self.free_list()), tuple(attached)

    def parameters(self) -> Hashable:
        """Return the library's parameters, as a value."""
        return self._arenas.par[:RESULT].tobytes()

    def name(self, arena: int) -> str:
        """Return what people call an arena."""
        return "main_arena" if arena == self._arenas.main_arena else f"arena {arena:#x}"
