"""What a program does to memory besides system calls: accesses, traces, and loops of both.

An access that the kernel cannot make good ends its operation with a signal, not the program.
"""

import errno
from collections.abc import Awaitable, Iterable, Iterator
from itertools import chain, islice, repeat
from pathlib import Path
from typing import Final

import numpy as np
from attrs import define, frozen

from mmactors.actors.call.mmap import CallSteps
from mmactors.actors.call.trace_call import (
    Call,
    madvise_call,
    mmap_call,
    munmap_call,
    trace_call,
)
from mmactors.actors.program.area_calls import AreaCalls
from mmactors.actors.program.thread import UserThread
from mmactors.actors.program.user_access import signal_beyond
from mmactors.actors.state.kernel import Kernel
from mmactors.arch.trace import SIZE_MASK, SIZE_SHIFT, STORE, Trace
from mmactors.errors import Place, Problem, UserError
from mmactors.mm.area.mm_struct import MmStruct
from mmactors.mm.area.vm_flags import (
    VM_EXEC,
    VM_MAYEXEC,
    VM_MAYREAD,
    VM_MAYWRITE,
    VM_READ,
    VM_WRITE,
)
from mmactors.mm.area.vma import Vma
from mmactors.mm.fault.siginfo import FaultSignal
from mmactors.mm.syscall import mman
from mmactors.mm.syscall.mmap import ksys_mmap
from mmactors.mm.syscall.unmapped_area import AreaSearched
from mmactors.units import PAGE_SHIFT, PAGE_SIZE, ULONG_MAX
from mmactors.workload.operation import all as op
from mmactors.workload.operation.generator import generate, must_suit
from mmactors.workload.operation.grammar import OperationError
from mmactors.workload.touch import page_trace, touch_trace
from mmactors.workload.trace.file import open_trace
from mmactors.workload.trace.input import CHUNK_ROWS

AccessOperation = op.Touch | op.Generate | op.RunTrace | op.Churn | op.Faultloop | op.Fragment

_SPAN_BITS: Final = (SIZE_MASK >> PAGE_SHIFT).bit_length() + 1
"""Bits that hold how many pages the last of an access lies behind its first."""
_IMAGE_FLAGS: Final = VM_READ | VM_WRITE | VM_EXEC | VM_MAYREAD | VM_MAYWRITE | VM_MAYEXEC


@frozen(eq=False)
class Image:
    """What a recorded program had in memory: stands for its mapped files (vm_file)."""

    path: str


@define(eq=False, kw_only=True)
class AccessCalls:
    """Runs operations that access memory for all threads of a machine."""

    kernel: Kernel
    areas: AreaCalls
    line_bytes: int
    """Fetch runs inside lines of this many bytes are one row of a trace."""

    async def perform(self, thread: UserThread, call: AccessOperation) -> int:
        """Do one operation; return how many accesses or rounds were done, or minus an errno."""
        match call:
            case op.Touch():
                return await self.touch(thread, call)
            case op.Generate():
                return await self.generate(thread, call)
            case op.RunTrace():
                return await self.trace(thread, call)
            case op.Churn():
                return await self.churn(thread, call)
            case op.Faultloop() | op.Fragment():
                return await self._write_and_free(thread, call)

    async def churn(self, thread: UserThread, call: op.Churn) -> int:
        """Map and unmap again and again; return the rounds done, or minus the errno of a mmap."""
        prot = mman.PROT_READ | mman.PROT_WRITE
        flags = mman.MAP_PRIVATE | mman.MAP_ANONYMOUS
        for _ in range(call.count):
            mapping = self.areas.change(
                thread,
                lambda mm: ksys_mmap(mm, address=0, length=call.length, prot=prot, flags=flags),
            )
            start = await self._call(mmap_call(call.length, prot, flags), mapping)
            if start < 0:
                return start
            if thread.must_end:
                break
            if call.touch:
                await self._write(thread, start, call.length)
            # The operation's result does not depend on it.
            unmapping = self.areas.unmap(thread, start, call.length)
            await self._call(munmap_call(start, call.length), unmapping)
            await thread.give_turn()
        return call.count

    async def _write_and_free(self, thread: UserThread, call: op.Faultloop | op.Fragment) -> int:
        """Write pages, then give all or some of them back (MADV_DONTNEED)."""
        bound = call.range.resolve(thread.process.bindings)
        if bound is None:
            return -errno.EINVAL
        start, length = bound
        if isinstance(call, op.Faultloop):
            begin = _stores_of(thread, start, length, 0)
            for _ in range(call.count):
                await self._write(thread, start, length, begin)
                await self._give_back(thread, start, length)
                await thread.give_turn()
                if thread.must_end:
                    break
            return call.count
        await self._write(thread, start, length)
        keep = call.keep * PAGE_SIZE
        group = call.group * PAGE_SIZE
        for position in range(start, start + length, group):
            error = await self._give_back(thread, (position + keep) & ULONG_MAX, group - keep)
            await thread.give_turn()
            if error or thread.must_end:
                return error
        return 0

    async def _give_back(self, thread: UserThread, start: int, length: int) -> int:
        advising = self.areas.advise(thread, start, length, mman.MADV_DONTNEED)
        return await self._call(madvise_call(start, length, mman.MADV_DONTNEED), advising)

    async def _call(self, call: Call, work: Awaitable[int]) -> int:
        """Do one of the calls that an operation makes; the log has each."""
        if self.kernel.probe.on:
            return await trace_call(self.kernel, call, work)
        return await work

    async def _write(
        self, thread: UserThread, start: int, length: int, begin: "Accesses | None" = None
    ) -> None:
        """Write a byte of each page, up to the first that cannot be written.

        `begin` is the first chunk of the accesses, for who does the same again and again.
        """
        for first in range(0, -(-length // PAGE_SIZE), CHUNK_ROWS):
            chunk = begin if begin and first == 0 else _stores_of(thread, start, length, first)
            if await access_all(thread, chunk) is not None:
                break

    async def touch(self, thread: UserThread, call: op.Touch) -> int:
        """Access one byte of each page of a range; return the accesses done."""
        bound = call.range.resolve(thread.process.bindings)
        if bound is None:
            return -errno.EINVAL
        start, length = bound
        traces = touch_trace(call, start=start, length=length)
        return await self._access_all(thread, traces, start + length)

    async def generate(self, thread: UserThread, call: op.Generate) -> int:
        """Access a range by a pattern; return the accesses done."""
        bound = call.range.resolve(thread.process.bindings)
        if bound is None:
            return -errno.EINVAL
        start, length = bound
        try:
            must_suit(call.pattern, length)
        except OperationError as error:
            # Checked beforehand, but a call that failed leaves a name with what it had before.
            raise UserError(
                Problem(
                    place=Place(f"{thread.process.comm}: {call}"),
                    found=error.found,
                    legal=error.legal,
                    advice=error.advice,
                )
            ) from None
        traces = generate(call.pattern, start=start, length=length)
        return await self._access_all(thread, traces, start + length)

    async def trace(self, thread: UserThread, call: op.RunTrace) -> int:
        """Run a recorded trace; what it touches is mapped as its loader would have.

        Return the accesses done.
        """
        done = 0
        image = Image(call.path)
        for trace in self._pieces(call):
            if self.kernel.engine.turn.is_over():
                await self.kernel.engine.breathe()
            await self._map_image(thread, trace, image)
            signal = await thread.access(trace)
            done += thread.accesses_done
            if signal is not None:
                break
        return done

    def _pieces(self, call: op.RunTrace) -> Iterator[Trace]:
        """Yield the pieces of a trace, over and over; what is a single piece is read once."""
        pieces = self._read(call)
        begin = list(islice(pieces, 2))
        if len(begin) == 1:
            yield from repeat(begin[0], call.repeat)
        elif begin:
            yield from chain(begin, pieces)
            del begin
            for _ in range(1, call.repeat):
                yield from self._read(call)

    def _read(self, call: op.RunTrace) -> Iterator[Trace]:
        for piece in open_trace(Path(call.path), form=call.format, limit=call.limit):
            yield piece.collapse(self.line_bytes)

    async def _access_all(self, thread: UserThread, traces: Iterable[Trace], end: int) -> int:
        engine = self.kernel.engine
        done = 0
        for trace in traces:
            if engine.turn.is_over():
                await engine.breathe()
            signal = await access_all(thread, accesses_of(thread, trace, end))
            done += thread.accesses_done
            if signal is not None:
                break
        return done

    async def _map_image(self, thread: UserThread, trace: Trace, image: Image) -> None:
        """Map what a recorded program touches and nothing maps yet, as its loader would have."""

        def steps(mm: MmStruct) -> Iterator[AreaSearched]:
            for start, end in _page_runs(trace):
                position = start
                for vma in [*mm.tree.in_range(start, end), None]:
                    stop = end if vma is None else vma.vm_start
                    if position < stop:
                        mm.insert_vm_struct(
                            Vma(
                                vm_start=position,
                                vm_end=stop,
                                vm_flags=_IMAGE_FLAGS,
                                vm_pgoff=position >> PAGE_SHIFT,
                                vm_file=image,
                                name=image.path,
                            )
                        )
                    position = end if vma is None else vma.vm_end
            yield from ()

        await self.areas.change(thread, lambda mm: _ending_with_zero(steps(mm)))


@frozen(eq=False)
class Accesses:
    """Accesses to addresses that programs have, and what comes of the one behind them."""

    trace: Trace
    beyond: FaultSignal | None = None
    """None: there is no further one."""


async def access_all(thread: UserThread, accesses: Accesses) -> FaultSignal | None:
    """Make accesses; return the signal that stopped them, None: none did."""
    signal = await thread.access(accesses.trace)
    if signal is None and accesses.beyond is not None and not thread.must_end:
        signal = accesses.beyond
        thread.receive_signal(signal)
    return signal


def accesses_of(thread: UserThread, trace: Trace, end: int) -> Accesses:
    """Return accesses to a range that ends at `end`, which may be no address of programs."""
    canonical_end = thread.space.mm.task_size + PAGE_SIZE
    if end <= canonical_end:
        return Accesses(trace)
    size = (trace.meta >> SIZE_SHIFT) & SIZE_MASK
    # Addresses above 2^63 are negative in a trace.
    is_beyond = (trace.address < 0) | (trace.address + size > canonical_end)
    if not is_beyond.any():
        return Accesses(trace)
    first = int(is_beyond.argmax())
    return Accesses(
        Trace(trace.address[:first], trace.meta[:first]),
        signal_beyond(int(trace.address[first]), canonical_end),
    )


def _stores_of(thread: UserThread, start: int, length: int, first: int) -> Accesses:
    """Return a chunk of the writes to each page of a range, from page `first` on."""
    end = min(first + CHUNK_ROWS, -(-length // PAGE_SIZE))
    trace = page_trace(start, np.arange(first, end, dtype=np.int64), STORE)
    return accesses_of(thread, trace, start + length)


def _page_runs(trace: Trace) -> list[tuple[int, int]]:
    """Return the runs `[start, end)` of neighbouring pages that a trace touches, lowest first."""
    first = trace.address >> PAGE_SHIFT
    last = (trace.address + ((trace.meta >> SIZE_SHIFT) & SIZE_MASK) - 1) >> PAGE_SHIFT
    spans = np.unique((first << _SPAN_BITS) | (last - first))
    if not len(spans):
        return []
    first = spans >> _SPAN_BITS
    reach = np.maximum.accumulate(first + (spans & ((1 << _SPAN_BITS) - 1)))
    breaks = np.flatnonzero(first[1:] > reach[:-1] + 1)
    starts = first[np.concatenate([[0], breaks + 1])]
    ends = reach[np.concatenate([breaks, [len(reach) - 1]])]
    return [
        (int(start) * PAGE_SIZE, (int(end) + 1) * PAGE_SIZE)
        for start, end in zip(starts, ends, strict=True)
    ]


def _ending_with_zero(steps: Iterator[AreaSearched]) -> CallSteps:
    yield from steps
    return 0
