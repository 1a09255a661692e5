"""The kernel of a recording: it answers as it did, and sees what it was not asked for then."""

from collections.abc import Collection
from typing import Final

from mmactors.label import Label
from mmactors.malloc.request import (
    Brk,
    ClockGettime,
    InitMutex,
    LockMutex,
    Madvise,
    MallocRequest,
    Mmap,
    Mprotect,
    Mremap,
    Munmap,
    Say,
    SystemCall,
    TrylockMutex,
    UnlockMutex,
)
from mmactors.units import ULONG_MAX
from mmactors.validate.malloc.mappings import Mappings
from mmactors.validate.malloc.recorded_calls import (
    BRK,
    CALL_NAMES,
    MADVISE,
    MMAP,
    MPROTECT,
    MREMAP,
    MUNMAP,
    RecordedCall,
    RecordedCalls,
)

_NO_CALL: Final = "no call"

LATE_NS: Final = 100_000_000
"""Enough that an epoch of jemalloc's decay of 10 s has ended for certain: 50 ms and up to 50 more
(decay_deadline_init)."""


class CallDiffersError(Exception):
    """The library asked for something else than was asked for in the recording."""

    def __init__(self, op: int, nth: int, recorded: str, ours: str) -> None:
        self.op = op
        """The operation that is the first to differ."""
        self.nth = nth
        """The row of the recording's system calls."""
        self.recorded = recorded
        self.ours = ours
        super().__init__(f"{recorded}, {ours}")

    @property
    def is_purge_alone(self) -> bool:
        """Whether a call of madvise was recorded, and the library makes none."""
        return self.recorded.startswith("madvise(") and self.ours == _NO_CALL


class RecordedKernel:
    """Serves one library, which has no rival for its locks."""

    def __init__(self, recorded: RecordedCalls, late: Collection[int] = ()) -> None:
        """`late`: operations that began later than others; recordings do not say how late it was.

        So does the first operation always: the recorder read its file before it.
        """
        self.op = -1
        """The operation that is on its way."""
        self.nr_equal = 0
        """Calls that were made as recorded."""
        self._recorded: Final = recorded
        self._late: Final = late
        self._nth = 0

    def answer(self, request: MallocRequest) -> int | None:
        """Answer a request; raise CallDiffersError for a call that was not made then."""
        match request:
            case TrylockMutex():
                return 1
            case ClockGettime():
                return LATE_NS * (1 + sum(op <= self.op for op in self._late))
            case LockMutex() | UnlockMutex() | InitMutex() | Say() | Label():
                return None
        call, numbers = _call_of(request)
        arguments = tuple(each & ULONG_MAX for each in numbers)
        it = self._next()
        if it is None or (it.op, it.call, it.arguments) != (self.op, call, arguments):
            if it is not None and it.op < self.op:
                raise self._differs(it.op, it, _NO_CALL)
            ours = _text_of(call, arguments, self._recorded.mappings_after(self._nth))
            raise self._differs(self.op, it if it and it.op == self.op else None, ours)
        self._nth += 1
        self.nr_equal += 1
        return it.result

    def finish(self, op: int) -> None:
        """Assert that all was asked for up to an operation; raise as `answer` does."""
        it = self._next()
        if it is not None and it.op <= op:
            raise self._differs(it.op, it, _NO_CALL)

    def _next(self) -> RecordedCall | None:
        """Return the next call of the library; those about stacks are the program's."""
        calls = self._recorded.calls
        while self._nth < len(calls) and calls[self._nth].is_of_stack:
            self._nth += 1
        return calls[self._nth] if self._nth < len(calls) else None

    def _differs(self, op: int, it: RecordedCall | None, ours: str) -> CallDiffersError:
        recorded = _NO_CALL
        if it is not None:
            recorded = _text_of(it.call, it.arguments, self._recorded.mappings_after(self._nth))
        return CallDiffersError(op, self._nth, recorded, ours)


def _call_of(request: SystemCall) -> tuple[int, tuple[int, ...]]:
    """Return a system call as the recording has it: without hints and flags that it has not."""
    match request:
        case Brk(address=address):
            return BRK, (address,)
        case Mmap(length=length, prot=prot, flags=flags):
            return MMAP, (length, prot, flags)
        case Munmap(address=address, length=length):
            return MUNMAP, (address, length)
        case Mremap(address=address, old_length=old_length, new_length=new_length):
            return MREMAP, (address, old_length, new_length)
        case Madvise(address=address, length=length, advice=advice):
            return MADVISE, (address, length, advice)
        case Mprotect(address=address, length=length, prot=prot):
            return MPROTECT, (address, length, prot)


def _text_of(call: int, arguments: tuple[int, ...], mappings: Mappings) -> str:
    """Return a system call as people read it."""
    if call == MMAP:
        length, prot, flags = arguments
        return f"mmap({length}, prot {prot}, flags {flags:#x})"
    first, *rest = arguments
    place = mappings.name_of(first) if first or call != BRK else "0"
    return f"{CALL_NAMES[call]}({', '.join([place, *map(str, rest)])})"
