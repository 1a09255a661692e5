"""Operations of the C library's allocator: which call of the library each is, what comes of it.

A call ends with its result in the log (sys_exit), an address, 0 or minus the errno; the calls of
the kernel that it makes are parts of it. A name is bound to what a call returns, with the bytes
that were asked for. What is asked of a name that was never bound is EINVAL without a call.

A call that its thread leaves, because the library aborts or a signal comes, ends with EFAULT.
"""

import errno
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, assert_never

from attrs import define, field

from mmactors.actors.program.area_calls import AreaCalls
from mmactors.actors.program.futex.futex import Futexes
from mmactors.actors.program.malloc.caller import LibraryCaller, PathLeftError, access_noted
from mmactors.actors.program.malloc.heap_trace_calls import HeapTraceCalls
from mmactors.actors.program.malloc.heap_trace_run import StartThread
from mmactors.actors.program.malloc.make import make_heap
from mmactors.actors.program.malloc.thread_stack import allocate_stack, end_thread
from mmactors.actors.program.malloc.user_heap import UserHeap
from mmactors.actors.program.thread import UserThread
from mmactors.actors.state.kernel import Kernel
from mmactors.events import LibcMessage
from mmactors.malloc.library import MallocLibrary
from mmactors.malloc.request import MallocSteps
from mmactors.units import ULONG_MAX
from mmactors.workload.operation import malloc as op

_Allocates = op.Malloc | op.Calloc | op.Memalign | op.AlignedAlloc
_UNKNOWN: Final = (0, 0)
_POINTER_BYTES: Final = 8
_ALIGNMENT_MAX: Final = ULONG_MAX // 2 + 1
"""The largest power of two that a size holds."""


@define(eq=False, kw_only=True)
class MallocCalls:
    """Runs operations of the allocator for all threads of a machine."""

    kernel: Kernel
    areas: AreaCalls
    futexes: Futexes
    start_thread: StartThread
    _traces: HeapTraceCalls = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._traces = HeapTraceCalls(self.start_thread)

    async def perform(self, thread: UserThread, call: op.MallocOperation) -> int:
        """Do one operation and return its result."""
        checks = self.kernel.heap_checks
        if checks is None:
            return await self._do(thread, call)
        heap = self.heap_of(thread)
        begun = checks.call_begins(heap.ctx_id, thread.process, heap.library, call)
        result = await self._do(thread, call)
        checks.call_ended(heap.ctx_id, call, begun, result)
        return result

    async def _do(self, thread: UserThread, call: op.MallocOperation) -> int:
        engine, heap = self.kernel.engine, self.heap_of(thread)
        if isinstance(call, op.RunHeapTrace):
            return await self._traces.perform(
                thread, call, heap, lambda caller: self._caller(heap, caller), self.end_thread
            )
        thread.run_instructions(self.kernel.costs.malloc_ns)
        if thread.cpu.clock.now > engine.limit:
            await thread.yield_cpu()
        try:
            if not engine.wants_step():
                address = _hit(heap, thread, call)
                if address is not None:
                    await access_noted(thread, heap)
                    heap.nr_calls += 1
                    if isinstance(call, op.Malloc):
                        thread.process.names[call.name] = (address, call.length)
                        heap.allocated(address, call.length)
                    return address
            return await self._perform(heap, thread, call)
        except PathLeftError:
            return -errno.EFAULT

    async def _perform(self, heap: UserHeap, thread: UserThread, call: op.MallocCall) -> int:
        caller, library = self._caller(heap, thread), heap.library
        number, names = thread.malloc_thread, thread.process.names
        match call:
            case op.Free(pointer=name):
                bound = names.get(name)
                if bound is None:
                    return -errno.EINVAL
                caller.must_be_address(bound[0])
                await caller.perform(library.free(number, bound[0]))
                heap.nr_calls += 1
                heap.freed(bound[0])
                return 0
            case op.MallocTrim(pad=pad):
                return await caller.perform(library.malloc_trim(number, pad))
            case op.Mallopt(parameter=parameter, value=value):
                known = op.MALLOPT_PARAMETERS[parameter]
                return await caller.perform(library.mallopt(number, known, value))
            case op.Mallinfo2():
                numbers = await caller.perform(library.mallinfo2(number))
                self._print(str(numbers))
                return numbers.uordblks
            case op.MallocInfo():
                self._print(await caller.perform(library.malloc_info(number)))
                return 0
            case op.MallocStats():
                self._print(await caller.perform(library.malloc_stats(number)))
                return 0
            case op.Realloc(name=name, length=length):
                old = names.get(name, (0, 0))[0]
                caller.must_be_address(old)
                address = await caller.perform(library.realloc(number, old, length))
                heap.nr_calls += 1
                if address or not length:
                    heap.freed(old)
                    heap.allocated(address, length)
                    names[name] = (address, length)
                return address if address or not length else -errno.ENOMEM
            case op.PosixMemalign(name=name, alignment=alignment, length=length):
                if not _is_posix_alignment(alignment):
                    return -errno.EINVAL
                address = await caller.perform(library.memalign(number, alignment, length))
                heap.nr_calls += 1
                heap.allocated(address, length)
                if address:
                    names[name] = (address, length)
                return address or -errno.ENOMEM
            case _:
                address = await caller.perform(_allocation(library, number, call))
                heap.nr_calls += 1
                heap.allocated(address, op.requested_bytes(call))
                names[call.name] = (address, op.requested_bytes(call))
                return address or -_why_null(call)

    def _print(self, text: str) -> None:
        if self.kernel.probe.on:
            self.kernel.probe.emit(LibcMessage(msg=text))

    def heap_of(self, thread: UserThread) -> UserHeap:
        """Return the heap of a thread's process; it is made now if there is none yet."""
        process = thread.process
        heap = process.heap
        if heap is None:
            heap = process.heap = make_heap(self.futexes, process, thread.space.mm)
        assert isinstance(heap, UserHeap), f"{heap} is none of glibc's"
        return heap

    async def pthread_create(self, thread: UserThread) -> int:
        """Do what the C library does for a thread before the kernel is asked for one.

        Return the library's number of the thread, or minus the errno.
        """
        heap = self.heap_of(thread)
        number = heap.library.new_thread()
        steps = allocate_stack(heap.stacks, heap.library, thread.malloc_thread, number)
        try:
            is_done = await self._caller(heap, thread).perform(steps)
        except PathLeftError:
            return -errno.EINTR
        return number if is_done else -errno.EAGAIN

    async def fork(self, thread: UserThread, forking: Callable[[], Awaitable[int]]) -> int:
        """Fork with the library's locks held, so that the child has a heap that nobody changes."""
        heap = self.heap_of(thread)
        caller = self._caller(heap, thread)
        try:
            await caller.perform(heap.library.before_fork())
            result = await forking()
            await caller.perform(heap.library.after_fork())
        except PathLeftError:
            return -errno.EINTR
        return result

    async def begin_child(self, thread: UserThread) -> None:
        """Let the locks be free that a child has copied."""
        heap = self.heap_of(thread)
        heap.is_copy = False
        with suppress(PathLeftError):
            await self._caller(heap, thread).perform(heap.library.begin_child(thread.malloc_thread))

    async def end_thread(self, thread: UserThread) -> None:
        """Do what the C library does when a thread that is not the last one ends."""
        heap = self.heap_of(thread)
        steps = end_thread(heap.stacks, heap.library, thread.malloc_thread)
        with suppress(PathLeftError):
            await self._caller(heap, thread).perform(steps)

    def _caller(self, heap: UserHeap, thread: UserThread) -> LibraryCaller:
        return LibraryCaller(areas=self.areas, heap=heap, thread=thread)


def _hit(heap: UserHeap, thread: UserThread, call: op.MallocOperation) -> int | None:
    """Do what the thread's cache can do alone; return the result, None: nothing was done."""
    if isinstance(call, op.Malloc):
        return heap.library.malloc_hit(thread.malloc_thread, call.length) or None
    if isinstance(call, op.Free):
        address = thread.process.names.get(call.pointer, _UNKNOWN)[0]
        if not address >> 63 and heap.library.free_hit(thread.malloc_thread, address):
            heap.freed(address)
            return 0
    return None


def _allocation(library: MallocLibrary, number: int, call: _Allocates) -> MallocSteps[int]:
    match call:
        case op.Malloc(length=length):
            return library.malloc(number, length)
        case op.Calloc(members=members, length=length):
            return library.calloc(number, members, length)
        case op.Memalign() | op.AlignedAlloc():
            return library.memalign(number, call.alignment, call.length)
        case _:
            assert_never(call)


def _why_null(call: _Allocates) -> int:
    """Return the errno of a call that has returned NULL (_mid_memalign)."""
    if isinstance(call, op.Memalign | op.AlignedAlloc) and call.alignment > _ALIGNMENT_MAX:
        return errno.EINVAL
    return errno.ENOMEM


def _is_posix_alignment(alignment: int) -> bool:
    """Say whether posix_memalign takes an alignment: a power of two, a multiple of a pointer."""
    return alignment % _POINTER_BYTES == 0 < alignment and alignment & (alignment - 1) == 0
