"""A thread on a path of its C library: what the path asks for, done; what it touches, accessed.

A path asks for system calls, which the thread makes as it makes any other, and for locks. Before
each the accesses that the library has noted go through TLBs, caches and page faults, in their
order, and once more at the end. A signal for one of them leaves the path where it is.

Who leaves a path, to end or because a handler caught the signal, lets go of the locks that it
holds, where glibc's would stay locked for ever.
"""

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar, assert_never

from attrs import define, field

from mmactors.actors.call.mmap import CallSteps
from mmactors.actors.call.trace_call import (
    Call,
    brk_call,
    madvise_call,
    mmap_call,
    mprotect_call,
    mremap_call,
    munmap_call,
    trace_call,
)
from mmactors.actors.program.area_calls import AreaCalls
from mmactors.actors.program.futex.user_lock import UserLock
from mmactors.actors.program.malloc.user_heap import UserHeap
from mmactors.actors.program.thread import UserThread
from mmactors.actors.program.user_access import signal_beyond
from mmactors.arch.trace import Trace, as_signed
from mmactors.engine.lock.lock_observer import Nesting
from mmactors.events import LibcMessage
from mmactors.label import Label
from mmactors.malloc import request as ask
from mmactors.malloc.access_rows import Accesses, take_accesses
from mmactors.malloc.library import MallocAbortError, MallocCircleError, MallocFaultError
from mmactors.malloc.request import MallocRequest, MallocSteps, SystemCall
from mmactors.malloc.user_words import UserWords
from mmactors.mm.area.mm_struct import MmStruct
from mmactors.mm.fault.siginfo import ABORT, SEGV_MAPERR, SI_KERNEL, SIGKILL, SIGSEGV, FaultSignal
from mmactors.mm.syscall.brk import do_brk
from mmactors.mm.syscall.mmap import ksys_mmap
from mmactors.mm.syscall.mprotect import do_mprotect
from mmactors.mm.syscall.mremap import do_mremap
from mmactors.units import JIFFY_NS

T = TypeVar("T")
_ENDLESS: Final = FaultSignal(number=SIGKILL, code=SI_KERNEL, address=0)
"""Ends who would go round for ever, as somebody has to."""
_NOWHERE: Final = FaultSignal(number=SIGSEGV, code=SEGV_MAPERR, address=0)


class PathLeftError(Exception):
    """The thread has left the path: it has to end, or a signal came."""


async def access_noted(thread: UserThread, heap: UserHeap, words: UserWords | None = None) -> None:
    """Let what was read and written since be accessed, or raise PathLeftError.

    It was noted in `words`; without, in the library's.
    """
    noted = take_accesses(words or heap.library.words, heap.end_of_addresses)
    if noted is None:
        return
    thread.is_in_library = True
    try:
        await _access(thread, heap, noted)
    finally:
        thread.is_in_library = False


async def _access(thread: UserThread, heap: UserHeap, noted: Trace | Accesses) -> None:
    if isinstance(noted, Trace):
        if await thread.access(noted) is not None:
            raise PathLeftError
        return
    for trace in noted.traces:
        if await thread.access(trace) is not None:
            raise PathLeftError
    if noted.beyond is not None:
        thread.receive_signal(signal_beyond(noted.beyond, heap.end_of_addresses))
        raise PathLeftError


@define(eq=False, kw_only=True)
class LibraryCaller:
    """A thread that is in a call of its library."""

    areas: AreaCalls
    heap: UserHeap
    thread: UserThread
    place: Callable[[], str] | None = None
    """Says where the call is written; None: the operation of the thread is all of it."""
    takes_locks: bool = True
    """False: nobody else calls the library meanwhile, so that all its locks are free."""
    _held: list[UserLock] = field(factory=list, init=False)

    async def perform(self, steps: MallocSteps[T]) -> T:
        """Drive a path to its end and return its result; raise PathLeftError if it has none.

        A lock that it has not given back is held until another path does.
        """
        reply: int | None = None
        is_done = False
        try:
            while True:
                try:
                    request = steps.send(reply)
                except StopIteration as done:
                    await access_noted(self.thread, self.heap)
                    is_done = True
                    result: T = done.value
                    return result
                await access_noted(self.thread, self.heap)
                reply = await self._answer(request)
                if self.thread.must_end:
                    raise PathLeftError
        except GeneratorExit:
            # The machine stops for good: nobody takes a lock any more.
            is_done = True
            raise
        except MallocFaultError:
            await access_noted(self.thread, self.heap)
            self.thread.receive_signal(_NOWHERE)
            raise PathLeftError from None
        except MallocCircleError as error:
            await access_noted(self.thread, self.heap)
            self.thread.receive_signal(_ENDLESS, message=self._at(error.message))
            raise PathLeftError from None
        except MallocAbortError as error:
            await access_noted(self.thread, self.heap)
            self._abort(error.message)
            raise PathLeftError from None
        finally:
            steps.close()
            while self._held and not is_done:
                await self._held.pop().release(self.thread)

    def must_be_address(self, address: int) -> None:
        """Let the thread have the signal for reading a header where no program has addresses.

        The library's words have addresses with a sign.
        """
        if address >> 63:
            end = self.heap.end_of_addresses
            self.thread.receive_signal(signal_beyond(as_signed(address), end))
            raise PathLeftError

    async def _answer(self, request: MallocRequest) -> int | None:
        match request:
            case Label():
                engine = self.thread.process.kernel.engine
                if engine.wants_step():
                    await engine.step(request)
            case ask.Say(text=text):
                self._say(text)
            case ask.LockMutex() | ask.UnlockMutex() if not self.takes_locks:
                return None
            case ask.TrylockMutex() if not self.takes_locks:
                return 1
            case ask.LockMutex(word=word, name=name, kind=kind):
                lock = self.heap.lock_of(word, name, kind)
                # A fork takes all locks, those of one class in a fixed order.
                nr_held = sum(each.lock_class is lock.lock_class for each in self._held)
                if not await lock.acquire(self.thread, Nesting(subclass=nr_held)):
                    raise PathLeftError
                self._held.append(lock)
            case ask.TrylockMutex(word=word, name=name, kind=kind):
                lock = self.heap.lock_of(word, name, kind)
                if not await lock.try_acquire(self.thread):
                    return 0
                self._held.append(lock)
                return 1
            case ask.UnlockMutex(word=word, name=name, kind=kind):
                lock = self.heap.lock_of(word, name, kind)
                self._held.remove(lock)
                await lock.release(self.thread)
            case ask.InitMutex(word=word, name=name, kind=kind):
                await self.heap.lock_of(word, name, kind).initialize(self.thread)
            case ask.ClockGettime():
                return self.thread.cpu.clock.now // JIFFY_NS * JIFFY_NS
            case _:
                return await self._system_call(request)
        return None

    async def _system_call(self, request: SystemCall) -> int:
        """Make a system call; of brk return where the program break is."""
        areas, thread = self.areas, self.thread
        self.heap.nr_system_calls[type(request)] += 1
        match request:
            case ask.Brk(address=address):
                steps = areas.change(thread, lambda mm: do_brk(mm, address))
                result = await self._call(brk_call(address), steps)
                return result if result >= 0 else thread.space.mm.brk
            case ask.Mmap(address=address, length=length, prot=prot, flags=flags):

                def mmap(mm: MmStruct) -> CallSteps:
                    return ksys_mmap(mm, address=address, length=length, prot=prot, flags=flags)

                call = mmap_call(length, prot, flags, address)
                return await self._call(call, areas.change(thread, mmap))
            case ask.Munmap(address=address, length=length):
                call = munmap_call(address, length)
                return await self._call(call, areas.unmap(thread, address, length))
            case ask.Mremap(address=address, old_length=old, new_length=new, flags=flags):

                def mremap(mm: MmStruct) -> CallSteps:
                    return do_mremap(
                        mm,
                        address=address,
                        old_length=old,
                        new_length=new,
                        flags=flags,
                        new_address=0,
                    )

                call = mremap_call(address, old, new, flags)
                return await self._call(call, areas.change(thread, mremap))
            case ask.Madvise(address=address, length=length, advice=advice):
                call = madvise_call(address, length, advice)
                return await self._call(call, areas.advise(thread, address, length, advice))
            case ask.Mprotect(address=address, length=length, prot=prot):

                def mprotect(mm: MmStruct) -> CallSteps:
                    return do_mprotect(mm, start=address, length=length, prot=prot)

                call = mprotect_call(address, length, prot)
                return await self._call(call, areas.change(thread, mprotect))
            case _:
                assert_never(request)

    async def _call(self, call: Call, work: Awaitable[int]) -> int:
        """Do one of the calls that the library makes; the log has each."""
        if self.thread.process.kernel.probe.on:
            return await trace_call(self.thread.process.kernel, call, work)
        return await work

    def _say(self, text: str) -> None:
        probe = self.thread.process.kernel.probe
        if probe.on:
            probe.emit(LibcMessage(msg=text))

    def _abort(self, message: str) -> None:
        """Say what the library has found, and end the process of it (__libc_message, abort)."""
        self._say(message)
        self.thread.receive_signal(ABORT, message=self._at(message))

    def _at(self, message: str) -> str:
        """Return a message with the place of the call, if it is known."""
        return message if self.place is None else f"{message}; {self.place()}"
