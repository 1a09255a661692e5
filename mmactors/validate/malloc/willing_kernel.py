"""A kernel for recordings of a library that do not say what the kernel answered."""

from typing import Final

from attrs import define

from mmactors.malloc.request import Brk, MallocRequest, Mmap, Mremap, TrylockMutex
from mmactors.units import PAGE_SIZE
from mmactors.validate.malloc.linked import USUAL_DATA

_BREAK: Final = 0x5555_5555_9000


@define
class WillingKernel:
    """A kernel that refuses nothing and never runs out of addresses."""

    op: int = -1
    _program_break: int = _BREAK
    _mmap_top: int = USUAL_DATA

    def answer(self, request: MallocRequest) -> int | None:
        """Answer a request."""
        match request:
            case Brk(address=address):
                self._program_break = address or self._program_break
                return self._program_break
            case Mmap(length=length):
                return self._place(length)
            case Mremap(new_length=new_length):
                return self._place(new_length)
            case TrylockMutex():
                return 1
        return 0

    def _place(self, length: int) -> int:
        # Where a block was lies another one before long: it begins anew below the first.
        self._mmap_top -= (length + PAGE_SIZE - 1) & -PAGE_SIZE
        return self._mmap_top
