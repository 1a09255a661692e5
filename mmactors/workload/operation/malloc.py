"""Operations of the C library's allocator: malloc, free and their like (malloc.h, glibc 2.36).

What is allocated is a named range of as many bytes as were asked for, so that `touch`, `generate`
and `madvise` work on it. The name stays when it is freed, as a pointer does: what is done with it
then is the program's mistake, and the library's to find. A call that fails leaves NULL in the name,
but for `realloc` and `posix_memalign`, which leave it as it was.

Parameters have the names of malloc.h. The result is an address, or minus the errno.
"""

from typing import ClassVar, Final

from attrs import frozen

from mmactors.units import MIB, PAGE_SIZE
from mmactors.workload.heap_trace.forms import HEAP_TRACE_FORMATS
from mmactors.workload.operation.address import NUMBER_MAX
from mmactors.workload.operation.grammar import (
    NAME_WORD,
    PATH,
    SIZE,
    Written,
    choice,
    integer,
    keyword,
    positional,
    size,
)
from mmactors.workload.operation.value import COUNT

_MEMBERS: Final = integer(0, NUMBER_MAX, "MEMBERS")
_ALIGN: Final = size(symbol="ALIGN")
_INT: Final = integer(-(1 << 31), (1 << 31) - 1, "VALUE")
_STACK: Final = size(4 * PAGE_SIZE, 1 << 40)
"""At least PTHREAD_STACK_MIN."""

ORDER_TRACE: Final = "trace"
ORDERS: Final = (ORDER_TRACE, "free")
TOUCHES: Final = ("first", "all", "none")

MALLOPT_PARAMETERS: Final = {
    "M_MXFAST": 1,
    "M_TRIM_THRESHOLD": -1,
    "M_TOP_PAD": -2,
    "M_MMAP_THRESHOLD": -3,
    "M_MMAP_MAX": -4,
    "M_CHECK_ACTION": -5,
    "M_PERTURB": -6,
    "M_ARENA_TEST": -7,
    "M_ARENA_MAX": -8,
}
"""By name, the number that mallopt is given."""
_PARAMETER: Final = choice(*MALLOPT_PARAMETERS, symbol="PARAMETER")


@frozen(kw_only=True)
class Malloc(Written):
    """Allocate bytes, known as `name`; the result is their address, or -ENOMEM."""

    verb: ClassVar[str] = "malloc"
    name: str = positional(NAME_WORD)
    length: int = positional(SIZE)


@frozen(kw_only=True)
class Calloc(Written):
    """Allocate `members` times `length` bytes of zeros; -ENOMEM: also if no size is so large."""

    verb: ClassVar[str] = "calloc"
    name: str = positional(NAME_WORD)
    members: int = positional(_MEMBERS)
    length: int = positional(SIZE)


@frozen(kw_only=True)
class Realloc(Written):
    """Let what `name` means have another size, or if it means nothing yet, allocate it.

    A size of 0 frees it, the name is NULL then, and the result 0.
    """

    verb: ClassVar[str] = "realloc"
    name: str = positional(NAME_WORD)
    length: int = positional(SIZE)


@frozen(kw_only=True)
class Memalign(Written):
    """Allocate bytes at a multiple of `alignment`, which is raised to a power of two.

    -EINVAL: there is none so large.
    """

    verb: ClassVar[str] = "memalign"
    name: str = positional(NAME_WORD)
    alignment: int = positional(_ALIGN)
    length: int = positional(SIZE)


@frozen(kw_only=True)
class AlignedAlloc(Written):
    """Do what memalign does: glibc 2.36 checks no more."""

    verb: ClassVar[str] = "aligned_alloc"
    name: str = positional(NAME_WORD)
    alignment: int = positional(_ALIGN)
    length: int = positional(SIZE)


@frozen(kw_only=True)
class PosixMemalign(Written):
    """Do what memalign does; -EINVAL: the alignment is no power of two, or below 8."""

    verb: ClassVar[str] = "posix_memalign"
    name: str = positional(NAME_WORD)
    alignment: int = positional(_ALIGN)
    length: int = positional(SIZE)


@frozen(kw_only=True)
class Free(Written):
    """Free what `pointer` means; the result is 0, unless the library aborts."""

    verb: ClassVar[str] = "free"
    pointer: str = positional(NAME_WORD)


@frozen(kw_only=True)
class MallocTrim(Written):
    """Give memory back that is free, but for `pad` bytes at the top; 1: some was, 0: none."""

    verb: ClassVar[str] = "malloc_trim"
    pad: int = positional(SIZE, default=0)


@frozen(kw_only=True)
class Mallopt(Written):
    """Set a parameter of the library; 1: it was set, 0: its value is out of range."""

    verb: ClassVar[str] = "mallopt"
    parameter: str = positional(_PARAMETER)
    value: int = positional(_INT)


@frozen(kw_only=True)
class Mallinfo2(Written):
    """Print what mallinfo2(3) returns; the result is its `uordblks`, the bytes in use."""

    verb: ClassVar[str] = "mallinfo2"


@frozen(kw_only=True)
class MallocInfo(Written):
    """Print all arenas and their free chunks as XML (malloc_info(3)); the result is 0."""

    verb: ClassVar[str] = "malloc_info"


@frozen(kw_only=True)
class MallocStats(Written):
    """Print what each arena has from the system, and how much is in use (malloc_stats(3)); 0."""

    verb: ClassVar[str] = "malloc_stats"


@frozen(kw_only=True)
class RunHeapTrace(Written):
    """Run a recorded heap trace, its first `limit` operations only if given; -ECANCELED: not all.

    Its thread 0 is who runs it; for each other one there is a thread, the n-th on the n-th CPU
    behind that of thread 0, with a stack of `stack` bytes. A thread that the trace does not begin
    begins before the first operation; one that it does not end ends when all is done.

    `order`: `trace`, one operation at a time; `free`, each thread goes on as fast as it can, and
    waits only for what others must have done with an object before. `touch`: what is written of a
    block when the program gets it: its first byte, `all` that it asked for (an access a page), or
    `none`. Without `format` the file's content says its form, or else its name.
    """

    verb: ClassVar[str] = "heap_trace"
    path: str = positional(PATH)
    limit: int | None = keyword("limit", COUNT, None)
    touch: str = keyword("touch", choice(*TOUCHES), "first")
    order: str = keyword("order", choice(*ORDERS), ORDER_TRACE)
    stack: int = keyword("stack", _STACK, 8 * MIB)
    format: str | None = keyword("format", choice(*HEAP_TRACE_FORMATS), None)


Allocates = Malloc | Calloc | Realloc | Memalign | AlignedAlloc | PosixMemalign
"""What gives a name a range."""
MallocCall = Allocates | Free | MallocTrim | Mallopt | Mallinfo2 | MallocInfo | MallocStats
"""One call of the library."""
MallocOperation = MallocCall | RunHeapTrace


def requested_bytes(call: Allocates) -> int:
    """Return how many bytes a call asks for; a product that no size holds is the largest one."""
    if isinstance(call, Calloc):
        return min(call.members * call.length, NUMBER_MAX)
    return call.length
