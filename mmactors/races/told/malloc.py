"""What the arenas of programs' allocators hold, as text: the teller's part of malloc/."""

from collections.abc import Callable, Sequence
from typing import Final

from mmactors.actors.program.process import Process
from mmactors.races.heaps import Heaps
from mmactors.races.places import Places
from mmactors.units import format_bytes

Parts = dict[str, str]
_HEADER: Final = 16
"""Bytes of a chunk before what malloc returns."""
_FEW: Final = 4
"""So many chunks of a list are named."""


class ToldMalloc:
    """The parts of all arenas of one machine."""

    def __init__(self, processes: Callable[[], Sequence[Process]], places: Places) -> None:
        """`processes`: returns all that there are."""
        self._heaps: Final = Heaps(processes)
        self._places: Final = places

    def arena(self, ctx_id: int, arena: int) -> str:
        """Return what an arena is called."""
        try:
            name = self._heaps.of(ctx_id).name(arena)
        except KeyError:
            name = f"arena {arena:#x}"
        return f"{name}{self._places.whose(ctx_id)}"

    def state(self, ctx_id: int, arena: int) -> Parts:
        """Return how large an arena and its top are, and the chunks that have names."""
        view = self._heaps.of(ctx_id)
        name = self.arena(ctx_id, arena)
        parts = {
            f"system_mem of {name}": format_bytes(view.system_mem(arena)),
            f"top of {name}": format_bytes(view.top_size(arena)),
        }
        for block, address in self._places.ranges_of(ctx_id):
            chunk = address - _HEADER
            if address and view.is_of(chunk, arena):
                parts[f"chunk of {block}"] = f"{view.size_of(chunk)} bytes"
        return parts

    def fastbins(self, ctx_id: int, arena: int) -> Parts:
        """Return the chunks of fastbins that are not empty."""
        name = self.arena(ctx_id, arena)
        lists = enumerate(self._heaps.of(ctx_id).fastbins(arena))
        parts = {
            f"fastbin {nth} of {name}": self._chunks(ctx_id, chunks)
            for nth, chunks in lists
            if chunks
        }
        return parts or {f"fastbins of {name}": "empty"}

    def _chunks(self, ctx_id: int, chunks: list[int]) -> str:
        names = {start: name for name, start in self._places.ranges_of(ctx_id)}
        words = [names.get(chunk + _HEADER, f"{chunk:#x}") for chunk in chunks[:_FEW]]
        return ", ".join([*words, *(["..."] if len(chunks) > _FEW else [])])

    def arena_list(self, ctx_id: int) -> Parts:
        """Return how many arenas a process has, and which one is shared next."""
        view, owner = self._heaps.of(ctx_id), self._places.owner(ctx_id)
        return {
            f"narenas of {owner}": str(len(view.arenas())),
            f"next_to_use of {owner}": self.arena(ctx_id, view.next_to_use()),
        }

    def free_list(self, ctx_id: int) -> Parts:
        """Return the arenas without threads, and how many threads each has."""
        view = self._heaps.of(ctx_id)
        listed = [self.arena(ctx_id, arena) for arena in view.free_list()]
        parts = {f"free_list of {self._places.owner(ctx_id)}": ", ".join(listed) or "empty"}
        for arena in view.arenas():
            threads = str(view.attached_threads(arena))
            parts[f"attached_threads of {self.arena(ctx_id, arena)}"] = threads
        return parts
