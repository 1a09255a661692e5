"""The heaps of programs' allocators: who asks for one by its address space, and their values.

Nothing of an allocator is imported as long as no program has a heap.
"""

from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Final

from mmactors.actors.program.process import Process
from mmactors.label import (
    ARENA_FREE_LIST,
    ARENA_LIST,
    CENTRAL_LIST,
    EXTENT_MAP,
    FASTBINS,
    MALLOC_PAR,
    MALLOC_STATE,
    PAGE_HEAP,
)

if TYPE_CHECKING:
    from mmactors.malloc.library import MallocLibrary
    from mmactors.malloc.ptmalloc.arena.arena_view import ArenaView


class Heaps:
    """Those of one machine."""

    def __init__(self, processes: Callable[[], Sequence[Process]]) -> None:
        """`processes`: returns all that there are."""
        self._processes: Final = processes
        self.pairs: Final[dict[str, Callable[[int, int], Hashable]]] = {
            # Chunks do not say whose they are: an arena's value has all words that there are.
            MALLOC_STATE: lambda ctx_id, _: self.of(ctx_id).content(),
            FASTBINS: lambda ctx_id, arena: repr(self.of(ctx_id).fastbins(arena)),
            CENTRAL_LIST: lambda ctx_id, _: self._words(ctx_id),
        }
        """What objects of two numbers hold: an address space's, and an arena's."""
        self.columns: Final[dict[str, Callable[[int], Hashable]]] = {
            ARENA_LIST: lambda ctx_id: self.of(ctx_id).list_key(),
            ARENA_FREE_LIST: lambda ctx_id: self.of(ctx_id).free_list_key(),
            MALLOC_PAR: lambda ctx_id: self.of(ctx_id).parameters(),
            CENTRAL_LIST: self._words,
            EXTENT_MAP: self._words,
            PAGE_HEAP: self._page_heap,
        }
        """What objects of an address space hold."""

    def of(self, ctx_id: int) -> "ArenaView":
        """Look at the arenas in an address space; KeyError: there are none."""
        library = self.library_of(ctx_id)
        # Of a machine without such heaps all this is never imported.
        from mmactors.malloc.ptmalloc.arena.arena_view import ArenaView  # noqa: PLC0415
        from mmactors.malloc.ptmalloc.ptmalloc import Ptmalloc  # noqa: PLC0415

        assert isinstance(library, Ptmalloc), f"{library} has no arenas"
        return ArenaView(library.arenas)

    def library_of(self, ctx_id: int) -> "MallocLibrary":
        """Return the allocator in an address space; KeyError: there is none."""
        heaps = [process.heap for process in self._processes() if process.heap is not None]
        if not heaps:
            raise KeyError(ctx_id)
        from mmactors.actors.program.malloc.user_heap import UserHeap  # noqa: PLC0415 - see above

        for heap in heaps:
            if isinstance(heap, UserHeap) and heap.ctx_id == ctx_id:
                return heap.library
        raise KeyError(ctx_id)

    def _words(self, ctx_id: int) -> Hashable:
        """Return all that a library wrote; None: its process has ended."""
        try:
            return self.library_of(ctx_id).words.content()
        except KeyError:
            return None

    def _page_heap(self, ctx_id: int) -> Hashable:
        """Return what tcmalloc's page heap holds: all words, and what it has from the system."""
        try:
            library = self.library_of(ctx_id)
        except KeyError:
            return None
        from mmactors.malloc.tcmalloc.tcmalloc import Tcmalloc  # noqa: PLC0415 - see above

        assert isinstance(library, Tcmalloc), f"{library} has no page heap"
        return library.words.content(), library.par.tobytes()
