"""The recordings' interpreter and recorder: what they do besides the operations of a case.

One static program, without libc, runs every case (P0). Its address space before the first
operation is recorded; that all of its pages are present then is a fact about the program: text,
data, bss, the top of its stack, and a shared control mapping that is populated. A child reads all
of them anew and writes its data and stack; then the parent does, which has written the top of its
stack as it came back from the call. The control mapping belongs to
the recorder, the guest's first process, which has it mapped and locked, too.
"""

from collections.abc import Iterator
from typing import Any, Final

from attrs import evolve, frozen

from mmactors.actors.program.loader import (
    HEAP,
    STACK,
    VDSO,
    ProgramImage,
    map_elsewhere,
)
from mmactors.actors.program.process import Process
from mmactors.arch.pte import pte_pfn
from mmactors.units import MIB, PAGE_SIZE
from mmactors.validate.userland.begin_maps import STACK_PAGES, segments_of
from mmactors.workload.operation import all as op
from mmactors.workload.operation.address import Address, Bindings, Span

_DATA_BYTES: Final = 8
"""Its initialised data."""
DISK_FILES: Final = {
    "/mnt/f16m": (12, 16),
    "/mnt/f1m": (13, 1),
    "/mnt/f256m": (14, 256),
    "/mnt/f4m": (15, 4),
    "/mnt/f64m": (16, 64),
}
"""What is on the guest's disk; path: inode number, MiB."""


@frozen(kw_only=True)
class Insertion:
    """An operation of the interpreter, which does one of the list or belongs to it."""

    operation: op.Operation
    is_call: bool = False
    """It is the operation of the list itself, whose result was written down."""
    is_counted: bool = True
    """What it counts belongs to the operation; the recorder did not look at the rest."""
    after_fork: str | None = None
    """It is done only if the fork of this child succeeded."""


@frozen(kw_only=True)
class Interpreter:
    """The program that runs the list."""

    image: ProgramImage
    text: str
    data: str
    control: str
    stack: str
    """Its own pages, as ranges of the operation language."""
    stack_top_page: str
    atomic_access: str
    """How a child faults its control memory in, to which it adds 0: the emulator of a guest with
    one CPU loads first, that of others looks for a page that can be written."""
    is_child_first: bool
    """After a fork the child is the first to write the top page of the stack: it is a race."""

    @classmethod
    def of_maps(cls, maps: str, *, nr_cpus: int, is_child_first: bool) -> "Interpreter":
        """Return the program that the recorded maps text shows."""
        image = ProgramImage(segments=segments_of(maps), data_bytes=_DATA_BYTES)
        program = image.program
        control = next(each for each in image.segments if each.is_shared)
        stack_end = image.named(STACK).end
        return cls(
            image=image,
            text=_range(program[0].start, program[-1].start),
            data=_range(program[-1].start, image.named(HEAP).end),
            control=_range(control.start, control.end),
            stack=_range(stack_end - STACK_PAGES * PAGE_SIZE, stack_end),
            stack_top_page=_range(stack_end - PAGE_SIZE, stack_end),
            atomic_access="read" if nr_cpus == 1 else "write",
            is_child_first=is_child_first,
        )

    def begin(self) -> Iterator[Insertion]:
        """Yield what makes its pages present."""
        yield from _inserted(
            f"touch {self.stack_top_page} write",
            f"touch {self.control} read",
            f"touch {self.text} read",
            f"touch {self.data} write",
            f"touch {self.stack} write",
        )

    def perform(self, operation: op.Operation) -> Iterator[Insertion]:
        """Yield what it does to bring an operation about."""
        plain = operation.operation if isinstance(operation, op.By) else operation
        by = f"{operation.name}: " if isinstance(operation, op.By) else ""
        moves_brk = isinstance(plain, op.Brk) and plain.change
        if moves_brk or isinstance(plain, op.Heap) or "brk" in _bases(plain):
            yield from _inserted(f"{by}brk 0")  # Where is it now?
        yield Insertion(operation=operation, is_call=True)
        if isinstance(plain, op.Thread):
            yield from _inserted(f"{plain.name}: nop")
        elif isinstance(plain, op.Exit):
            yield Insertion(operation=op.parse_operation("reap"), is_counted=False)
        elif isinstance(plain, op.Fork):
            child = plain.child
            yield from _inserted(
                *([] if self.is_child_first else [f"{by}touch {self.stack_top_page} write"]),
                f"{child}& touch {self.stack_top_page} write",
                f"{child}& touch {self.control} {self.atomic_access}",
                f"{child}& touch {self.text} read",
                f"{child}& touch {self.data} write",
                f"{child}& touch {self.stack} write",
                f"{child}: nop",
                f"{by}touch {self.data} write",
                f"{by}touch {self.stack} write",
                after_fork=child,
            )


def with_unbound_as_zero(operation: op.Operation, bindings: Bindings) -> op.Operation:
    """Return the operation as the interpreter reads it: a name in `@NAME` that is not set is 0."""
    plain: Any = operation.operation if isinstance(operation, op.By) else operation
    target = getattr(plain, "range", None)
    if not isinstance(target, Span) or target.address.base in (None, *bindings):
        return operation
    plain = evolve(plain, range=Span(Address(None, target.address.offset), target.length))
    return evolve(operation, operation=plain) if isinstance(operation, op.By) else plain


def _bases(operation: op.PlainOperation) -> set[str | None]:
    """Return the names in the expressions of an operation."""
    target, address = getattr(operation, "range", None), getattr(operation, "address", None)
    places = (target.address if isinstance(target, Span) else None, address)
    return {place.base for place in places if isinstance(place, Address)}


def written_result(operation: op.Operation, result: int) -> int:
    """Return what the recorder wrote down for a call's result: 0 for a child's pid."""
    plain = operation.operation if isinstance(operation, op.By) else operation
    return min(result, 0) if isinstance(plain, op.Fork) else result


def prepare_guest(process: Process, interpreter: Interpreter) -> None:
    """Let the guest have what it had before the case: its disk, and the recorder's mapping."""
    kernel = process.kernel
    for path, (inode, size_mib) in DISK_FILES.items():
        kernel.file_system.add_file(path, inode=inode, size_bytes=size_mib * MIB)
    space = process.space
    assert space is not None, "the interpreter has begun"
    pages, lru = kernel.pages, kernel.lru[0]
    shared = [each.start for each in interpreter.image.segments if each.is_shared]
    lru.drain()
    for start in (*shared, interpreter.image.named(VDSO).start):
        for pfn in map_elsewhere(space, start):
            pages.refcount_view[pfn] += 1
            pages.mapcount_view[pfn] += 1
            if start in shared:
                lru.mlock_page(pfn)
    lru.drain()


def settle_guest(process: Process, interpreter: Interpreter) -> None:
    """Let pages be as old as they were when the first operation began.

    The top page of the stack held the program's arguments: who copied them there used it twice.
    """
    space = process.space
    assert space is not None, "the interpreter has begun"
    index = space.mm.page_table.pte_offset(interpreter.image.named(STACK).end - PAGE_SIZE)
    assert index is not None, "the stack was touched"
    kernel = process.kernel
    pfn, lru = pte_pfn(kernel.memory.view[index]), kernel.lru[0]
    lru.drain()
    lru.mark_accessed(pfn)
    lru.mark_accessed(pfn)
    lru.drain()


def _inserted(*texts: str, after_fork: str | None = None) -> Iterator[Insertion]:
    for text in texts:
        yield Insertion(operation=op.parse_operation(text), after_fork=after_fork)


def _range(start: int, end: int) -> str:
    return f"@{start:#x}:{end - start:#x}"
