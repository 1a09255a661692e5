"""Operations on memory: mappings, the heap, accesses; and the accesses of traces and patterns."""

from typing import ClassVar, Final

import attrs
from attrs import frozen

from mmactors.option import option_doc
from mmactors.workload.operation.address import Address, Range, Region
from mmactors.workload.operation.generator import PATTERNS, Pattern
from mmactors.workload.operation.grammar import (
    ADDRESS,
    CHANGE,
    FILE,
    NAME_WORD,
    PATH,
    RANGE,
    SIZE,
    TIME,
    Argument,
    Written,
    choice,
    integer,
    keyword,
    of_option,
    positional,
    switch,
    write_arguments,
)
from mmactors.workload.operation.value import (
    ASCENDING,
    COUNT,
    MAP_FLAGS,
    MREMAP_FLAGS,
    MSYNC_FLAGS,
    ORDER,
    PROT,
    MapFlag,
    MremapFlag,
    MsyncFlag,
    Order,
    Prot,
)
from mmactors.workload.trace.file import TRACE_FORMATS

# Mappings.


@frozen(kw_only=True)
class Mmap(Written):
    """Map `length` bytes and bind `name` to them."""

    verb: ClassVar[str] = "mmap"
    name: str = positional(NAME_WORD)
    length: int = positional(SIZE)
    address: Address | None = keyword("addr", ADDRESS, None)
    prot: Prot = keyword("prot", PROT, Prot.READ | Prot.WRITE)
    flags: MapFlag = keyword("flags", MAP_FLAGS, MapFlag.PRIVATE | MapFlag.ANONYMOUS)
    file: str | None = keyword("file", FILE, None)
    offset: int = keyword("off", SIZE, 0)


@frozen(kw_only=True)
class Munmap(Written):
    """Unmap a range."""

    verb: ClassVar[str] = "munmap"
    range: Range = positional(RANGE)


@frozen(kw_only=True)
class Mprotect(Written):
    """Change the protection of a range."""

    verb: ClassVar[str] = "mprotect"
    range: Range = positional(RANGE)
    prot: Prot = keyword("prot", PROT)


@frozen(kw_only=True)
class Mremap(Written):
    """Resize or move a range, and bind `store_as` (default: the range's name) to the result."""

    verb: ClassVar[str] = "mremap"
    range: Range = positional(RANGE)
    length: int = keyword("len", SIZE)
    flags: MremapFlag = keyword("flags", MREMAP_FLAGS, MremapFlag(0))
    address: Address | None = keyword("addr", ADDRESS, None)
    store_as: str | None = keyword("as", NAME_WORD, None)

    @property
    def result_name(self) -> str | None:
        """The name that is bound to the result, None for a number without `as=`."""
        if self.store_as is not None:
            return self.store_as
        return self.range.name if isinstance(self.range, Region) else self.range.address.base


@frozen(kw_only=True)
class Msync(Written):
    """Write a shared file mapping back, at once (`sync`) or when it suits the kernel."""

    verb: ClassVar[str] = "msync"
    range: Range = positional(RANGE)
    flags: MsyncFlag = keyword("flags", MSYNC_FLAGS, MsyncFlag.SYNC)


@frozen(kw_only=True)
class Mlock(Written):
    """Lock a range in memory."""

    verb: ClassVar[str] = "mlock"
    range: Range = positional(RANGE)


@frozen(kw_only=True)
class Mlock2(Written):
    """Lock a range on fault (MLOCK_ONFAULT)."""

    verb: ClassVar[str] = "mlock2"
    range: Range = positional(RANGE)


@frozen(kw_only=True)
class Munlock(Written):
    """Unlock a range."""

    verb: ClassVar[str] = "munlock"
    range: Range = positional(RANGE)


@frozen(kw_only=True)
class Mlockall(Written):
    """Lock everything: 1 current, 2 future, 4 on fault, added."""

    verb: ClassVar[str] = "mlockall"
    flags: int = positional(integer(0, (1 << 31) - 1))


@frozen(kw_only=True)
class Munlockall(Written):
    """Unlock everything."""

    verb: ClassVar[str] = "munlockall"


ADVICES: Final = (
    "DONTNEED",
    "FREE",
    "WILLNEED",
    "SEQUENTIAL",
    "RANDOM",
    "NORMAL",
    "COLD",
    "PAGEOUT",
    "HUGEPAGE",
    "NOHUGEPAGE",
    "COLLAPSE",
    "POPULATE_READ",
    "POPULATE_WRITE",
    "REMOVE",
    "DONTFORK",
    "DOFORK",
    "WIPEONFORK",
    "KEEPONFORK",
    "MERGEABLE",
    "UNMERGEABLE",
    "DONTDUMP",
    "DODUMP",
)


@frozen(kw_only=True)
class Madvise(Written):
    """Advise the kernel about a range: MADV_`advice`."""

    verb: ClassVar[str] = "madvise"
    range: Range = positional(RANGE)
    advice: str = positional(choice(*ADVICES, symbol="ADVICE"))


@frozen(kw_only=True)
class Brk(Written):
    """Move the program break by `change` bytes; 0 asks for it."""

    verb: ClassVar[str] = "brk"
    change: int = positional(CHANGE)


@frozen(kw_only=True)
class Heap(Written):
    """Bind `name` to the last `length` bytes of the heap."""

    verb: ClassVar[str] = "heap"
    name: str = positional(NAME_WORD)
    length: int = positional(SIZE)


@frozen(kw_only=True)
class Alias(Written):
    """Bind `name` to any range."""

    verb: ClassVar[str] = "alias"
    name: str = positional(NAME_WORD)
    address: Address = positional(ADDRESS)
    length: int = positional(SIZE)


@frozen(kw_only=True)
class Mincore(Written):
    """Count the resident pages of a range."""

    verb: ClassVar[str] = "mincore"
    range: Range = positional(RANGE)


# Accesses.


@frozen(kw_only=True)
class Touch(Written):
    """Access one byte a page; `workload.touch` says which pages in which order."""

    verb: ClassVar[str] = "touch"
    range: Range = positional(RANGE)
    access: str = positional(choice("read", "write"))
    step: int = keyword("step", COUNT, 1)
    passes: int = keyword("passes", COUNT, 1)
    order: Order = keyword("order", ORDER, ASCENDING)
    count: int | None = keyword("count", COUNT, None)


@frozen(kw_only=True)
class Churn(Written):
    """Map and unmap `length` bytes `count` times, touching each page if asked."""

    verb: ClassVar[str] = "churn"
    count: int = positional(COUNT)
    length: int = positional(SIZE)
    touch: bool = switch("touch")


@frozen(kw_only=True)
class Faultloop(Written):
    """`count` times: write every page of the range, then MADV_DONTNEED it."""

    verb: ClassVar[str] = "faultloop"
    range: Range = positional(RANGE)
    count: int = positional(COUNT)


@frozen(kw_only=True)
class Fragment(Written):
    """Write every page, then MADV_DONTNEED all but the first `keep` of each `group` pages."""

    verb: ClassVar[str] = "fragment"
    range: Range = positional(RANGE)
    group: int = positional(COUNT)
    keep: int = keyword("keep", COUNT, 1)


@frozen(kw_only=True)
class RunTrace(Written):
    """Run a recorded trace `repeat` times, its first `limit` accesses only if given.

    Without `format` the file's content says its form, or else its name.
    """

    verb: ClassVar[str] = "trace"
    path: str = positional(PATH)
    limit: int | None = keyword("limit", COUNT, None)
    repeat: int = keyword("repeat", COUNT, 1)
    format: str | None = keyword("format", choice(*TRACE_FORMATS), None)


def pattern_arguments(kind: str) -> dict[str, Argument]:
    """Return the `key=value` arguments of a kind of pattern: its options."""
    return {
        field.name: Argument(
            of_option(option_doc(field)), key=field.name, is_required=False, default=field.default
        )
        for field in attrs.fields(PATTERNS[kind])
    }


@frozen(kw_only=True)
class Generate(Written):
    """Run a generated access pattern over a range."""

    verb: ClassVar[str] = "generate"
    range: Range = positional(RANGE)
    pattern: Pattern

    def __str__(self) -> str:
        kind = next(kind for kind, cls in PATTERNS.items() if isinstance(self.pattern, cls))
        options = write_arguments(self.pattern, pattern_arguments(kind))
        return " ".join([self.verb, kind, str(self.range), *options])


@frozen(kw_only=True)
class Compute(Written):
    """Spend time without touching memory."""

    verb: ClassVar[str] = "compute"
    duration_ns: int = positional(TIME)
