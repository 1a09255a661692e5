"""The zone actor: its mailbox is zone->lock, its service time is the hold time (mm/page_alloc.c).

A CPU that asks spins with interrupts off, as 6.1 takes zone->lock; queueing in the mailbox is lock
contention and is counted as such in lock_stat.
"""

from typing import Any

from attrs import define

from mmactors.actors.costs import KernelCosts
from mmactors.engine.baton import Engine
from mmactors.engine.lock_stat import LockClass
from mmactors.engine.mailbox import Mailbox, Request
from mmactors.events import Probe
from mmactors.mm.zone import Zone
from mmactors.mm.zone_request import FreePcppagesBulk, ZoneAnswer, ZoneRequest


@define(eq=False, kw_only=True)
class ZoneActor:
    """Serves what happens under one zone's lock."""

    engine: Engine
    mailbox: Mailbox[Request[Any]]
    zone: Zone
    """Owned: its free lists are touched here only."""
    costs: KernelCosts
    lock_class: LockClass
    probe: Probe

    async def serve(self) -> None:
        """Answer requests for ever."""
        engine = self.engine
        clock = engine.current.clock
        while True:
            request = await self.mailbox.receive()
            asker = request.reply.asker
            began_ns = clock.now
            answer = self.zone.serve(request.body)
            for event in answer.events:
                self.probe.emit(event)
            await engine.spend(self._hold_ns(request.body, answer))
            self.lock_class.account(
                cpu=asker.cpu,
                waited_ns=began_ns - asker.clock.now,
                held_ns=clock.now - began_ns,
            )
            request.reply.send(answer)

    def _hold_ns(self, request: ZoneRequest, answer: ZoneAnswer) -> int:
        """Return how long the lock is held: a fixed part, and one for each block that moves."""
        nr_moved = request.count if isinstance(request, FreePcppagesBulk) else answer.nr_moved
        return self.costs.zone_lock_ns + max(nr_moved, 1) * self.costs.zone_page_ns
