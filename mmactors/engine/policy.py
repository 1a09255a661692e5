"""Policies: who goes next among those that could, and how far one may run ahead.

A policy owns the ready set. A timed policy takes the earliest; what remains open, the order of
equal times and, by option, the exact length of a run-ahead and of each cost, is what the policies
differ in.
"""

from heapq import heappop, heappush
from typing import Final, Protocol

from mmactors.engine.actor import NEVER, Actor
from mmactors.engine.config import EngineConfig

_GOLDEN: Final = 0x9E3779B97F4A7C15
_MASK: Final = (1 << 64) - 1


def mix(value: int) -> int:
    """Return 64 well-mixed bits of `value` (the finalizer of SplitMix64, Steele et al. 2014)."""
    value = (value + _GOLDEN) & _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)


class Policy(Protocol):
    """What the engine asks."""

    draws_costs: bool
    """Whether `cost_ns` may change a cost; False saves the question."""

    def push(self, actor: Actor, time_ns: int) -> None:
        """Put an actor into the ready set, or move its entry there."""

    def pop(self) -> Actor | None:
        """Take the actor that goes next; None: nobody can run."""

    def next_time_ns(self) -> int:
        """Return the earliest time in the ready set, NEVER if it is empty."""

    def quantum_ns(self) -> int:
        """Return how far the actor that runs now may run ahead of the earliest other; -1: not."""

    def tie(self, sender: int, time_ns: int) -> int:
        """Return what orders messages that arrive at one time; equal for one sender and time."""

    def cost_ns(self, ns: int) -> int:
        """Return what an operation of about `ns` costs this time."""


class Fifo:
    """Equal times are served in the order in which they were pushed."""

    draws_costs: bool = False

    def __init__(self, config: EngineConfig) -> None:
        self._quantum_ns: Final = config.quantum_ns or -1
        self._heap: list[tuple[int, int, int, Actor]] = []
        self._order = 0

    def push(self, actor: Actor, time_ns: int) -> None:
        """Put an actor into the ready set, or move its entry there."""
        self._order = order = self._order + 1
        actor.ready_at = time_ns
        actor.ready_order = order
        heappush(self._heap, (time_ns, self._rank(order), order, actor))

    def pop(self) -> Actor | None:
        """Take the earliest actor."""
        heap = self._heap
        while heap:
            _, _, order, actor = heappop(heap)
            if actor.ready_order == order and actor.ready_at is not None:
                return actor
        return None

    def next_time_ns(self) -> int:
        """Return the earliest time in the ready set, NEVER if it is empty."""
        heap = self._heap
        while heap:
            time_ns, _, order, actor = heap[0]
            if actor.ready_order == order and actor.ready_at is not None:
                return time_ns
            heappop(heap)
        return NEVER

    def quantum_ns(self) -> int:
        """Return the configured quantum."""
        return self._quantum_ns

    def tie(self, sender: int, time_ns: int) -> int:  # noqa: ARG002 - FIFO: nothing to permute
        """Return 0: messages of one time are taken in the order in which they were sent."""
        return 0

    def cost_ns(self, ns: int) -> int:
        """Return `ns`."""
        return ns

    def _rank(self, order: int) -> int:  # noqa: ARG002 - FIFO: the order itself decides
        return 0


class Seeded(Fifo):
    """The seed permutes equal times, shortens run-aheads, and jitters costs if asked to."""

    def __init__(self, config: EngineConfig) -> None:
        super().__init__(config)
        self._seed: Final = mix(config.seed)
        self._jitter_percent: Final = config.jitter_percent
        self._draws = 0
        self.draws_costs = config.jitter_percent > 0

    def quantum_ns(self) -> int:
        """Return a part of the configured quantum, drawn anew each time."""
        if self._quantum_ns < 0:
            return -1
        return self._draw() % (self._quantum_ns + 1)

    def tie(self, sender: int, time_ns: int) -> int:
        """Return a rank that depends on sender and time only, so that one sender stays in order."""
        return mix(self._seed ^ mix(sender + 1) ^ mix(time_ns))

    def cost_ns(self, ns: int) -> int:
        """Return `ns` more or less up to the configured percentage."""
        spread = ns * self._jitter_percent // 100
        return ns - spread + self._draw() % (2 * spread + 1)

    def _rank(self, order: int) -> int:
        return mix(self._seed ^ order)

    def _draw(self) -> int:
        self._draws += 1
        return mix(self._seed + self._draws)


def make_policy(config: EngineConfig) -> Policy:
    """Return the policy that `config` names."""
    return Seeded(config) if config.policy == "seeded" else Fifo(config)
