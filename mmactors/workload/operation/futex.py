"""Operations on words of 32 bits in a program's memory, and on futexes, which are such words.

The atomic operations are C11's (stdatomic.h), `lll_` is glibc's low-level lock, which its mutexes
and malloc's arenas are made of: a word that is 0 (free), 1 (taken) or 2 (taken, and others may wait
for it). These are ours; a word that nobody has stored is 0.
"""

from typing import ClassVar, Final

from attrs import frozen

from mmactors.workload.operation.address import Address
from mmactors.workload.operation.grammar import (
    ADDRESS,
    TIME,
    Written,
    integer,
    keyword,
    positional,
    switch,
)

FUTEX_BITSET_MATCH_ANY: Final = (1 << 32) - 1
_VALUE: Final = integer(0, (1 << 32) - 1)
_COUNT: Final = integer(-(1 << 31), (1 << 31) - 1)


@frozen(kw_only=True)
class AtomicLoad(Written):
    """Load the word at an address; the result is what it holds."""

    verb: ClassVar[str] = "atomic_load"
    address: Address = positional(ADDRESS)


@frozen(kw_only=True)
class AtomicStore(Written):
    """Store a word, without a barrier: others may see it late (memory_order_relaxed)."""

    verb: ClassVar[str] = "atomic_store"
    address: Address = positional(ADDRESS)
    value: int = positional(_VALUE)


@frozen(kw_only=True)
class AtomicExchange(Written):
    """Store a word; the result is what it held before."""

    verb: ClassVar[str] = "atomic_exchange"
    address: Address = positional(ADDRESS)
    value: int = positional(_VALUE)


@frozen(kw_only=True)
class AtomicCompareExchange(Written):
    """Store `desired` if the word is `expected`; the result is what it held before."""

    verb: ClassVar[str] = "atomic_compare_exchange"
    address: Address = positional(ADDRESS)
    expected: int = keyword("expected", _VALUE)
    desired: int = keyword("desired", _VALUE)


@frozen(kw_only=True)
class AtomicFetchAdd(Written):
    """Add to a word, modulo 2^32; the result is what it held before."""

    verb: ClassVar[str] = "atomic_fetch_add"
    address: Address = positional(ADDRESS)
    value: int = positional(_VALUE)


@frozen(kw_only=True)
class FutexWait(Written):
    """Sleep until woken if the word at an address is `value`, at most for `timeout` (FUTEX_WAIT).

    0: it was woken. -EAGAIN: the word is another; -ETIMEDOUT, -EFAULT; -EINVAL: no bit in
    `bitset`, or the address is no multiple of 4. Without `shared`, only threads of the process
    find each other (FUTEX_PRIVATE_FLAG). Nobody who waits without a time-out wakes by himself.
    """

    verb: ClassVar[str] = "futex_wait"
    address: Address = positional(ADDRESS)
    value: int = positional(_VALUE)
    timeout_ns: int | None = keyword("timeout", TIME, None)
    bitset: int = keyword("bitset", _VALUE, FUTEX_BITSET_MATCH_ANY)
    shared: bool = switch("shared")


@frozen(kw_only=True)
class FutexWake(Written):
    """Wake up to `count` of those who wait at an address, one at least (FUTEX_WAKE).

    The result is how many; only those that have a bit of `bitset`, too.
    """

    verb: ClassVar[str] = "futex_wake"
    address: Address = positional(ADDRESS)
    count: int = positional(_COUNT)
    bitset: int = keyword("bitset", _VALUE, FUTEX_BITSET_MATCH_ANY)
    shared: bool = switch("shared")


@frozen(kw_only=True)
class LllLock(Written):
    """Take the lock that a word is; sleep as long as it is taken. The result is 0.

    Who dies of a signal meanwhile gets minus ERESTARTSYS, 512.
    """

    verb: ClassVar[str] = "lll_lock"
    address: Address = positional(ADDRESS)


@frozen(kw_only=True)
class LllTrylock(Written):
    """Take the lock that a word is if it is free; 1: it was taken."""

    verb: ClassVar[str] = "lll_trylock"
    address: Address = positional(ADDRESS)


@frozen(kw_only=True)
class LllUnlock(Written):
    """Give the lock back that a word is, and wake one who waits for it."""

    verb: ClassVar[str] = "lll_unlock"
    address: Address = positional(ADDRESS)


WordOperation = (
    AtomicLoad | AtomicStore | AtomicExchange | AtomicCompareExchange | AtomicFetchAdd
    | LllLock | LllTrylock | LllUnlock
)  # fmt: skip
FutexOperation = WordOperation | FutexWait | FutexWake
