"""Small machines of bare actors, for tests of the engine."""

from collections.abc import Coroutine
from typing import Any

import trio

from mmactors.engine.actor import Actor
from mmactors.engine.baton import Engine
from mmactors.engine.config import EngineConfig
from mmactors.engine.cpu import Cpu
from mmactors.engine.policy import make_policy
from mmactors.engine.schedule import Replay, Schedule
from mmactors.engine.scope import DriverScope


def engine_of(*, schedule: Schedule | None = None, **options: Any) -> Engine:
    """Return an engine that is exact and inline unless the options say otherwise."""
    config = EngineConfig(**{"quantum_ns": 0, "driver": "inline"} | options)
    policy = make_policy(config)
    return Engine(config, policy=policy if schedule is None else Replay(schedule, policy))


def cpu_of(engine: Engine, index: int, *, switch_ns: int = 0, slice_ns: int = 1000) -> Cpu:
    """Return a CPU whose switches cost nothing unless told otherwise."""
    return Cpu(
        engine, index, switch_ns=switch_ns, slice_ns=slice_ns, on_switch=lambda cpu, thread: None
    )


def run(engine: Engine, *, until_ns: int | None = None) -> None:
    """Move the machine to its end, or to a time, under the driver that its options name."""

    async def main() -> None:
        async with DriverScope(engine) as driver:
            if until_ns is not None:
                engine.until_ns = until_ns
            await driver.run()

    trio.run(main)


class Log:
    """Takes down what actors did, with the time and who."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.entries: list[tuple[int, str, str]] = []

    def __call__(self, what: str) -> None:
        actor = self.engine.current
        self.entries.append((actor.clock.now, actor.name, what))

    def texts(self) -> list[str]:
        """Return what was done, in order."""
        return [what for _, _, what in self.entries]

    def times(self) -> dict[str, int]:
        """Return when each thing was done last."""
        return {what: now for now, _, what in self.entries}


def spawn(engine: Engine, name: str, coro: Coroutine[Any, Any, None]) -> Actor:
    """Spawn an actor whose end the run waits for."""
    return engine.spawn(name, coro, daemon=False)


def thread(cpu: Cpu, name: str, coro: Coroutine[Any, Any, None], *, at_ns: int = 0) -> Actor:
    """Spawn a thread on a CPU."""
    return cpu.spawn_thread(name, coro, at_ns=at_ns)
