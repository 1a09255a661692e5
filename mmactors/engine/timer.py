"""Sleeping for a time: the CPU's local timer interrupts and wakes the thread (kernel/time, v6.1).

Left out: timer slack, the tick, timers that move to another CPU.
"""

from typing import Final

from attrs import define

from mmactors.engine.actor import Actor
from mmactors.engine.baton import Engine
from mmactors.engine.cpu import Cpu, Interrupt

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

    async def sleep_ns(self, cpu: Cpu, ns: int) -> None:
        """Let the running thread of `cpu` sleep for `ns`, or a little longer."""
        thread = self.engine.current
        sleep = _Sleep(cpu.clock.now + ns)
        cpu.assert_may_sleep(sleep)

        async def handler(target: Cpu) -> None:
            wake_up(target, thread)

        tracer = self.engine.tracer
        span = None if tracer is None else tracer.on_behalf_of(thread)
        cpu.raise_interrupt(Interrupt(LOCAL_TIMER, handler, span), latency_ns=ns)
        await cpu.sleep(sleep, "sleep")


def wake_up(cpu: Cpu, thread: Actor) -> None:
    """Wake a thread from an interrupt handler of its CPU."""
    cpu.wake(thread, cpu.clock.now)
