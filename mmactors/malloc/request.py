"""What an allocator in user mode asks for: system calls, its locks, its turn to go on.

A path is a generator. It yields a request and goes on with the answer. Everything that it reads and
writes in the program's memory it notes as it goes (`user_words.py`); who drives it lets these
accesses happen before it answers, and at the path's end.
"""

from collections.abc import Generator
from enum import Enum
from typing import Final, TypeVar

from attrs import field, frozen

from mmactors.label import Label
from mmactors.units import ULONG_MAX

T = TypeVar("T")


def _ulong(number: int) -> int:
    """Return an argument as the kernel takes it: 64 bits without sign."""
    return number & ULONG_MAX


@frozen
class Brk:
    """The system call brk; answered with the program break after it: if it failed, the old one.

    0 asks where it is.
    """

    address: int = field(converter=_ulong)


@frozen(kw_only=True)
class Mmap:
    """The system call mmap of private memory; answered with an address or minus the errno."""

    address: int = field(default=0, converter=_ulong)
    """A hint; 0: none."""
    length: int = field(converter=_ulong)
    prot: int
    flags: int


@frozen(kw_only=True)
class Munmap:
    """The system call munmap; answered with 0 or minus the errno."""

    address: int = field(converter=_ulong)
    length: int = field(converter=_ulong)


@frozen(kw_only=True)
class Mremap:
    """The system call mremap; answered with the new address or minus the errno."""

    address: int = field(converter=_ulong)
    old_length: int = field(converter=_ulong)
    new_length: int = field(converter=_ulong)
    flags: int


@frozen(kw_only=True)
class Madvise:
    """The system call madvise; answered with 0 or minus the errno."""

    address: int = field(converter=_ulong)
    length: int = field(converter=_ulong)
    advice: int


@frozen(kw_only=True)
class Mprotect:
    """The system call mprotect; answered with 0 or minus the errno."""

    address: int = field(converter=_ulong)
    length: int = field(converter=_ulong)
    prot: int


class LockType(Enum):
    """How threads wait for a lock of a library's."""

    LLL_LOCK = "lll_lock"
    """glibc's low-level lock: they sleep."""
    SPIN_LOCK = "SpinLock"
    """tcmalloc's: they spin, and sleep for a limited time."""
    MALLOC_MUTEX = "malloc_mutex"
    """jemalloc's: they spin, and sleep as at glibc's; its word is that of the pthread mutex."""


@frozen
class LockKind:
    """What kind of lock one of a library's is."""

    type: LockType
    spins: int = 0
    """How often who finds it taken looks again before it sleeps; -1: for ever."""


LLL_LOCK: Final = LockKind(LockType.LLL_LOCK)


@frozen
class LockMutex:
    """A lock of the library's is needed; answered with None when it is held."""

    word: int
    """The address of its word in user memory: who drives a path keeps a lock for each."""
    name: str
    """What people call it: `main_arena.mutex`, `list_lock`."""
    kind: LockKind = LLL_LOCK


@frozen
class TrylockMutex:
    """A lock of the library is wanted if it is free; answered with 1: it is held, 0: not."""

    word: int
    name: str
    kind: LockKind = LLL_LOCK


@frozen
class UnlockMutex:
    """A lock of the library's is given back; answered with None."""

    word: int
    name: str
    kind: LockKind = LLL_LOCK


@frozen
class InitMutex:
    """A lock of the library's is free, whoever had it in another process; answered with None."""

    word: int
    name: str
    kind: LockKind = LLL_LOCK


@frozen
class Say:
    """The library writes a text on stderr, and goes on; answered with None."""

    text: str


@frozen
class ClockGettime:
    """clock_gettime(CLOCK_MONOTONIC_COARSE), which needs no system call; answered in ns."""


SystemCall = Brk | Mmap | Munmap | Mremap | Madvise | Mprotect
LockRequest = LockMutex | TrylockMutex | UnlockMutex | InitMutex
MallocRequest = SystemCall | LockRequest | Say | ClockGettime | Label
MallocSteps = Generator[MallocRequest, int | None, T]


def ask(
    request: SystemCall | TrylockMutex | ClockGettime,
) -> Generator[MallocRequest, int | None, int]:
    """Yield a request that is answered with a number, and return it."""
    answer = yield request
    assert answer is not None, f"{request} was not answered"
    return answer
