"""A program: a list of operations, and what can be known to be wrong with it before it runs.

The check follows names through the list: a name must be bound before it is used, a process or
thread started before it is told to do something. It knows nothing of results: a range that an
`mmap` would have bound counts as bound although the call may fail, as the recordings do on purpose.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from attrs import define, field, frozen

from mmactors.units import format_bytes
from mmactors.workload.module_names import AREA, BLOCK, CACHE, OBJECT, PERCPU, module_names
from mmactors.workload.names import FIRST_PROCESS, Names
from mmactors.workload.operation.address import RESERVED_NAMES, Address, Range, Region
from mmactors.workload.operation.all import (
    Alias,
    AllocPages,
    AllocPercpu,
    AllocReservedPercpu,
    Barrier,
    By,
    Close,
    Dma,
    Exit,
    Fadvise,
    Faultloop,
    Fork,
    Fragment,
    Fsync,
    Ftruncate,
    Generate,
    GetVmArea,
    Heap,
    Kill,
    Kmalloc,
    KmemCacheAlloc,
    KmemCacheCreate,
    Kzalloc,
    Mmap,
    Mremap,
    Open,
    Operation,
    PercpuRefInit,
    Pin,
    PlainOperation,
    Read,
    Readahead,
    SchedSetaffinity,
    SlabFlag,
    Spin,
    Stop,
    Thread,
    Touch,
    Unpin,
    Vmalloc,
    Vmap,
    VmMapRam,
    Vzalloc,
    Wait,
    Write,
    parse_operation,
)
from mmactors.workload.operation.generator import must_suit
from mmactors.workload.operation.grammar import OperationError, close_match
from mmactors.workload.operation.malloc import Allocates, Free, requested_bytes
from mmactors.workload.operation.slab import MAY_NOT_SLEEP

_FILE_OPERATIONS: Final = (Close, Fsync, Ftruncate, Fadvise, Readahead, Read, Write)
_BLOCKS_MAX: Final = 1 << 24
"""Of one operation that reads or writes a file: their order takes 8 bytes each."""
_ACCESSES: Final = (Touch, Faultloop, Fragment, Generate)


@frozen
class Program:
    """Operations in their order, and all that is wrong with them."""

    operations: tuple[Operation, ...]
    problems: tuple[OperationError, ...]

    @classmethod
    def parse(cls, texts: Iterable[str]) -> "Program":
        """Parse and check a list of texts; `index` of each problem is its place in the list."""
        operations = []
        problems = []
        for index, text in enumerate(texts):
            try:
                operations.append(parse_operation(text))
            except OperationError as error:
                error.index = index
                problems.append(error)
        # Names that a wrong text would have bound would be reported as unknown.
        if not problems:
            problems = check_program(operations)
        return cls(tuple(operations), tuple(problems))


def check_program(operations: Sequence[Operation | None]) -> list[OperationError]:
    """Return what is wrong with a program, in its order, with the index of each operation.

    None stands for a text that is no operation: what it may have bound or started is not missed.
    """
    check = _Check(knows_all=None not in operations)
    for index, operation in enumerate(operations):
        if operation is not None:
            check.see(index, operation)
    return check.problems


@define(eq=False)
class _Known:
    """A process or thread, as far as it is known before the program runs."""

    process: "_Known | None"
    """Whose thread it is; None: it is a process."""
    is_child: bool
    files: set[str]
    """Names of the open files of a process, which a child takes over."""
    has_ended: bool = False
    spins_since: int | None = None
    """Where it was told to spin."""

    @property
    def leader(self) -> "_Known":
        return self if self.process is None else self.process

    @property
    def must_end(self) -> bool:
        return self.has_ended or self.leader.has_ended


@define(eq=False)
class _Check:
    knows_all: bool
    problems: list[OperationError] = field(factory=list)
    index: int = 0
    ranges: dict[str, int] = field(factory=dict)
    """Names of ranges, and their bytes."""
    names: Names[_Known] = field(factory=Names)
    """Processes and threads."""
    devices: set[str] = field(factory=set)
    """Which have pages pinned."""
    blocks: set[str] = field(factory=set)
    """Pages that a kernel module allocated, also when it freed them again."""
    objects: set[str] = field(factory=set)
    """What a kernel module allocated or mapped, also when it freed it again."""
    caches: set[str] = field(factory=set)
    """Those that it has made, also when it destroyed them again."""
    percpu: set[str] = field(factory=set)
    """Per-CPU areas that it was given, also when it gave them back."""
    refs: set[str] = field(factory=set)
    """Reference counts that it has made, also when it has exited them again."""
    barriers: dict[str, int] = field(factory=dict)

    def __attrs_post_init__(self) -> None:
        self.names.enter(FIRST_PROCESS, _Known(process=None, is_child=False, files=set()))

    def report(self, found: str, legal: str, advice: str, *, alone: bool = False) -> None:
        """Remember a problem; `alone`: it does not depend on what stands before."""
        if self.knows_all or alone:
            self.problems.append(OperationError(found, legal, advice, index=self.index))

    def see(self, index: int, operation: Operation) -> None:
        self.index = index
        if isinstance(operation, By):
            self.see_actor(operation)
            by, plain = operation.name, operation.operation
        else:
            by, plain = FIRST_PROCESS, operation
        if by == FIRST_PROCESS and isinstance(plain, Spin):
            self.report(
                "P0 spins and nobody is left to stop it",
                "expected a thread that spins without being waited for",
                "write T& spin, after thread T cpu=N",
                alone=True,
            )
        self.see_plain(plain, by=by)

    def see_actor(self, operation: By) -> None:
        name = operation.name
        member = self.names.last(name)
        if member is None:
            known = sorted(name for name, _ in self.names.items())
            self.report(
                f"{name} was never started",
                f"expected one of {', '.join(known)}",
                close_match(name, known, f"write fork {name} or thread {name} cpu=N first"),
            )
        elif self.names.living(name) is None:
            self.report(
                f"{name} has ended",
                "expected a process or thread that lives",
                f"move the operation before the end of {name}, or start {name} again",
            )
        elif member.spins_since is not None:
            self.report(
                f"{name} still spins since operation {member.spins_since}",
                "expected a process or thread that is free",
                f"write stop {name} first",
            )
        elif isinstance(operation.operation, Spin) and name != FIRST_PROCESS:
            if operation.waits:
                self.report(
                    f"{name} spins and is waited for, which never ends",
                    f"expected {name}& spin",
                    "write & for :",
                    alone=True,
                )
            else:
                member.spins_since = self.index

    def see_plain(self, operation: PlainOperation, *, by: str) -> None:
        member = self.names.last(by) or _Known(process=None, is_child=False, files=set())
        files = member.leader.files
        self.see_uses(operation, files)
        match operation:
            case Mmap(name=name) | Heap(name=name) | Alias(name=name):
                self.ranges[name] = operation.length
            case Mremap():
                if operation.result_name is not None:
                    self.ranges[operation.result_name] = operation.length
            case _ if isinstance(operation, Allocates):
                self.ranges[operation.name] = requested_bytes(operation)
            case Generate():
                self.see_pattern(operation)
            case Fragment(group=group, keep=keep) if keep >= group:
                self.report(
                    f"fragment: {keep} of each {group} pages are kept, so that none is given back",
                    f"expected keep below {group}",
                    "raise the number of pages of a group",
                    alone=True,
                )
            case Read() | Write():
                self.see_blocks(operation)
            case Open(file=file):
                files.add(file)
            case Close(file=file):
                files.discard(file)
            case AllocPages(name=name):
                self.blocks.add(name)
            case KmemCacheCreate(name=name):
                if SlabFlag.CACHE_DMA | SlabFlag.CACHE_DMA32 in operation.flags:
                    self.report(
                        "kmem_cache_create: its slabs are to be of two zones",
                        "expected one of cache_dma and cache_dma32",
                        "leave out one of them",
                        alone=True,
                    )
                self.caches.add(name)
            case (
                KmemCacheAlloc(name=name) | Kmalloc(name=name) | Kzalloc(name=name)
                | Vzalloc(name=name) | Vmap(name=name) | VmMapRam(name=name) | GetVmArea(name=name)
            ):  # fmt: skip
                self.objects.add(name)
            case Vmalloc(name=str(name)):
                self.objects.add(name)
            case AllocPercpu(name=name) | AllocReservedPercpu(name=name):
                self.percpu.add(name)
            case PercpuRefInit(name=name):
                self.refs.add(name)
            case Pin(device=device):
                self.devices.add(device)
            case Unpin(device=device):
                self.devices.discard(device)
            case Fork(child=name):
                self.start(name, _Known(process=None, is_child=True, files=set(files)))
            case Thread(name=name):
                self.start(name, _Known(process=member.leader, is_child=False, files=files))
            case Stop(name=name):
                self.stop(name)
            case SchedSetaffinity(thread=name):
                if self.names.living(name) is None:
                    known = {each for each, _ in self.names.items()}
                    self.require(name, known - {name}, "thread", f"write thread {name} cpu=N first")
            case Kill(child=name):
                child = self.names.child(name)
                if child is not None:
                    child.has_ended = True
                else:
                    known = {name for name, each in self.names.items() if each.is_child}
                    self.require(name, known, "child", f"write fork {name} first")
            case Exit():
                member.has_ended = True
            case Wait():
                for name, each in self.names.items():
                    if each.spins_since is not None and not each.must_end:
                        self.report(
                            f"wait waits for {name}, which spins since operation "
                            f"{each.spins_since}",
                            "expected every spinning thread to be stopped before",
                            f"write stop {name} first",
                        )
            case Barrier(name=name, count=count):
                self.meet(name, count)
            case _:
                pass

    def see_uses(self, operation: PlainOperation, files: set[str]) -> None:
        target: Range | None = getattr(operation, "range", None)
        address: Address | None = getattr(operation, "address", None)
        if isinstance(target, Region):
            self.require_range(target.name)
            self.see_pages(target, is_accessed=isinstance(operation, _ACCESSES))
        elif target is not None:
            self.require_address(target.address)
        if address is not None:
            self.require_address(address)
        if isinstance(operation, Free):
            name = operation.pointer
            self.require(name, set(self.ranges), "range", f"write malloc {name} SIZE first")
        if isinstance(operation, Mmap) and operation.file is not None:
            self.require_file(operation.file, files)
        if isinstance(operation, _FILE_OPERATIONS):
            self.require_file(operation.file, files)
        if isinstance(operation, Write) and operation.source is not None:
            self.require_bound(operation.source)
        bound = {BLOCK: self.blocks, OBJECT: self.objects, AREA: self.objects, CACHE: self.caches}
        bound[PERCPU] = self.percpu
        for kind, name, advice in module_names(operation):
            self.require(name, bound[kind], kind, advice)
        ref = getattr(operation, "ref", None)
        if ref is not None:
            self.require(ref, self.refs, "reference count", f"write percpu_ref_init {ref} first")
        if getattr(operation, "smp_call", None) is not None:
            self.see_gfp(getattr(operation, "gfp", MAY_NOT_SLEEP[0]), operation.verb)
        if isinstance(operation, Dma | Unpin):
            self.require_device(operation.device)

    def see_gfp(self, gfp: str, verb: str) -> None:
        """Report an allocation of an interrupt handler that may sleep."""
        if gfp not in MAY_NOT_SLEEP:
            self.report(
                f"{verb}: an interrupt handler allocates with gfp={gfp}, which may sleep",
                f"expected one of {', '.join(MAY_NOT_SLEEP)} beside smp_call",
                f"write gfp={MAY_NOT_SLEEP[0]}",
                alone=True,
            )

    def see_pattern(self, operation: Generate) -> None:
        """Report a pattern that its range is too short or too long for."""
        if isinstance(operation.range, Region):
            bindings = {name: (0, length) for name, length in self.ranges.items()}
            bound = operation.range.resolve(bindings)
            if bound is None or bound[1] <= 0:
                return  # reported as an unknown name, or as a range without pages
            length = bound[1]
        else:
            length = operation.range.length
        try:
            must_suit(operation.pattern, length)
        except OperationError as error:
            self.report(f"{operation.verb}: {error.found}", error.legal, error.advice)

    def see_blocks(self, operation: Read | Write) -> None:
        nr_blocks = operation.length // operation.block_bytes
        if nr_blocks > _BLOCKS_MAX:
            self.report(
                f"{operation.verb}: {format_bytes(operation.length)} are {nr_blocks} blocks",
                f"expected at most {_BLOCKS_MAX}",
                "use a shorter range, or larger blocks: bs=64K",
                alone=True,
            )

    def see_pages(self, region: Region, *, is_accessed: bool) -> None:
        if region.pages is None:
            return
        first, end = region.pages
        # A system call may be given no page, to see what it answers; an access needs one.
        if end < first or (end == first and is_accessed):
            self.report(
                f"the range {region} has no page",
                f"expected an end above {first}",
                f"write {region.name} {first}..{first + 1} for one page",
                alone=True,
            )

    def require(self, name: str, known: set[str], noun: str, advice: str) -> None:
        if name in known:
            return
        choices = ", ".join(sorted(known))
        one = f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"
        self.report(
            f"{name} is not the name of {one} here",
            f"expected one of {choices}" if known else f"expected {one} set before",
            close_match(name, sorted(known), advice),
        )

    def require_range(self, name: str) -> None:
        self.require(name, set(self.ranges), "range", f"write mmap {name} SIZE first")

    def require_address(self, address: Address) -> None:
        if address.base is not None and address.base not in RESERVED_NAMES:
            self.require_range(address.base)

    def require_bound(self, target: Range) -> None:
        if isinstance(target, Region):
            self.require_range(target.name)
        else:
            self.require_address(target.address)

    def require_device(self, device: str) -> None:
        self.require(device, self.devices, "device", f"write pin RANGE as={device} first")

    def require_file(self, file: str, files: set[str]) -> None:
        self.require(file, files, "file", f"write open {file} PATH first")

    def start(self, name: str, member: _Known) -> None:
        if self.names.is_free(name):
            self.names.enter(name, member)
        else:
            self.report(
                f"{name} is there already",
                "expected a name that no living process or thread has",
                f"try {name}b",
            )

    def stop(self, name: str) -> None:
        thread = self.names.thread(name)
        if thread is None or name == FIRST_PROCESS:
            known = {name for name, each in self.names.items() if not each.is_child}
            advice = f"write thread {name} cpu=N first"
            self.require(name, known - {FIRST_PROCESS}, "thread", advice)
        elif thread.spins_since is None or thread.must_end:
            self.report(
                f"{name} does not spin",
                "expected a thread that spins",
                f"write {name}& spin first, or leave out the stop",
            )
        else:
            thread.spins_since = None

    def meet(self, name: str, count: int) -> None:
        before = self.barriers.setdefault(name, count)
        if before != count:
            self.report(
                f"barrier {name} is for {count}",
                f"expected {before}, as before",
                "use one number for one barrier",
            )
