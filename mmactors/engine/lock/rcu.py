"""Read-copy-update: readers never wait; who frees waits for all readers (kernel/rcu/tree.c, v6.1).

A grace period is over when every CPU that was inside a read section when it began has left it
once. Sections nest and may be interrupted; as in a kernel without preemption, a thread does not
sleep inside one. Each CPU has a list of callbacks; they run in the actor `rcu`, list by list in the
order of `call`. Those that come during a grace period wait for the next one. No run is over before
all have run.

A CPU that ran ahead may have left a section that others, at their time, still have to wait for: a
grace period therefore never ends before the last section of any CPU that has left one.

Left out: callback offloading, expedited grace periods, sleepable RCU, stall warnings.
"""

from collections.abc import Callable
from types import TracebackType
from typing import Final

from attrs import define

from mmactors.engine.actor import NEVER, Actor
from mmactors.engine.baton import Engine
from mmactors.engine.cpu import Cpu, sleep_for, wake_at
from mmactors.label import Label, Mode, rcu, rcu_callbacks


@define(eq=False)
class _GracePeriod:
    """One grace period: whom it waits for."""

    readers: dict[int, Cpu]
    at_ns: int = NEVER

    def describe(self) -> str:
        names = ", ".join(f"cpu{cpu.index} ({cpu.current})" for cpu in self.readers.values())
        return f"the read sections of {names}"


@define(eq=False)
class _Request:
    """What the actor `rcu` waits for when no callback is queued."""

    at_ns: int = NEVER

    def describe(self) -> str:
        return "a callback"


@define(eq=False)
class _Synchronized:
    """What `synchronize` waits for."""

    rcu: "Rcu"
    actor: Actor
    at_ns: int = NEVER

    def describe(self) -> str:
        period = self.rcu.period
        return "an RCU grace period" + (f": {period.describe()}" if period is not None else "")


class Rcu:
    """The readers and grace periods of one machine; make it when all CPUs are made."""

    def __init__(self, engine: Engine, cpus: list[Cpu]) -> None:
        self.period: _GracePeriod | None = None
        self.nr_periods = 0
        self._engine: Final = engine
        self._cpus: Final = cpus
        self._last_left_ns = 0
        self._callbacks: Final[list[list[Callable[[], None]]]] = [[] for _ in cpus]
        """By CPU: those that wait for the next grace period."""
        self._calling = 0
        """The CPU whose callback runs."""
        self._request = _Request()
        self._actor: Final = engine.spawn("rcu", self._run())
        self._labels: Final = [
            Label(f"rcu read section of cpu{cpu.index}", ((rcu(cpu.index), Mode.WRITE),))
            for cpu in cpus
        ]
        self._begin: Final = Label(
            "rcu grace period",
            (
                *((rcu(cpu.index), Mode.READ) for cpu in cpus),
                *((rcu_callbacks(cpu.index), Mode.WRITE) for cpu in cpus),
            ),
        )

    async def read_lock(self, cpu: Cpu) -> None:
        """Enter a read section on the running CPU (rcu_read_lock)."""
        if self._engine.wants_step():
            await self._engine.step(self._labels[cpu.index])
        cpu.rcu_nesting += 1

    async def read_unlock(self, cpu: Cpu) -> None:
        """Leave a read section (rcu_read_unlock)."""
        if self._engine.wants_step():
            await self._engine.step(self._labels[cpu.index])
        self.leave(cpu)

    def leave(self, cpu: Cpu) -> None:
        """Leave a read section without waiting for a turn."""
        assert cpu.rcu_nesting > 0, f"cpu{cpu.index} is in no read section"
        cpu.rcu_nesting -= 1
        if cpu.rcu_nesting:
            return
        self._last_left_ns = max(self._last_left_ns, cpu.clock.now)
        period = self.period
        if period is not None and cpu.index in period.readers:
            del period.readers[cpu.index]
            if not period.readers:
                self._end(period)

    def read(self, cpu: Cpu) -> "_ReadSection":
        """Return a context that is a read section."""
        return _ReadSection(self, cpu)

    def call(self, callback: Callable[[], None]) -> None:
        """Run `callback` after a grace period that begins from now on (call_rcu)."""
        engine = self._engine
        cpu = self._calling if engine.running is self._actor else engine.cpu_index
        if engine.is_exploring:
            engine.touch(rcu_callbacks(cpu), Mode.WRITE)
        self._callbacks[cpu].append(callback)
        self._owe(is_owed=True)
        request = self._request
        if request.at_ns == NEVER:
            request.at_ns = engine.current.clock.now
            if self._actor.waits_for is request:
                engine.make_ready(self._actor, request.at_ns)

    def nr_callbacks(self, cpu: int) -> int:
        """Return how many callbacks of a CPU wait for a grace period to begin."""
        return len(self._callbacks[cpu])

    async def synchronize(self) -> None:
        """Sleep until all read sections that are open now have been left (synchronize_rcu)."""
        engine = self._engine
        if engine.lock_observer is not None:
            engine.lock_observer.might_sleep("synchronize_rcu")
        synchronized = _Synchronized(self, engine.current)

        def callback() -> None:
            synchronized.at_ns = engine.current.clock.now
            wake_at(engine, synchronized.actor, synchronized.at_ns)

        self.call(callback)
        await sleep_for(engine, synchronized, "synchronize_rcu")

    async def _run(self) -> None:
        engine = self._engine
        while True:
            await engine.wait_for(self._request, "wait")
            self._request = _Request()
            await engine.step(self._begin)
            callbacks = [(cpu, each) for cpu, own in enumerate(self._callbacks) for each in own]
            for own in self._callbacks:
                own.clear()
            period = _GracePeriod({cpu.index: cpu for cpu in self._cpus if cpu.rcu_nesting})
            self.period = period
            if not period.readers:
                self._end(period)
            await engine.wait_for(period, "grace period")
            self.period = None
            self.nr_periods += 1
            for self._calling, callback in callbacks:
                callback()
            if not any(self._callbacks):
                self._owe(is_owed=False)

    def _owe(self, *, is_owed: bool) -> None:
        """Let no run be over with callbacks left; in a search they may be, and both is tried."""
        if not self._engine.is_exploring:
            self._engine.keep_for(self._actor, is_busy=is_owed)

    def _end(self, period: _GracePeriod) -> None:
        period.at_ns = self._last_left_ns
        if self._actor.waits_for is period:
            self._engine.make_ready(self._actor, period.at_ns)


@define(eq=False)
class _ReadSection:
    """`async with rcu.read(cpu)`."""

    rcu: Rcu
    cpu: Cpu

    async def __aenter__(self) -> None:
        await self.rcu.read_lock(self.cpu)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None:
            await self.rcu.read_unlock(self.cpu)
        elif issubclass(kind, Exception):
            self.rcu.leave(self.cpu)  # no step: the body's own steps are over
