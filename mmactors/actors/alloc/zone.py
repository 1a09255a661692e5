"""The zone actor: its mailbox is zone->lock, its service time is the hold time (mm/page_alloc.c).

A CPU that asks spins with interrupts off, as 6.1 takes zone->lock; queueing in the mailbox is lock
contention and is counted as such in lock_stat.
"""

from collections import deque
from collections.abc import Callable
from typing import Any

from attrs import define, field

from mmactors.actors.state.costs import KernelCosts
from mmactors.engine.actor import Actor
from mmactors.engine.baton import Engine
from mmactors.engine.lock.lock_observer import StandIn
from mmactors.engine.lock.lock_stat import LockClass
from mmactors.engine.mailbox import Mailbox, Request
from mmactors.engine.probe import EngineProbe
from mmactors.events.wait import LCB_F_SPIN
from mmactors.label import PAGEBLOCK, PAGES, Label, Mode, pageblock, pcp, vmstat
from mmactors.mm.page_alloc.order import PAGEBLOCK_ORDER
from mmactors.mm.page_alloc.serve_zone import serve_zone
from mmactors.mm.page_alloc.zone import Zone
from mmactors.mm.page_alloc.zone_request import (
    FreeOnePage,
    FreePcppagesBulk,
    LockedEvent,
    OfflineIsolatedPages,
    OnlinePages,
    RmqueueBulk,
    SetMigratetypeIsolate,
    UnsetMigratetypeIsolate,
    ZoneAnswer,
    ZoneRequest,
)


@define(eq=False, kw_only=True)
class ZoneActor:
    """Serves what happens under one zone's lock."""

    engine: Engine
    mailbox: Mailbox[Request[Any]]
    zone: Zone
    """Owned: its free lists are touched here only."""
    section: Callable[[Zone, ZoneRequest], ZoneAnswer] = serve_zone
    """Does what is asked for, under the lock."""
    costs: KernelCosts
    lock_class: LockClass
    probe: EngineProbe
    _sections: deque[tuple[int, Actor]] = field(factory=deque, init=False)
    """Until when the lock was held, and for whom; the last ones, while events are recorded."""

    async def serve(self) -> None:
        """Answer requests for ever."""
        engine = self.engine
        clock = engine.current.clock
        while True:
            request = await self.mailbox.receive()
            asker = request.reply.asker
            began_ns = clock.now
            if self.probe.on:
                self._tell_wait(asker, began_ns)
            self._declare(request.body)
            answer = self.section(self.zone, request.body)
            if answer.events:
                self._tell(asker, answer.events)
            await engine.spend(self._hold_ns(request.body, answer))
            if self.probe.on:
                self._sections.append((clock.now, asker))
            self.lock_class.account(
                cpu=asker.cpu,
                waited_ns=began_ns - asker.clock.now,
                held_ns=clock.now - began_ns,
            )
            request.reply.send(answer)

    def _tell(self, asker: Actor, events: tuple[LockedEvent, ...]) -> None:
        """Emit what happened under the lock: it is this actor's doing, for the asker."""
        actor = self.engine.current
        actor.span = self.probe.on_behalf_of(asker)
        for event in events:
            self.probe.emit(event)
        actor.span = None

    def _tell_wait(self, asker: Actor, began_ns: int) -> None:
        """Emit that the asker had to wait; only now it is known for how long."""
        asked_ns = asker.clock.now
        sections = self._sections
        while sections and sections[0][0] <= asked_ns:
            sections.popleft()
        if began_ns > asked_ns:
            holder = sections[0][1] if sections else None
            lock = StandIn(self.mailbox.name, self.lock_class)
            self.probe.contended(lock, asker, holder, LCB_F_SPIN, wait_ns=began_ns - asked_ns)

    def _declare(self, request: ZoneRequest) -> None:
        """Say what the section touches, for guard mode and for searches."""
        engine = self.engine
        if not engine.guard.on and not engine.is_exploring:
            return
        label = zone_label(request)
        if engine.guard.on:
            engine.guard.begin(engine.current, label)
        for name, mode in label.touches if engine.is_exploring else ():
            engine.touch(name, mode)

    def _hold_ns(self, request: ZoneRequest, answer: ZoneAnswer) -> int:
        """Return how long the lock is held: a fixed part, and one for each block that moves."""
        nr_moved = request.count if isinstance(request, FreePcppagesBulk) else answer.nr_moved
        return self.costs.zone_lock_ns + max(nr_moved, 1) * self.costs.zone_page_ns


def zone_label(request: ZoneRequest) -> Label:
    """Return what a section under zone->lock touches besides the free lists, which are the lock's.

    Counters of free pages change in the zone and on the asking CPU; lists of CPUs where the request
    names them. Types of pageblocks change only when one is isolated: stealing one, or reserving it,
    matters to nobody who reads the type without the lock.
    """
    touches = [(vmstat(request.zone), Mode.WRITE)]
    match request:
        case RmqueueBulk(cpu=cpu):
            touches.append((pcp(cpu), Mode.WRITE))
        case FreePcppagesBulk(cpu=cpu, pcp_cpu=pcp_cpu):
            touches.append((pcp(cpu if pcp_cpu is None else pcp_cpu), Mode.WRITE))
            touches.append((PAGEBLOCK, Mode.READ))
        case FreeOnePage(pfn=pfn):
            touches.append((pageblock(pfn >> PAGEBLOCK_ORDER), Mode.READ))
        case SetMigratetypeIsolate(pfn=pfn) | UnsetMigratetypeIsolate(pfn=pfn):
            touches.append((pageblock(pfn >> PAGEBLOCK_ORDER), Mode.WRITE))
            touches.append((PAGES, Mode.READ))
        case OfflineIsolatedPages() | OnlinePages():
            touches += [(PAGEBLOCK, Mode.WRITE), (PAGES, Mode.WRITE)]
        case _:
            pass
    return Label(type(request).__name__, tuple(touches))
