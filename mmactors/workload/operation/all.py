"""The operations of a program: parsed from, and written as, one line of text each.

The language is that of the recordings (tests/reference/linux-6.1/userland/operations), so that an
`op_list` is a program as it stands; `trace`, `generate`, `compute` and `barrier` are ours. An
operation says what is called, never what comes of it: addresses and ranges are resolved when it
runs. `str` gives the canonical text, which parses to an equal operation.
"""

import re
from typing import Final, get_args

from attrs import frozen

from mmactors.left_out import left_out_called
from mmactors.workload.operation.address import NAME, Address, Bindings, Range, Region, Span
from mmactors.workload.operation.futex import FutexOperation
from mmactors.workload.operation.generator import PATTERNS
from mmactors.workload.operation.grammar import (
    OperationError,
    Token,
    arguments_of,
    close_match,
    left_out_error,
    read_arguments,
    tokens_of,
)
from mmactors.workload.operation.gup import Dma, Idle, Memwrite, Migrate, Pin, Unpin
from mmactors.workload.operation.kernel import Prefetch
from mmactors.workload.operation.malloc import MallocOperation, RunHeapTrace
from mmactors.workload.operation.memory import (
    Alias,
    Brk,
    Churn,
    Compute,
    Faultloop,
    Fragment,
    Generate,
    Heap,
    Madvise,
    Mincore,
    Mlock,
    Mlock2,
    Mlockall,
    Mmap,
    Mprotect,
    Mremap,
    Msync,
    Munlock,
    Munlockall,
    Munmap,
    RunTrace,
    Touch,
    pattern_arguments,
)
from mmactors.workload.operation.page import (
    AllocPages,
    DrainAllPages,
    FreePages,
    OfflinePages,
    OnlinePages,
    StartIsolatePageRange,
    UndoIsolatePageRange,
)
from mmactors.workload.operation.percpu import (
    AllocPercpu,
    AllocReservedPercpu,
    FreePercpu,
    PercpuOperation,
    PerCpuRead,
    PerCpuWrite,
)
from mmactors.workload.operation.percpu_ref import (
    PercpuRefExit,
    PercpuRefFlag,
    PercpuRefGet,
    PercpuRefInit,
    PercpuRefKill,
    PercpuRefKillAndConfirm,
    PercpuRefOperation,
    PercpuRefPut,
    PercpuRefReinit,
    PercpuRefSwitchToAtomicSync,
    PercpuRefSwitchToPercpu,
    PercpuRefTryget,
    PercpuRefTrygetLive,
)
from mmactors.workload.operation.slab import (
    Kfree,
    Kmalloc,
    KmemCacheAlloc,
    KmemCacheCreate,
    KmemCacheDestroy,
    KmemCacheFree,
    KmemCacheShrink,
    Krealloc,
    Kzalloc,
    Peek,
    Poke,
    SlabFlag,
    SlabOperation,
)
from mmactors.workload.operation.system import (
    Barrier,
    Cgcreate,
    Cgget,
    Cgjoin,
    Cgset,
    Close,
    Cpu,
    Exit,
    Fadvise,
    Fork,
    Fsync,
    Ftruncate,
    Get,
    Kill,
    Nop,
    Oomadj,
    Open,
    Put,
    Race,
    Read,
    Readahead,
    Reap,
    Rlimit,
    SchedSetaffinity,
    Sleep,
    Snap,
    Spin,
    Stop,
    Sync,
    Thread,
    Unlink,
    Wait,
    Write,
)
from mmactors.workload.operation.user_store import StoreOperation
from mmactors.workload.operation.value import MapFlag, MremapFlag, MsyncFlag, Order, Prot
from mmactors.workload.operation.vmalloc import (
    FreeVmArea,
    GetVmArea,
    Vfree,
    Vmalloc,
    VmallocOperation,
    Vmap,
    VmMapRam,
    VmUnmapAliases,
    VmUnmapRam,
    Vunmap,
    Vzalloc,
)

__all__ = [
    "OPERATIONS",
    "Address",
    "Alias",
    "AllocPages",
    "AllocPercpu",
    "AllocReservedPercpu",
    "Barrier",
    "Bindings",
    "Brk",
    "By",
    "Cgcreate",
    "Cgget",
    "Cgjoin",
    "Cgset",
    "Churn",
    "Close",
    "Compute",
    "Cpu",
    "Dma",
    "DrainAllPages",
    "Exit",
    "Fadvise",
    "Faultloop",
    "Fork",
    "Fragment",
    "FreePages",
    "FreePercpu",
    "FreeVmArea",
    "Fsync",
    "Ftruncate",
    "Generate",
    "Get",
    "GetVmArea",
    "Heap",
    "Idle",
    "Kfree",
    "Kill",
    "Kmalloc",
    "KmemCacheAlloc",
    "KmemCacheCreate",
    "KmemCacheDestroy",
    "KmemCacheFree",
    "KmemCacheShrink",
    "Krealloc",
    "Kzalloc",
    "Madvise",
    "MapFlag",
    "Memwrite",
    "Migrate",
    "Mincore",
    "Mlock",
    "Mlock2",
    "Mlockall",
    "Mmap",
    "Mprotect",
    "Mremap",
    "MremapFlag",
    "Msync",
    "MsyncFlag",
    "Munlock",
    "Munlockall",
    "Munmap",
    "Nop",
    "OfflinePages",
    "OnlinePages",
    "Oomadj",
    "Open",
    "Operation",
    "OperationError",
    "Order",
    "Peek",
    "PerCpuRead",
    "PerCpuWrite",
    "PercpuRefExit",
    "PercpuRefFlag",
    "PercpuRefGet",
    "PercpuRefInit",
    "PercpuRefKill",
    "PercpuRefKillAndConfirm",
    "PercpuRefPut",
    "PercpuRefReinit",
    "PercpuRefSwitchToAtomicSync",
    "PercpuRefSwitchToPercpu",
    "PercpuRefTryget",
    "PercpuRefTrygetLive",
    "Pin",
    "PlainOperation",
    "Poke",
    "Prefetch",
    "Prot",
    "Put",
    "Race",
    "Range",
    "Read",
    "Readahead",
    "Reap",
    "Region",
    "Rlimit",
    "RunHeapTrace",
    "RunTrace",
    "SchedSetaffinity",
    "SlabFlag",
    "Sleep",
    "Snap",
    "Span",
    "Spin",
    "StartIsolatePageRange",
    "Stop",
    "Sync",
    "Thread",
    "Touch",
    "UndoIsolatePageRange",
    "Unlink",
    "Unpin",
    "Vfree",
    "VmMapRam",
    "VmUnmapAliases",
    "VmUnmapRam",
    "Vmalloc",
    "Vmap",
    "Vunmap",
    "Vzalloc",
    "Wait",
    "Write",
    "parse_operation",
]

PlainOperation = (
    Mmap
    | Munmap
    | Mprotect
    | Mremap
    | Msync
    | Mlock
    | Mlock2
    | Munlock
    | Mlockall
    | Munlockall
    | Madvise
    | Brk
    | Heap
    | Alias
    | Mincore
    | Touch
    | Churn
    | Faultloop
    | Fragment
    | RunTrace
    | Generate
    | Compute
    | Pin
    | Dma
    | Unpin
    | Memwrite
    | Migrate
    | Idle
    | Prefetch
    | AllocPages
    | FreePages
    | DrainAllPages
    | StartIsolatePageRange
    | UndoIsolatePageRange
    | OfflinePages
    | OnlinePages
    | SlabOperation
    | MallocOperation
    | VmallocOperation
    | PercpuOperation
    | PercpuRefOperation
    | FutexOperation
    | StoreOperation
    | Open
    | Close
    | Unlink
    | Fsync
    | Sync
    | Ftruncate
    | Fadvise
    | Readahead
    | Read
    | Write
    | Fork
    | Thread
    | Spin
    | Stop
    | Wait
    | Exit
    | Reap
    | Kill
    | Cpu
    | SchedSetaffinity
    | Barrier
    | Race
    | Sleep
    | Nop
    | Oomadj
    | Rlimit
    | Cgcreate
    | Cgset
    | Cgjoin
    | Cgget
    | Put
    | Get
    | Snap
)
"""What one process or thread does."""


@frozen(kw_only=True)
class By:
    """An operation done by another process or thread: `C: op`, or `C& op` without waiting."""

    name: str
    operation: PlainOperation
    waits: bool = True

    def __str__(self) -> str:
        return f"{self.name}{':' if self.waits else '&'} {self.operation}"


Operation = PlainOperation | By

OPERATIONS: Final[dict[str, type[PlainOperation]]] = {
    cls.verb: cls for cls in get_args(PlainOperation)
}
_LEGAL: Final = (
    f"expected one of the {len(OPERATIONS)} operations of docs/scenario.md, such as mmap, touch, "
    "munmap, fork, kmalloc, vmalloc"
)
_BY: Final = re.compile(r"([^\s:&]+)([:&])")


def parse_operation(text: str) -> Operation:
    """Return the operation that `text` means; OperationError, with its column, if it means none."""
    tokens = tokens_of(text)
    if not tokens:
        raise OperationError(
            "the operation is empty",
            _LEGAL,
            "write nop for an operation that does nothing",
        )
    by = _BY.fullmatch(tokens[0].text)
    if by is None or tokens[0].is_quoted:
        return _parse_plain(text, tokens)
    if NAME.fullmatch(by[1]) is None:
        raise OperationError(
            f"{by[1]!r} is not the name of a process or thread",
            "expected a name of letters, digits and _",
            "name it as `fork` or `thread` does",
            column=tokens[0].column,
        )
    if len(tokens) == 1:
        raise OperationError(
            f"{tokens[0].text!r} has no operation behind it",
            _LEGAL,
            f"write {tokens[0].text} nop",
            column=len(text.rstrip()) + 1,
        )
    return By(name=by[1], operation=_parse_plain(text, tokens[1:]), waits=by[2] == ":")


def _parse_plain(text: str, tokens: list[Token]) -> PlainOperation:
    verb, *rest = tokens
    if verb.text not in OPERATIONS:
        left_out = left_out_called(verb.text)
        if left_out is not None:
            raise left_out_error(verb.text, left_out, column=verb.column)
        raise OperationError(
            f"{verb.text!r} is not an operation",
            _LEGAL,
            close_match(verb.text, OPERATIONS, "see the table of operations"),
            column=verb.column,
        )
    if verb.text == Generate.verb:
        return _parse_generate(text, verb, rest)
    cls = OPERATIONS[verb.text]
    return cls(**read_arguments(verb.text, arguments_of(cls), rest, text))


def _parse_generate(text: str, verb: Token, rest: list[Token]) -> Generate:
    kind = rest[0] if rest else Token("", len(text.rstrip()) + 1)
    if kind.text not in PATTERNS:
        raise OperationError(
            f"generate: its pattern is {kind.text!r}",
            f"expected one of {', '.join(PATTERNS)}",
            close_match(kind.text, PATTERNS, "write: generate PATTERN RANGE key=value ..."),
            column=kind.column,
        )
    options = pattern_arguments(kind.text)
    arguments = {**arguments_of(Generate), **options}
    values = read_arguments(f"{verb.text} {kind.text}", arguments, rest[1:], text)
    region = values.pop("range")
    return Generate(range=region, pattern=PATTERNS[kind.text](**values))
