"""The primitives of a world: what concurrent code has to wait, to count, to signal, to interrupt.

Each is made by its name; no two objects of a world have the same.
"""

from typing import Any, Final

from mmactors.engine.actor import Processor
from mmactors.engine.lock.section import Section
from mmactors.explore.engine.search_actor import SearchActor
from mmactors.explore.engine.untimed import SearchEngine
from mmactors.explore.world.atomic import SharedAtomic
from mmactors.explore.world.barrier import SharedBarrier
from mmactors.explore.world.condition import SharedCondition
from mmactors.explore.world.event import SharedEvent
from mmactors.explore.world.interrupt import Handler, Source, cpu_of, own_step
from mmactors.explore.world.lock import SharedLock
from mmactors.explore.world.once_flag import SharedOnceFlag
from mmactors.explore.world.rwlock import SharedRwLock
from mmactors.explore.world.semaphore import SharedSemaphore


class Primitives:
    """Makes them."""

    __slots__ = ("engine",)

    def __init__(self, engine: SearchEngine) -> None:
        self.engine: Final = engine
        """For actors and locks of `mmactors.engine`, which run under the search as they are."""

    def condition(self, name: str, lock: SharedLock) -> SharedCondition:
        """Make a condition variable of what `lock` guards; several may share the lock."""
        return SharedCondition(self.engine, name, lock)

    def semaphore(
        self, name: str, value: int = 1, *, max_value: int | None = None
    ) -> SharedSemaphore:
        """Make a counting semaphore; to give back more than `max_value` is an error."""
        return SharedSemaphore(self.engine, name, value, max_value=max_value)

    def event(self, name: str) -> SharedEvent:
        """Make a flag that can be waited for; it is not set."""
        return SharedEvent(self.engine, name)

    def once_flag(self, name: str) -> SharedOnceFlag:
        """Make a flag whose `call(function)` does something once (call_once)."""
        return SharedOnceFlag(self.engine, name)

    def rwlock(self, name: str, *, fair: bool = True) -> SharedRwLock:
        """Make a lock that readers share; if it is `fair`, they wait behind a waiting writer."""
        return SharedRwLock(self.engine, name, fair=fair)

    def barrier(self, name: str, parties: int) -> SharedBarrier:
        """Make a place that `parties` actors leave together, again and again."""
        return SharedBarrier(self.engine, name, parties)

    def atomic(self, name: str, value: Any = 0) -> SharedAtomic:
        """Make a shared value whose operations take an order, as those of C and C++."""
        return SharedAtomic(self.engine, name, value)

    # -- interrupts --------------------------------------------------------------------------------

    def interrupt(self, name: str, handler: Handler, *, on: SearchActor, times: int = 1) -> None:
        """Let `await handler()` come between any two steps of the actor `on`, or not at all.

        It comes at most `times` times in a schedule. Threads of a `world.cpu` have that CPU's.
        """
        assert times > 0, f"{name} comes {times} times; expected at least once"
        cpu_of(self.engine, on).add(Source(name, handler, times))

    async def local_irq_disable(self) -> None:
        """Take no interrupts on the running actor's CPU from now on; nests."""
        cpu = self._own_cpu()
        await own_step(self.engine, cpu, "local_irq_disable on")
        cpu.disable_irqs()

    async def local_irq_enable(self) -> None:
        """Take interrupts again; those that waited may come at once."""
        cpu = self._own_cpu()
        cpu.enable_irqs()
        await own_step(self.engine, cpu, "local_irq_enable on")

    def irqs_off(self) -> Section:
        """Return a context without interrupts (local_irq_save ... local_irq_restore)."""
        return Section(self.local_irq_disable, self.local_irq_enable)

    def _own_cpu(self) -> Processor:
        actor = self.engine.current
        cpu = actor.cpu
        assert cpu is not None, (
            f"{actor} has no interrupts: make some with world.interrupt(name, handler, on=...)"
        )
        return cpu
