"""Operations that reach memory behind the program's back: devices, and other programs' tools.

These are ours, not the recordings'. A device that was given pages (O_DIRECT, RDMA) pins them and
then writes to physical memory; a debugger writes through /proc/PID/mem; who wants to know which
pages are in use marks them idle.
"""

from typing import ClassVar

from attrs import frozen

from mmactors.workload.operation.address import Range
from mmactors.workload.operation.grammar import (
    NAME_WORD,
    RANGE,
    Written,
    choice,
    keyword,
    positional,
)


@frozen(kw_only=True)
class Pin(Written):
    """Pin the pages of a range for a device that will write to them, known as `device`."""

    verb: ClassVar[str] = "pin"
    range: Range = positional(RANGE)
    device: str = keyword("as", NAME_WORD)


@frozen(kw_only=True)
class Dma(Written):
    """Let the device read or write all pages that it has pinned."""

    verb: ClassVar[str] = "dma"
    device: str = positional(NAME_WORD)
    access: str = positional(choice("read", "write"))


@frozen(kw_only=True)
class Unpin(Written):
    """Give the device's pages back."""

    verb: ClassVar[str] = "unpin"
    device: str = positional(NAME_WORD)


@frozen(kw_only=True)
class Migrate(Written):
    """Offer the pages of a range to a device, which takes none (migrate_vma_setup, finalize)."""

    verb: ClassVar[str] = "migrate"
    range: Range = positional(RANGE)


@frozen(kw_only=True)
class Memwrite(Written):
    """Write one byte a page through /proc/self/mem: what may not be written is forced."""

    verb: ClassVar[str] = "memwrite"
    range: Range = positional(RANGE)


@frozen(kw_only=True)
class Idle(Written):
    """Mark the pages of a range idle (/proc/self/pagemap, /sys/kernel/mm/page_idle/bitmap).

    All entries that map them lose their accessed bit.
    """

    verb: ClassVar[str] = "idle"
    range: Range = positional(RANGE)
