"""Who calls an object allocator: what reports and traces say of it."""

from typing import Final

from attrs import frozen


@frozen(kw_only=True)
class SlabCaller:
    """Who calls the allocator, and when."""

    site: str = ""
    """The function that called, such as `fork_init+0x10/0x20`; empty: nobody is told."""
    stack: tuple[str, ...] = ()
    """Its callers, the nearest first, as far as they were saved."""
    pid: int = 0
    jiffies: int = 0


NOBODY: Final = SlabCaller()
