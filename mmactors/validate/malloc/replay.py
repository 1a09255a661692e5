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
    CALLOC,
    FREE,
    HEAP_OPERATIONS,
    MALLOC,
    MALLOC_TRIM,
    MALLOPT,
    MEMALIGN,
    REALLOC,
    THREAD_BEGIN,
    THREAD_END,
    HeapOperations,
)
from mmactors.malloc.library import HeapNumbers, MallocLibrary
from mmactors.malloc.request import MallocRequest, MallocSteps
from mmactors.mm.perform import perform

T = TypeVar("T")

_DTV_MEMBERS: Final = 17
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
class Replay:
    """Operations on their way through a library."""

    library: MallocLibrary
    kernel: Kernel
    operations: HeapOperations
    address: NDArray[np.int64] = field(init=False)
    """What each operation returned; 0: NULL or nothing."""
    usable: NDArray[np.int64] = field(init=False)
    returned: NDArray[np.int64] = field(init=False)
    """What malloc_trim and mallopt return, the errno of what returns NULL; else 0."""
    nr_done: int = field(default=0, init=False)
    """Operations."""
    _objects: NDArray[np.int64] = field(init=False)
    """By number its address; 0: there is none."""
    _threads: dict[int, int] = field(init=False)
    """By the trace's number of a thread that of the library."""
    _nr_stacks: int = field(default=0, init=False)
    """Of threads that have ended, which are used again: their dtv is there already."""

    def __attrs_post_init__(self) -> None:
        n = len(self.operations)
        self.address = np.zeros(n, np.int64)
        self.usable = np.zeros(n, np.int64)
        self.returned = np.zeros(n, np.int64)
        self._objects = np.zeros(n, np.int64)
        self._threads = {0: 0}

    def begin(self) -> None:
        """Let all threads begin that the trace does not begin itself."""
        op, tid = self.operations.op, self.operations.tid
        begun = set(tid[op == THREAD_BEGIN].tolist())
        for thread in range(1, int(tid.max()) + 1):
            if thread not in begun:
                self._begin_thread(thread)

    def run(self, until: int) -> None:
        """Do operations up to one, without it; raise what ends them before.

        That are MallocAbortError and CallDiffersError; `nr_done` says how many were done before.
        """
        of, part = self.operations, slice(self.nr_done, until)
        columns = (of.op, of.tid, of.id, of.size.view(np.uint64), of.arg.view(np.uint64))
        rows = zip(*(each[part].tolist() for each in columns), strict=True)
        for op, tid, number, size, arg in rows:
            self.kernel.op = self.nr_done
            if op == THREAD_BEGIN:
                self._begin_thread(tid)
            elif op == THREAD_END:
                self._end_thread(tid)
            elif op == MALLOC_TRIM:
                trim = self.library.malloc_trim(self._threads[tid], size)
                self.returned[self.nr_done] = self.perform(trim)
            elif op == MALLOPT:
                parameter, value = (int(each[self.nr_done]) for each in (of.arg, of.size))
                mallopt = self.library.mallopt(self._threads[tid], parameter, value)
                self.returned[self.nr_done] = self.perform(mallopt)
            else:
                self._do(op, self._threads[tid], number, size, arg)
            self.nr_done += 1

    def perform(self, steps: MallocSteps[T]) -> T:
        """Drive a path to its end; return its result."""
        return perform(steps, self.kernel.answer)

    def mallinfo2(self) -> HeapNumbers:
        """Return what the main thread gets from mallinfo2."""
        return self.perform(self.library.mallinfo2(0))

    def malloc_info(self) -> str:
        """Return what the main thread gets from malloc_info."""
        return self.perform(self.library.malloc_info(0))

    def _do(self, op: int, thread: int, number: int, size: int, arg: int) -> None:
        library, objects = self.library, self._objects
        old = int(objects[number])
        if op == FREE:
            self.perform(library.free(thread, old))
            objects[number] = 0
            return
        if op == MALLOC:
            address = self.perform(library.malloc(thread, size))
        elif op == CALLOC:
            members = arg or 1
            address = self.perform(library.calloc(thread, members, size // members))
        elif op == REALLOC:
            address = self.perform(library.realloc(thread, old, size))
        else:
            assert op == MEMALIGN, f"there is no operation {op}"
            address = self.perform(library.memalign(thread, arg, size))
        if address or not (op == REALLOC and size):
            objects[number] = address
        self.address[self.nr_done] = address
        if address:
            self.usable[self.nr_done] = library.usable_size(address)
        elif op != REALLOC or size:
            is_bad = op == MEMALIGN and arg > _ALIGNMENT_MAX
            self.returned[self.nr_done] = EINVAL if is_bad else ENOMEM

    def _begin_thread(self, tid: int) -> None:
        if self._nr_stacks:
            self._nr_stacks -= 1
        else:
            self.perform(self.library.calloc(0, _DTV_MEMBERS, _DTV_BYTES))
        self._threads[tid] = self.library.new_thread()

    def _end_thread(self, tid: int) -> None:
        self.perform(self.library.end_thread(self._threads.pop(tid)))
        self._nr_stacks += 1


def text_of_operation(operations: HeapOperations, nth: int) -> str:
    """Return an operation as people read it: `op 7 malloc(104) by thread 0`."""
    if nth < 0:
        return "before op 0"
    if nth >= len(operations):
        return "after the last op"
    op, tid, number, size, arg = (
        int(each[nth])
        for each in (operations.op, operations.tid, operations.id, operations.size, operations.arg)
    )
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
