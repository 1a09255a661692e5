"""Operations that store bytes in a program's memory, and say which: memset, and one number.

`touch` and its like say that something is stored. What these two store the C library's allocator
finds where it keeps its own words: a write behind a block damages the header of the next one.
"""

from typing import ClassVar, Final

from attrs import frozen

from mmactors.workload.operation.address import Address, Range
from mmactors.workload.operation.grammar import (
    ADDRESS,
    RANGE,
    Written,
    integer,
    keyword,
    positional,
)

STORE_BYTES_MAX: Final = 8
_BYTE: Final = integer(0, 255, "BYTE")
_STORE_BYTES: Final = integer(1, STORE_BYTES_MAX)


@frozen(kw_only=True)
class Memset(Written):
    """Fill a range with a byte; the result is how many bytes were stored (memset(3))."""

    verb: ClassVar[str] = "memset"
    range: Range = positional(RANGE)
    byte: int = positional(_BYTE)


@frozen(kw_only=True)
class Store(Written):
    """Store a number, or what a name means, in so many bytes, the lowest first; the result is 0."""

    verb: ClassVar[str] = "store"
    address: Address = positional(ADDRESS)
    value: Address = positional(ADDRESS)
    nr_bytes: int = keyword("bytes", _STORE_BYTES, STORE_BYTES_MAX)


StoreOperation = Memset | Store
