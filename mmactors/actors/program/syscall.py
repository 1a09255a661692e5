"""Which system call an operation is: its number, its arguments (x86-64, Linux 6.1).

For sys_enter and sys_exit. Operations of programs are calls as the recordings' interpreter makes
them, or several calls in one, as a read of many blocks, or what a module or a device does. Only
where an operation is one call of the kernel, with its result, it has a number: `brk` says by how
much the heap has grown, `mincore` how many pages are there. The arguments are known only where the
simulator has them: it has no descriptors, and no buffers.
"""

from typing import Final

from mmactors.actors.call.trace_call import (
    MADVISE,
    MMAP,
    MPROTECT,
    MREMAP,
    MUNMAP,
    NO_FD,
    Call,
    padded_call,
)
from mmactors.actors.program.area_calls import AreaOperation, place_of
from mmactors.actors.program.file_calls import FileOperation
from mmactors.actors.program.futex.futex_call import NR_FUTEX, futex_arguments
from mmactors.actors.program.gup import GupOperation
from mmactors.actors.program.life.process_calls import ProcessOperation
from mmactors.actors.program.page_calls import PageOperation
from mmactors.actors.program.proc_calls import ProcOperation
from mmactors.actors.program.thread import UserThread
from mmactors.mm.syscall import mman
from mmactors.workload.operation import all as op
from mmactors.workload.operation.futex import FutexWait, FutexWake
from mmactors.workload.operation.malloc import MallocOperation
from mmactors.workload.operation.percpu import PercpuOperation
from mmactors.workload.operation.percpu_ref import PercpuRefOperation
from mmactors.workload.operation.slab import SlabOperation
from mmactors.workload.operation.vmalloc import VmallocOperation

TracedOperation = (
    AreaOperation | FileOperation | GupOperation | PageOperation | ProcOperation | ProcessOperation
    | MallocOperation | SlabOperation | VmallocOperation | PercpuOperation | PercpuRefOperation
    | op.Churn | op.Faultloop | op.Fragment | op.Sleep | op.Cpu | op.Exit | FutexWait
    | FutexWake
)  # fmt: skip
"""Operations that the log shows as calls; the others are a program's own doing."""

_NR_EXIT_GROUP: Final = 231
_NR_EXIT: Final = 60
_NUMBERS: Final[dict[type[op.Operation], int]] = {
    op.Close: 3,
    op.Mmap: MMAP,
    op.Mprotect: MPROTECT,
    op.Munmap: MUNMAP,
    op.Mremap: MREMAP,
    op.Msync: 26,
    op.Madvise: MADVISE,
    op.Fork: 57,
    op.Fsync: 74,
    op.Ftruncate: 77,
    op.Unlink: 87,
    op.Mlock: 149,
    op.Munlock: 150,
    op.Mlockall: 151,
    op.Munlockall: 152,
    op.Readahead: 187,
    op.Cpu: 203,
    op.SchedSetaffinity: 203,
    op.Fadvise: 221,
    op.Sleep: 230,
    op.Rlimit: 302,
    op.Mlock2: 325,
}
"""arch/x86/entry/syscalls/syscall_64.tbl; those that have one number whatever they say."""
_NR_PREAD64: Final = 17
_NR_PWRITE64: Final = 18
_NO_CALL: Final = (None, ())


def call_of(thread: UserThread, operation: TracedOperation) -> Call:
    """Return what an operation calls that `thread` is about to do."""
    return padded_call(str(operation), *_number_and_arguments(thread, operation))


def _number_and_arguments(
    thread: UserThread, operation: TracedOperation
) -> tuple[int | None, tuple[int, ...]]:
    bindings = thread.process.bindings
    nr = _NUMBERS.get(type(operation))
    match operation:
        case op.Mmap(address=address, length=length, prot=prot, flags=flags, file=None):
            place = place_of(thread.process, address)
            return nr, (place, length, prot.value_of_call, int(flags), NO_FD, operation.offset)
        case op.Mlockall(flags=flags):
            return nr, (int(flags),)
        case op.Exit():
            is_last = thread.process.leader is thread
            return (_NR_EXIT_GROUP if is_last else _NR_EXIT), (0,) * 6
        case op.Munlockall():
            return nr, (0,) * 6
        case FutexWait(address=address) | FutexWake(address=address):
            return NR_FUTEX, futex_arguments(place_of(thread.process, address), operation)
        case op.Read() | op.Write():
            is_one = operation.block_bytes >= operation.length
            number = _NR_PREAD64 if isinstance(operation, op.Read) else _NR_PWRITE64
            return (number, ()) if is_one else _NO_CALL
        case (
            op.Munmap() | op.Mprotect() | op.Mremap() | op.Msync() | op.Mlock() | op.Mlock2()
            | op.Munlock() | op.Madvise()
        ):  # fmt: skip
            bound = operation.range.resolve(bindings)
            if bound is None:
                return _NO_CALL  # The interpreter answers by itself.
            return nr, (*bound, *_further_arguments(thread, operation))
        case _:
            return nr, ()


def _further_arguments(thread: UserThread, operation: AreaOperation) -> tuple[int, ...]:
    """Return the arguments behind the range."""
    match operation:
        case op.Mprotect(prot=prot):
            return (prot.value_of_call,)
        case op.Mremap(length=length, flags=flags, address=address):
            return length, int(flags), place_of(thread.process, address)
        case op.Msync(flags=flags):
            return (int(flags),)
        case op.Madvise(advice=name):
            return (int(getattr(mman, f"MADV_{name}")),)
        case op.Mlock2():
            return (mman.MLOCK_ONFAULT,)
        case _:
            return ()
