"""Operations on pages as a kernel module does them: allocate, free, isolate, take offline.

These are ours; they are named after the kernel's functions that they call, as the module of the
allocator's recordings calls them. A block is known by a name to the program that allocated it; the
name means the block that it was bound to last, and the one before stays with the module.
"""

from typing import ClassVar, Final

from attrs import frozen

from mmactors.workload.operation.grammar import (
    NAME_WORD,
    Written,
    choice,
    integer,
    keyword,
    positional,
    switch,
)

GFP_NAMES: Final = (
    "KERNEL",
    "ATOMIC",
    "NOWAIT",
    "USER",
    "HIGHUSER",
    "HIGHUSER_MOVABLE",
    "RECLAIMABLE",
)
"""GFP_* (include/linux/gfp_types.h); RECLAIMABLE: GFP_KERNEL | __GFP_RECLAIMABLE."""
_ORDER: Final = integer(0, 10, "ORDER")


@frozen(kw_only=True)
class AllocPages(Written):
    """Allocate 2**order pages, known as `name`; the result is the first frame, or -ENOMEM.

    `comp` makes a block of several pages compound. `movable` says that its owner can move it
    (__SetPageMovable), so that its pageblock may be isolated.
    """

    verb: ClassVar[str] = "alloc_pages"
    name: str = positional(NAME_WORD)
    order: int = keyword("order", _ORDER, 0)
    gfp: str = keyword("gfp", choice(*GFP_NAMES, symbol="GFP"), "KERNEL")
    comp: bool = switch("comp")
    movable: bool = switch("movable")


@frozen(kw_only=True)
class FreePages(Written):
    """Drop the reference of a block that was allocated, and free it with the last one."""

    verb: ClassVar[str] = "free_pages"
    block: str = positional(NAME_WORD)


@frozen(kw_only=True)
class DrainAllPages(Written):
    """Give the pages on all CPUs' lists back to the buddy lists."""

    verb: ClassVar[str] = "drain_all_pages"


@frozen(kw_only=True)
class StartIsolatePageRange(Written):
    """Isolate the pageblocks of a block: what is free there, or freed later, stays there."""

    verb: ClassVar[str] = "start_isolate_page_range"
    block: str = positional(NAME_WORD)


@frozen(kw_only=True)
class UndoIsolatePageRange(Written):
    """Give isolated pageblocks back to movable pages."""

    verb: ClassVar[str] = "undo_isolate_page_range"
    block: str = positional(NAME_WORD)


@frozen(kw_only=True)
class OfflinePages(Written):
    """Take the pageblocks of a block offline; wait until everything there is free."""

    verb: ClassVar[str] = "offline_pages"
    block: str = positional(NAME_WORD)


@frozen(kw_only=True)
class OnlinePages(Written):
    """Bring the memory of `hotplug` online, as zone Movable of the last node."""

    verb: ClassVar[str] = "online_pages"
