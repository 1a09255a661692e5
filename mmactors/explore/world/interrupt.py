"""Interrupts for actors of a world that has no CPUs: what comes between any two steps of one actor.

The actor gets a processor of its own, which nobody else runs on. An interrupt may be taken before
each of the actor's steps, also while it waits, and after its last one; or never. Its handler runs
on the actor, with interrupts off, so that handlers do not interrupt each other.

To turn interrupts off is a step: what was pending may still come before it. What comes after they
are on again has a step of its own, too.

Left out: what belongs to a real CPU, such as threads that share it (`world.cpu`).
"""

from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Final

from attrs import define, field

from mmactors.engine.actor import NEVER, PARKING, Actor, Clock, Waitable
from mmactors.explore.engine.search_actor import SearchActor
from mmactors.explore.engine.step import Step
from mmactors.explore.engine.untimed import SearchEngine
from mmactors.label import Mode

Handler = Callable[[], Coroutine[Any, Any, object]]
_PENDING: Final = -1
"""When an interrupt can be taken that can be taken at any time: before all others."""


@define(eq=False)
class Source:
    """Where interrupts come from: a device, a timer, another CPU."""

    name: str
    handler: Handler
    times: int
    """How many may still come."""


@define(eq=False, repr=False)
class OwnCpu:
    """The processor of one actor."""

    engine: SearchEngine
    current: Actor
    name: str
    index: int = 0
    idle: Actor = field(init=False)
    """Who runs when nobody else does: there is nobody else."""
    clock: Clock = field(init=False)
    contexts: list[str] = field(factory=list)
    spinlocks_held: int = 0
    rcu_nesting: int = 0
    nr_iowait: int = 0
    interrupt_ns: int = NEVER
    sources: list[Source] = field(factory=list)
    _irqs_off: int = 0
    _is_awake: bool = True

    def __attrs_post_init__(self) -> None:
        self.clock = self.current.clock
        self.idle = self.current
        self.engine.objects[self.name] = self

    def key(self) -> Hashable:
        """Return what may still come, and whether it may now."""
        left = tuple(source.times for source in self.sources)
        return left, self._irqs_off, tuple(self.contexts)

    def show(self) -> str:
        """Return what it does, and whether interrupts are off."""
        if self.contexts:
            return f"in {' > '.join(self.contexts)}"
        return "interrupts off" if self._irqs_off else "interrupts on"

    # -- interrupts --------------------------------------------------------------------------------

    @property
    def irqs_enabled(self) -> bool:
        """Whether interrupts are taken."""
        return self._irqs_off == 0

    def add(self, source: Source) -> None:
        """Let interrupts come from `source`, too."""
        self.sources.append(source)
        self._changed()

    def has_interrupt(self) -> bool:
        """Whether an interrupt can be taken now."""
        return self.interrupt_ns < NEVER

    def pending_vectors(self) -> list[str]:
        """Return the names of what may still come."""
        return [source.name for source in self.sources if source.times]

    async def take_interrupts(self) -> None:
        """Take one of the interrupts that may come."""
        pending = [source for source in self.sources if source.times]
        source = pending[0]
        if len(pending) > 1:
            names = [each.name for each in pending]
            source = pending[names.index(await self.engine.choose("which", names))]
        source.times -= 1
        self.contexts.append(source.name)
        self.disable_irqs()
        await source.handler()
        self.contexts.pop()
        self.enable_irqs()

    def disable_irqs(self) -> None:
        """Take no interrupts until `enable_irqs` was called as often."""
        self._irqs_off += 1
        if self._irqs_off == 1 and self.engine.lock_observer is not None:
            self.engine.lock_observer.irqs_disabled(self)
        self._changed()

    def enable_irqs(self) -> None:
        """Undo one `disable_irqs`."""
        assert self._irqs_off > 0, f"{self.name}: interrupts are on already"
        self._irqs_off -= 1
        if not self._irqs_off and self.engine.lock_observer is not None:
            self.engine.lock_observer.irqs_enabled(self)
        self._changed()

    def _changed(self) -> None:
        may_come = not self._irqs_off and any(source.times for source in self.sources)
        self.interrupt_ns = _PENDING if may_come else NEVER

    # -- what only a CPU with threads does ---------------------------------------------------------

    def assert_may_sleep(self, waitable: Waitable) -> None:
        """Do nothing: whoever waits here gives no CPU away."""

    async def sleep(self, waitable: Waitable, label: str, *, state: int = 0) -> None:  # noqa: ARG002 - of Processor
        """Wait until `wake` is called; nobody else wants the processor meanwhile."""
        self._is_awake = False
        while not self._is_awake:
            await self.engine.wait(waitable, label)

    def wake(self, thread: Actor, at_ns: int) -> None:
        """Let the actor go on."""
        self._is_awake = True
        self.engine.make_ready(thread, at_ns)

    def exit_thread(self, state: int = 0) -> None:
        """Do nothing: the processor ends with its actor."""

    def queued(self) -> list[Actor]:
        """Return nobody: there is one actor."""
        return []


class _ToItsEnd:
    """Sends an actor on, and, when its coroutine has ended, through one more step on its CPU."""

    def __init__(self, actor: SearchActor, cpu: OwnCpu) -> None:
        self._actor: Final = actor
        self._cpu: Final = cpu
        self._has_ended = False
        self._result: object = None

    def __call__(self, value: None) -> Any:
        """Go on."""
        actor = self._actor
        try:
            return actor.coro.send(value)
        except StopIteration as stop:
            if self._has_ended:
                raise StopIteration(self._result) from None
            self._has_ended = True
            self._result = stop.value
        actor.coro = self._end()
        return self(value)

    async def _end(self) -> None:
        if self._cpu.pending_vectors():
            await own_step(self._cpu.engine, self._cpu, "end on")


async def own_step(engine: SearchEngine, cpu: Any, what: str) -> None:
    """Wait for the turn to do what only the own CPU knows of; interrupts come before."""
    step: Step = engine.steps.of(f"{what} {cpu.name}", ((cpu.name, Mode.WRITE),))
    engine.parked = step
    await PARKING
    if engine.detour:
        await engine.take_interrupts(step)


def cpu_of(engine: SearchEngine, actor: SearchActor) -> OwnCpu:
    """Return the processor of an actor; it gets one if it has none."""
    known = actor.cpu
    if known is None:
        cpu = OwnCpu(engine, actor, f"cpu of {actor.name}")
        actor.cpu = cpu
        actor.send = _ToItsEnd(actor, cpu)
        return cpu
    assert isinstance(known, OwnCpu), f"{actor} runs on {known.name}: raise interrupts on that"
    return known
