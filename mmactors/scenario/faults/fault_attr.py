"""Whether a fault is injected now (lib/fault-inject.c, should_fail_ex, Linux 6.1).

Left out: fail-nth of a task (interval with times 1 says the same of all), rate limits of messages.
"""

from collections.abc import Container
from random import Random
from typing import Final

from mmactors.engine.actor import Actor
from mmactors.scenario.faults.config import FOR_EVER, FaultAttrConfig


class FaultAttr:
    """One kind of fault: what is left of its limits, and its draws (struct fault_attr)."""

    def __init__(self, name: str, config: FaultAttrConfig, *, seed: int) -> None:
        self.name: Final = name
        self.config: Final = config
        self.times: int = config.times
        """How many more there may be; -1: any number."""
        self.space: int = config.space
        self.nr_injected = 0
        self._count = 0
        self._random: Final = Random(f"{seed} {name}")

    def should_fail(
        self, actor: Actor, size: int, sites: tuple[str, ...], *, filtered: Container[int | None]
    ) -> bool:
        """Return whether it happens to `actor`; `filtered`: pids of who is to fail at all.

        `sites`: functions on the stack. The caller counts it with `inject` then.
        """
        config = self.config
        if config.task_filter and not (_in_task(actor) and actor.pid in filtered):
            return False
        if self.times == 0:
            return False
        if self.space > size:
            self.space -= size
            return False
        if config.interval > 1:
            self._count += 1
            if self._count % config.interval:
                return False
        if config.probability <= self._random.randrange(100):
            return False
        # 6.1 looks at the stack last: interval counts what is filtered out here, too.
        if any(site in config.reject for site in sites):
            return False
        return not config.require or any(site in config.require for site in sites)

    def inject(self) -> None:
        """Count one that happens."""
        self.nr_injected += 1
        if self.times != FOR_EVER:
            self.times -= 1

    def draw_ns(self, most_ns: int) -> int:
        """Return a time from 1 to `most_ns`."""
        return 1 + self._random.randrange(most_ns)


def _in_task(actor: Actor) -> bool:
    """Say whether a thread runs, and no interrupt on its stack (in_task)."""
    return actor.tid is not None and not (actor.cpu is not None and actor.cpu.contexts)
