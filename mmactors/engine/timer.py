"""Sleeping for a time: the CPU's local timer interrupts and wakes the thread (kernel/time, v6.1).

Left out: timer slack, the tick, timers that move to another CPU.
"""

from typing import Final

from attrs import define, field

from mmactors.engine.actor import NEVER, Actor
from mmactors.engine.baton import Engine
from mmactors.engine.cpu import Cpu, Interrupt
from mmactors.engine.report import time_is_up

LOCAL_TIMER: Final = "LOC"
"""Local timer interrupts, the row of /proc/interrupts."""


@define(eq=False)
class _Sleep:
    """One thread that sleeps for a time."""

    until_ns: int

    def describe(self) -> str:
        return f"the time {self.until_ns} ns"


@define(eq=False)
class Timer:
    """Wakes threads at a time."""

    engine: Engine
    _asleep: dict[Actor, Interrupt] = field(factory=dict, init=False)
    """Who sleeps, and what will wake it."""

    async def sleep_ns(self, cpu: Cpu, ns: int) -> None:
        """Let the running thread of `cpu` sleep for `ns` or a little longer, or until a signal.

        Raises TimeIsUp if virtual time ends before.
        """
        thread = self.engine.current
        sleep = _Sleep(cpu.clock.now + ns)
        cpu.assert_may_sleep(sleep)
        if sleep.until_ns >= NEVER:
            raise time_is_up(thread, sleep.until_ns)

        async def handler(target: Cpu) -> None:
            del self._asleep[thread]
            target.wake(thread, target.clock.now)

        tracer = self.engine.tracer
        span = None if tracer is None else tracer.on_behalf_of(thread)
        interrupt = self._asleep[thread] = Interrupt(LOCAL_TIMER, handler, span)
        cpu.raise_interrupt(interrupt, latency_ns=ns)
        await cpu.sleep(sleep, "sleep")

    def cut_short(self, thread: Actor, at_ns: int) -> None:
        """Wake a thread whose sleep a signal ends, if it sleeps; its timer is cancelled."""
        interrupt = self._asleep.pop(thread, None)
        if interrupt is not None:
            assert isinstance(thread.cpu, Cpu), f"{thread} sleeps but has no CPU"
            thread.cpu.cancel_interrupt(interrupt)
            thread.cpu.wake(thread, at_ns)
