"""Calling functions on other CPUs (kernel/smp.c, v6.1): an interrupt to each, and a spin for all.

The caller spins until every target has run the handler; it takes interrupts itself meanwhile, so
two CPUs that call each other both get on. Calling with interrupts off could hang two CPUs for ever
and is an error, as the kernel warns. A handler runs with interrupts off and asks nobody.
"""

from collections.abc import Awaitable, Callable, Sequence

from attrs import define, field

from mmactors.engine.actor import NEVER, Actor
from mmactors.engine.chance import IPI_IS_LATE, SentIpi
from mmactors.engine.cpu import Cpu, Interrupt
from mmactors.engine.report import EngineError
from mmactors.label import Label, Mode, cpu_context


class CallWithInterruptsOff(EngineError):  # noqa: N818 - says what happened
    """A CPU called others while it could not have been called itself."""


@define(eq=False)
class _Call:
    """One call, until all targets have run it."""

    vector: str
    caller: Actor
    pending: dict[int, Cpu]
    """Targets that have not run the handler yet, by number."""
    at_ns: int = NEVER
    """When the last of them had."""
    _last_ns: int = field(default=0, init=False)

    def acknowledge(self, cpu: Cpu) -> None:
        del self.pending[cpu.index]
        self._last_ns = max(self._last_ns, cpu.clock.now)
        if not self.pending:
            self.at_ns = self._last_ns
            cpu.engine.make_ready(self.caller, self.at_ns)

    def describe(self) -> str:
        waiting = ", ".join(
            f"cpu{cpu.index} (interrupts {'on' if cpu.irqs_enabled else 'off'}, runs {cpu.current})"
            for cpu in self.pending.values()
        )
        return f"interrupt {self.vector} to be handled by {waiting}"


async def call_on(
    cpu: Cpu,
    targets: Sequence[Cpu],
    handler: Callable[[Cpu], Awaitable[None]],
    *,
    vector: str,
    latency_ns: int,
    condition: Callable[[Cpu], bool] | None = None,
    meanwhile: Callable[[], Awaitable[None]] | None = None,
) -> None:
    """Run `handler` on every target; return when all have (smp_call_function_many_cond).

    `cpu` is the CPU of the caller and no target. Each target is interrupted `latency_ns` after now,
    unless `condition` says, when the interrupts are sent, that it need not be. `meanwhile` is what
    the caller does between sending and waiting.
    """
    engine = cpu.engine
    caller = engine.current
    assert cpu not in targets, f"cpu{cpu.index} calls itself"
    if not cpu.irqs_enabled:
        raise CallWithInterruptsOff(
            f"{caller} calls {', '.join(f'cpu{target.index}' for target in targets)} ({vector}) "
            "with interrupts off: should one of them do the same, both would hang"
        )
    if targets:
        touches = tuple((cpu_context(target.index), Mode.WRITE) for target in targets)
        await engine.step(Label(f"call {vector}", touches))
        if engine.lock_observer is not None:
            engine.lock_observer.wait_for_ipi(vector, tuple(targets))
    if condition is not None:
        targets = [target for target in targets if condition(target)]
    call = _Call(vector, caller, {target.index: target for target in targets})
    tracer = engine.tracer
    number, span = 0, None
    if tracer is not None and targets:
        number, span = tracer.send_ipi(vector, targets)

    async def handle_and_acknowledge(target: Cpu) -> None:
        began_ns = target.clock.now
        await handler(target)
        if tracer is not None:
            tracer.ipi_handled(number, vector, target.clock.now - began_ns)
        call.acknowledge(target)

    interrupt = Interrupt(vector, handle_and_acknowledge, span)
    for target in targets:
        late_ns = 0
        if engine.allowed:
            late_ns = engine.late_ns(IPI_IS_LATE, SentIpi(vector, target.index))
        target.raise_interrupt(interrupt, latency_ns=latency_ns + late_ns)
    if meanwhile is not None:
        await meanwhile()
    if targets:
        await engine.wait_for(call, f"called {vector}")
