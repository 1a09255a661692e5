"""What the kernel answered before the first operation of a recording, which says the outcome."""

from collections.abc import Sequence
from typing import Any, Final

from mmactors.malloc.request import (
    Brk,
    ClockGettime,
    Madvise,
    MallocRequest,
    Mmap,
    Munmap,
    TrylockMutex,
)
from mmactors.units import PAGE_SIZE

_PROBED_AT: Final = 0x7FFF_F7FF_0000
"""Where a page is mapped that is unmapped at once."""


class RecordedStart:
    """Serves a library as it begins: the program break grows, mappings go from the top downwards.

    They lie in the last of the mappings that the recording begins with.
    """

    op: int = -1
    """No operation is on its way."""

    def __init__(self, break_base: int, initial_maps: Sequence[Sequence[Any]]) -> None:
        self.program_break = break_base
        last = initial_maps[-1] if initial_maps else (0, 0, "")
        self._top = last[0] + last[1]

    def answer(self, request: MallocRequest) -> int | None:
        """Answer a request."""
        match request:
            case Brk(address=address):
                self.program_break = address or self.program_break
                return self.program_break
            case Mmap(length=length) if length > PAGE_SIZE:
                self._top -= length
                return self._top
            case Mmap():
                return _PROBED_AT
            case Munmap() | Madvise() | ClockGettime():
                return 0
            case TrylockMutex():
                return 1
            case _:
                return None
