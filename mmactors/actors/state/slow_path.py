"""The port through which the allocator reaches what reclaims, which itself allocates and frees.

The kernel object has one, set by who wires the machine; alloc/ knows no more of reclaim than this.
"""

from typing import Protocol

from mmactors.engine.cpu import Cpu
from mmactors.mm.page_alloc.slow_path import (
    DirectCompact,
    DirectReclaim,
    OutOfMemory,
    SlowPathAnswer,
    WakeupKswapd,
)


class SlowPath(Protocol):
    """Answers the allocator when zones are short.

    It is called with interrupts off; who waits turns them on meanwhile.
    """

    def wake_kswapd(self, request: WakeupKswapd) -> None:
        """Let kswapd of a node look at its zones."""

    async def direct_reclaim(self, cpu: Cpu, request: DirectReclaim) -> SlowPathAnswer:
        """Take pages away from others (__perform_reclaim)."""

    async def direct_compact(self, cpu: Cpu, request: DirectCompact) -> SlowPathAnswer:
        """Move pages until a block is free (try_to_compact_pages)."""

    async def out_of_memory(self, cpu: Cpu, request: OutOfMemory) -> SlowPathAnswer:
        """Let a process die (out_of_memory)."""
