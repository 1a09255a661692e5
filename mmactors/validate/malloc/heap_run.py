"""A recorded heap trace, run on the library: what each operation returned.

Operations run one after the other, each by its thread, as the recorder ran them. What the begin of
threads asked the library for before the first operation is asked for, too.
"""

from errno import EINVAL, ENOMEM
from typing import Final, Protocol, TypeVar

import numpy as np
from attrs import define, field
from numpy.typing import NDArray

from mmactors.arch.heap_trace import (
    FREE,
    HEAP_OPERATIONS,
    MALLOC_TRIM,
    MALLOPT,
    MEMALIGN,
    REALLOC,
    THREAD_BEGIN,
    THREAD_END,
    HeapOperations,
)
from mmactors.malloc.library import HeapNumbers, MallocLibrary
from mmactors.malloc.replay import Replay
from mmactors.malloc.request import MallocRequest, MallocSteps
from mmactors.mm.perform import perform
from mmactors.units import ULONG_MAX
from mmactors.validate.malloc.linked import Linked

T = TypeVar("T")

_DTV_SURPLUS: Final = 16
_DTV_BYTES: Final = 16
"""What the begin of a thread asks calloc for, in the thread that makes it (elf/dl-tls.c,
allocate_dtv)."""
_ALIGNMENT_MAX: Final = 1 << 63
"""Above it memalign says EINVAL."""


class Kernel(Protocol):
    """Who answers what a library asks for."""

    op: int
    """The operation that is on its way."""

    def answer(self, request: MallocRequest) -> int | None:
        """Answer a request."""


@define(eq=False, kw_only=True)
class HeapRun:
    """Operations on their way through a library."""

    linked: Linked
    kernel: Kernel
    operations: HeapOperations
    address: NDArray[np.int64] = field(init=False)
    """What each operation returned; 0: NULL or nothing."""
    usable: NDArray[np.int64] = field(init=False)
    _results: NDArray[np.int64] = field(init=False)
    """Of malloc_trim and mallopt."""
    _threads: NDArray[np.int64] = field(init=False)
    """By the trace's number of a thread that of the library."""
    _rows: Replay = field(init=False)
    _pointers: dict[int, int] = field(factory=dict, init=False)
    """By thread of the library where its descriptor is."""
    _stacks: list[int] = field(factory=list, init=False)
    """The descriptors of threads that have ended, which are used again: their dtv is there."""

    def __attrs_post_init__(self) -> None:
        n = len(self.operations)
        self.address, self.usable, self._results = (np.zeros(n, np.int64) for _ in range(3))
        self._threads = np.zeros(int(self.operations.tid.max()) + 1, np.int64)
        self._rows = Replay(
            library=self.linked.library,
            operations=self.operations,
            threads=self._threads,
            objects=np.zeros(n, np.int64),
            address=self.address,
            usable=self.usable,
        )

    @property
    def library(self) -> MallocLibrary:
        """The library that it runs on."""
        return self.linked.library

    @property
    def nr_done(self) -> int:
        """How many operations were done."""
        return self._rows.row

    def begin(self, start: Kernel) -> None:
        """Let the library begin, then all threads that the trace does not begin itself.

        `start` answers what the library asks for as it begins.
        """
        perform(self.library.start(0), start.answer)
        op, tid = self.operations.op, self.operations.tid
        begun = set(tid[op == THREAD_BEGIN].tolist())
        for thread in range(1, len(self._threads)):
            if thread not in begun:
                self._begin_thread(thread)

    def run(self, until: int) -> None:
        """Do operations up to one, without it; MallocAbortError, and what the kernel raises."""
        rows = self._rows
        while rows.row < until:
            if not rows.run(until):
                continue
            self.kernel.op = rows.row
            if self.operations.op[rows.row] <= MEMALIGN:
                self.perform(rows.finish())
            else:
                self._do_other(rows.row)
                rows.row += 1

    def perform(self, steps: MallocSteps[T]) -> T:
        """Drive a path to its end; return its result."""
        return perform(steps, self.kernel.answer)

    def mallinfo2(self) -> HeapNumbers:
        """Return what the main thread gets from mallinfo2."""
        return self.perform(self.library.mallinfo2(0))

    def malloc_info(self) -> str:
        """Return what the main thread gets from malloc_info."""
        return self.perform(self.library.malloc_info(0))

    @property
    def returned(self) -> NDArray[np.int64]:
        """What malloc_trim and mallopt returned, the errno of what returned NULL; else 0."""
        of = self.operations
        is_null = (self.address == 0) & (of.op <= MEMALIGN) & (of.op != FREE)
        is_null &= (of.op != REALLOC) | (of.size != 0)
        is_bad = (of.op == MEMALIGN) & (of.arg.view(np.uint64) > _ALIGNMENT_MAX)
        return np.where(is_null, np.where(is_bad, EINVAL, ENOMEM), self._results)

    def _do_other(self, row: int) -> None:
        """Do a row that is no call of malloc's."""
        of, library = self.operations, self.library
        op, tid, size, arg = (int(each[row]) for each in (of.op, of.tid, of.size, of.arg))
        thread = int(self._threads[tid])
        if op == THREAD_BEGIN:
            self._begin_thread(tid)
        elif op == THREAD_END:
            self.perform(library.end_thread(thread))
            self._stacks.append(self._pointers[thread])
        elif op == MALLOC_TRIM:
            pad = int(of.size.view(np.uint64)[row])
            self._results[row] = self.perform(library.malloc_trim(thread, pad))
        else:
            assert op == MALLOPT, f"there is no operation {op}"
            self._results[row] = self.perform(library.mallopt(thread, arg, size))

    def _begin_thread(self, tid: int) -> None:
        if self._stacks:
            pointer = self._stacks.pop()
        else:
            pointer = next(self.linked.thread_pointers, 0)
            members = self.linked.nr_modules + _DTV_SURPLUS
            self.perform(self.library.calloc(0, members, _DTV_BYTES))
        number = self._threads[tid] = self.library.new_thread()
        self._pointers[number] = pointer
        self.library.set_thread_pointer(int(number), pointer)


def text_of_operation(operations: HeapOperations, nth: int) -> str:
    """Return an operation as people read it: `op 7 malloc(104) by thread 0`."""
    if nth < 0:
        return "before op 0"
    if nth >= len(operations):
        return "after the last op"
    of = operations
    op, tid, number, size, arg = (int(it[nth]) for it in (of.op, of.tid, of.id, of.size, of.arg))
    if op != MALLOPT:
        size, arg = size & ULONG_MAX, arg & ULONG_MAX
    arguments: tuple[object, ...]
    match op:
        case 0 | 5:
            arguments = (size,)
        case 1:
            arguments = (arg, size // max(arg, 1))
        case 2:
            arguments = (f"#{number}", size)
        case 3:
            arguments = (f"#{number}",)
        case 4 | 8:
            arguments = (arg, size)
        case _:
            arguments = ()
    called = f"{HEAP_OPERATIONS[op]}({', '.join(map(str, arguments))})"
    return f"op {nth} {called} by thread {tid}"
