"""Sleeping for a time: the CPU's local timer interrupts and wakes the thread (kernel/time, v6.1).

Left out: timer slack, the tick, timers that move to another CPU.
"""

from collections.abc import Callable
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

        def wake(now_ns: int) -> None:
            del self._asleep[thread]
            cpu.wake(thread, now_ns)

        self._asleep[thread] = self.start(cpu, ns, wake)
        await cpu.sleep(sleep, "sleep")

    def start(self, cpu: Cpu, ns: int, expire: Callable[[int], None]) -> Interrupt:
        """Let `expire` be told the time in an interrupt of `cpu`, after `ns` (hrtimer_start).

        On behalf of the running thread, which may cancel the interrupt.
        """

        async def handler(target: Cpu) -> None:
            expire(target.clock.now)

        tracer = self.engine.tracer
        span = None if tracer is None else tracer.on_behalf_of(self.engine.current)
        interrupt = Interrupt(LOCAL_TIMER, handler, span)
        cpu.raise_interrupt(interrupt, latency_ns=ns)
        return interrupt

    def cut_short(self, thread: Actor, at_ns: int) -> None:
        """Wake a thread whose sleep a signal ends, if it sleeps; its timer is cancelled."""
        interrupt = self._asleep.pop(thread, None)
        if interrupt is not None:
            assert isinstance(thread.cpu, Cpu), f"{thread} sleeps but has no CPU"
            thread.cpu.cancel_interrupt(interrupt)
            thread.cpu.wake(thread, at_ns)
