"""The system calls of a recorded process: what was asked for, and what its kernel answered.

The rows of a recording name addresses by region and offset; here they are addresses. What a kernel
cannot have answered (two mappings at one place, a break that nobody asked for) is a problem of the
recording.
"""

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from attrs import define, field, frozen
from numpy.typing import NDArray

from mmactors.units import PAGE_SIZE, ULONG_MAX
from mmactors.validate.form import Problems
from mmactors.validate.malloc.linked import LIBC_DATA_AT
from mmactors.validate.malloc.mappings import BREAK_HEAP, LIBC_DATA, NO_ADDRESS, Mappings

BRK: Final = 0
MMAP: Final = 1
MUNMAP: Final = 2
MREMAP: Final = 3
MADVISE: Final = 4
MPROTECT: Final = 5
CALL_NAMES: Final = ("brk", "mmap", "munmap", "mremap", "madvise", "mprotect")

_FLAGS_SHIFT: Final = 8
"""The column `arg` of mmap is protection + 256 * flags."""
_MAP_STACK: Final = 0x20000
"""Of mmap's flags: the stack of a thread, which the C library maps for the program."""
_ERRNO_MAX: Final = 4095
_USER_END: Final = (1 << 47) - PAGE_SIZE

Wrong = tuple[str, str] | None
"""What is wrong with a row, and what may stand there."""


@frozen
class RecordedCall:
    """One system call."""

    op: int
    """During which operation; -1: before the first; as many as there are: after the last."""
    call: int
    arguments: tuple[int, ...]
    """brk: the break asked for, 0: none; mmap: length, protection, flags; munmap: address, length;
    mremap: address, old and new length; madvise and mprotect: address, length, advice or
    protection."""
    result: int
    """brk: the break after it; mmap, mremap: the address; below 0: minus the errno."""
    is_of_stack: bool
    """Whether it is about the stack of a thread: no allocator's."""

    def apply(self, mappings: Mappings) -> None:
        """Let the kernel do what it did."""
        if self.result < 0:
            return
        if self.call == BRK:
            mappings.program_break = self.result
        elif self.call == MMAP:
            mappings.mmap(self.result, self.arguments[0])
        elif self.call == MUNMAP:
            mappings.munmap(*self.arguments)
        elif self.call == MREMAP:
            start, old_length, new_length = self.arguments
            mappings.mremap(start, old_length, self.result, new_length)


@define(eq=False, kw_only=True)
class RecordedCalls:
    """All calls of a recorded process, in order, and where its regions lie."""

    break_base: int
    initial_break: int
    initial_maps: Sequence[Sequence[Any]]
    """Start, bytes and protection of each mapping that was there before the first operation."""
    calls: list[RecordedCall] = field(factory=list, init=False)
    bases: NDArray[np.int64] = field(init=False, factory=lambda: np.zeros(1, np.int64))
    """By region its base, before any mremap."""
    moves: list[tuple[int, int, int]] = field(factory=list, init=False)
    """Of each mremap the operation, the region, and the base that it has from then on."""

    def mappings_before(self) -> Mappings:
        """Return what was mapped before the first operation."""
        mappings = Mappings(self.break_base, self.initial_break)
        for nth, (start, length, _) in enumerate(self.initial_maps):
            mappings.hold(start, length, -1 - nth)
        mappings.hold(*LIBC_DATA_AT, LIBC_DATA)
        return mappings

    def mappings_after(self, nr_calls: int) -> Mappings:
        """Return what was mapped after so many calls."""
        mappings = self.mappings_before()
        for call in self.calls[:nr_calls]:
            call.apply(mappings)
        return mappings

    def stacks(self) -> list[tuple[int, int]]:
        """Return address and bytes of each stack, in the order in which they were mapped."""
        mapped = (call for call in self.calls if call.call == MMAP and call.is_of_stack)
        return [(call.result, call.arguments[0]) for call in mapped]

    def nr_calls_until(self, op: int) -> int:
        """Return how many calls were made up to the end of an operation."""
        return bisect_right(self.calls, op, key=lambda call: call.op)

    def addresses(self, region: NDArray[np.int64], offset: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the addresses that operations returned; 0: none."""
        found = np.zeros(len(region), np.int64)
        bases = self.bases.copy()
        first = 0
        for op, moved, base in [*self.moves, (len(region), BREAK_HEAP, self.break_base)]:
            part = slice(first, max(op, first))
            has = region[part] != NO_ADDRESS
            found[part][has] = bases[region[part][has]] + offset[part][has]
            bases[moved] = base
            first = part.stop
        return found


def read_calls(
    rows: NDArray[np.int64], nr_operations: int, into: RecordedCalls, place: str, problems: Problems
) -> None:
    """Take the rows of a recording, up to the first that cannot be, which is a problem."""
    mappings = Mappings(into.break_base, into.initial_break)
    for nth, (start, length, _) in enumerate(into.initial_maps):
        if not mappings.hold(start, length, -1 - nth):
            problems.add(f"initial_maps[{nth}] is over another mapping", "what does not overlap")
            return
    reader = _Reader(into)
    op_before = -1
    for nth, (op, *row) in enumerate(rows.tolist()):
        if op_before <= op <= nr_operations:
            wrong = reader.read(op, *row)
        else:
            wrong = f"op {op}", f"rows in order, of {op_before} to {nr_operations}"
        if wrong is not None:
            found, legal = wrong
            problems.add(f"{place}[{nth}] has {found}", legal)
            return
        op_before = op
    into.bases = reader.first_bases()


class _Reader:
    """Reads rows one after the other, as the kernel of the recording served them."""

    def __init__(self, into: RecordedCalls) -> None:
        self._into: Final = into
        self._mappings: Final = into.mappings_before()
        self._initial: Final = [start for start, *_ in into.initial_maps]
        self._mapped: Final[list[int]] = []
        """The base of each region, from 1."""
        self._bases: Final = {-1 - nth: start for nth, start in enumerate(self._initial)}
        """By region its base by now."""
        self._stacks: Final[set[int]] = set()

    def first_bases(self) -> NDArray[np.int64]:
        """Return by region its base before any mremap; an index below 0 is counted from the end."""
        return np.array([self._into.break_base, *self._mapped, *self._initial[::-1]], np.int64)

    def read(
        self, op: int, call: int, region: int, offset: int, length: int, arg: int, ret: int
    ) -> Wrong:
        """Take a row; return what is wrong with it."""
        is_of_stack = region in self._stacks
        if call == BRK:
            asked = self._mappings.break_base + offset if length else 0
            ret += self._mappings.break_base
            arguments: tuple[int, ...] = (asked,)
            wrong = self._wrong_break(asked, ret)
        elif call == MMAP:
            arguments = (length, arg & ((1 << _FLAGS_SHIFT) - 1), arg >> _FLAGS_SHIFT)
            wrong = self._wrong_mapping(region, length, arg, ret)
            is_of_stack = bool(arguments[2] & _MAP_STACK)
        elif MUNMAP <= call <= MPROTECT:
            start = self._address_of(region, offset)
            if start is None or not 0 < length < _USER_END:
                return f"region {region}, offset {offset}, len {length}", "what is mapped"
            arguments = (start, length) if call == MUNMAP else (start, length, arg)
            wrong = self._wrong_move(start, length, arg, ret) if call == MREMAP else None
        else:
            return f"call {call}", "0 to 5"
        if wrong is None and not -_ERRNO_MAX <= ret < _USER_END:
            wrong = f"result {ret}", "an address, 0, or minus an errno"
        if wrong is not None:
            return wrong
        it = RecordedCall(op, call, tuple(it & ULONG_MAX for it in arguments), ret, is_of_stack)
        it.apply(self._mappings)
        self._into.calls.append(it)
        if call == MMAP and ret >= 0:
            self._mapped.append(ret)
            self._bases[region] = ret
            if is_of_stack:
                self._stacks.add(region)
        elif call == MREMAP and ret >= 0:
            self._bases[region] = ret - offset
            self._into.moves.append((op, region, ret - offset))
        return None

    def _address_of(self, region: int, offset: int) -> int | None:
        """Return the address, if something of the region is mapped there."""
        mappings = self._mappings
        if region == BREAK_HEAP:
            address = mappings.break_base + offset
            return address if mappings.break_base <= address < mappings.program_break else None
        base = self._bases.get(region)
        extent = None if base is None else mappings.extent_of(base + offset)
        return base + offset if base is not None and extent is not None else None

    def _wrong_break(self, asked: int, ret: int) -> Wrong:
        mappings = self._mappings
        before = mappings.program_break
        if ret not in {asked, before} or not mappings.break_base <= ret < _USER_END:
            either = f"{asked - mappings.break_base} or " if asked else ""
            return (
                f"result {ret - mappings.break_base}",
                f"{either}{before - mappings.break_base}: the break asked for, or the old one",
            )
        if ret > before and not mappings.is_free(before, ret):
            return "a break behind a mapping", "minus an errno"
        return None

    def _wrong_mapping(self, region: int, length: int, arg: int, ret: int) -> Wrong:
        if ret < 0:
            return None
        if not (0 < length < _USER_END and 0 <= arg < 1 << 40):
            return f"len {length}, arg {arg}", "a length above 0, and flags"
        if region != self._mappings.nr_regions + 1:
            return f"region {region}", f"{self._mappings.nr_regions + 1}, the next one"
        return self._wrong_place(ret, length)

    def _wrong_move(self, start: int, length: int, new_length: int, ret: int) -> Wrong:
        if (start | length | new_length) & (PAGE_SIZE - 1) or not 0 < new_length < _USER_END:
            return f"len {length}, arg {new_length}", "whole pages"
        extent = self._mappings.extent_of(start)
        if extent is None or extent.end < start + length:
            return f"len {length}", "what is mapped"
        if ret < 0 or (ret == start and new_length <= length):
            return None
        if ret == start:
            return self._wrong_place(start + length, new_length - length)
        return self._wrong_place(ret, new_length)

    def _wrong_place(self, start: int, length: int) -> Wrong:
        """Return what is wrong with a place for a mapping."""
        if start & (PAGE_SIZE - 1) or not 0 < start < _USER_END - length:
            return f"result {start}", "the address of a page"
        if not self._mappings.is_free(start, start + length):
            return f"a mapping at {start:#x} over another", "one where nothing is mapped"
        return None
