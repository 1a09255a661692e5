"""The slow path of a machine that has nothing to reclaim: each request fails at once.

As if reclaim and compaction had gone through everything and found nothing, and the OOM killer
nobody to kill (mm/vmscan.c, mm/compaction.c, mm/oom_kill.c, Linux 6.1). Waking kswapd is an event.
"""

from attrs import define

from mmactors.engine.cpu import Cpu
from mmactors.engine.probe import EngineProbe
from mmactors.events import MmVmscanWakeupKswapd
from mmactors.mm.page_alloc.slow_path import (
    FAILED_AT_ONCE,
    DirectCompact,
    DirectReclaim,
    OutOfMemory,
    SlowPathAnswer,
    WakeupKswapd,
)


@define(eq=False)
class NothingToReclaim:
    """Answers for a machine without LRU lists, migration and OOM killer."""

    probe: EngineProbe

    def wake_kswapd(self, request: WakeupKswapd) -> None:
        """Emit the tracepoint; nobody sleeps there."""
        if self.probe.on:
            self.probe.emit(
                MmVmscanWakeupKswapd(
                    nid=request.node,
                    zid=request.highest_zoneidx,
                    order=request.order,
                    gfp_flags=request.gfp,
                )
            )

    async def direct_reclaim(self, cpu: Cpu, request: DirectReclaim) -> SlowPathAnswer:
        """Find nothing."""
        del cpu, request
        return FAILED_AT_ONCE

    async def direct_compact(self, cpu: Cpu, request: DirectCompact) -> SlowPathAnswer:
        """Find nothing."""
        del cpu, request
        return FAILED_AT_ONCE

    async def out_of_memory(self, cpu: Cpu, request: OutOfMemory) -> SlowPathAnswer:
        """Find nobody."""
        del cpu, request
        return FAILED_AT_ONCE
