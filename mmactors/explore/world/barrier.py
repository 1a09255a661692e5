"""Barriers for models: nobody goes on before all have come.

Names are those of threading. A barrier is reusable: who comes when all have gone on begins a new
round. To come is a locked operation.
"""

from typing import Final

from attrs import define, field

from mmactors.engine.actor import NEVER, Actor
from mmactors.explore.engine.untimed import SearchEngine
from mmactors.explore.world.shared import Shared


@define(eq=False)
class _Round:
    """Those who have come, until all have."""

    barrier: "SharedBarrier"
    here: list[Actor] = field(factory=list)
    at_ns: int = NEVER

    def describe(self) -> str:
        return self.barrier.describe()


class SharedBarrier(Shared):
    """A place that so many actors leave together."""

    __slots__ = ("_parties", "_round", "_wait")

    def __init__(self, engine: SearchEngine, name: str, parties: int) -> None:
        assert parties > 0, f"{name} is for {parties} parties; expected at least one"
        super().__init__(engine, name)
        self._parties: Final = parties
        self._round = _Round(self)
        self._wait: Final = self._step("wait at")

    def key(self) -> tuple[int, ...]:
        """Return who has come, as numbers."""
        return tuple(actor.index for actor in self._round.here)

    def show(self) -> str:
        """Return who has come."""
        return ", ".join(actor.name for actor in self._round.here) or "nobody"

    def describe(self) -> str:
        """Say which barrier this is, and who has come."""
        nr_missing = self._parties - len(self._round.here)
        return f"{nr_missing} more at {self.name}, where {self.show()} waits"

    async def wait(self) -> int:
        """Wait until all have come; return as how many-th this one came, counted from 0."""
        engine = self._engine
        await self._locked(self._wait)
        this = self._round
        place = len(this.here)
        if place + 1 < self._parties:
            this.here.append(engine.current)
            await engine.wait_for(this, f"leave {self.name}")
            return place
        self._round = _Round(self)
        this.at_ns = engine.current.clock.now
        for actor in this.here:
            engine.make_ready(actor, this.at_ns)
        return place
