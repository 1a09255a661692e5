"""Policies: who goes next among those that could, and how far one may run ahead.

A policy owns the ready set. A timed policy takes the earliest; what remains open, the order of
equal times and, by option, the exact length of a run-ahead and of each cost, is what the policies
differ in.
"""

from heapq import heappop, heappush
from random import Random
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
    next_ns: int
    """A time before which nobody in the ready set can run; NEVER if it is empty."""
    quantum_ns: int
    """How far the actor that runs now may run ahead of the earliest other; -1: not even to it."""
    is_over: bool
    """Whether nobody is taken any more, though somebody could run."""

    def push(self, actor: Actor, time_ns: int) -> None:
        """Put an actor into the ready set, or move its entry there."""

    def pop(self, until_ns: int) -> Actor | None:
        """Take the actor that goes next; None: nobody can run by then."""

    def tie(self, sender: int, time_ns: int) -> int:
        """Return what orders messages that arrive at one time; equal for one sender and time."""

    def cost_ns(self, ns: int) -> int:
        """Return what an operation of about `ns` costs this time."""


class Fifo:
    """Equal times are served in the order in which they were pushed."""

    draws_costs: bool = False
    is_over: bool = False

    def __init__(self, config: EngineConfig) -> None:
        self.next_ns: int = NEVER
        self.quantum_ns: int = config.quantum_ns or -1
        self._heap: Final[list[tuple[int, int, Actor]]] = []
        """Time, order among equal times, actor. Entries are valid by `Actor.ready_order`."""
        self._order = 0

    def push(self, actor: Actor, time_ns: int) -> None:
        """Put an actor into the ready set, or move its entry there."""
        self._order = order = self._order + 1
        actor.ready_at = time_ns
        actor.ready_order = order
        heappush(self._heap, (time_ns, order, actor))
        if time_ns < self.next_ns:  # noqa: PLR1730 - faster than min()
            self.next_ns = time_ns

    def pop(self, until_ns: int) -> Actor | None:
        """Take the earliest actor."""
        # One visit of the heap: it takes the first valid entry and looks at the second.
        heap = self._heap
        found = None
        while heap:
            time_ns, order, actor = heap[0]
            if actor.ready_order == order:
                if found is not None or time_ns > until_ns:
                    self.next_ns = time_ns
                    return found
                found = actor
            heappop(heap)
        self.next_ns = NEVER
        return found

    def trim(self) -> None:
        """Drop void entries at the head of the ready set, so that `next_ns` is exact."""
        self.pop(until_ns=-1)

    def draw_quantum(self) -> None:
        """Decide how much of the quantum the actor that runs now may use: all of it."""

    def tie(self, sender: int, time_ns: int) -> int:  # noqa: ARG002 - FIFO: nothing to permute
        """Return 0: messages of one time are taken in the order in which they were sent."""
        return 0

    def cost_ns(self, ns: int) -> int:
        """Return `ns`."""
        return ns


class Seeded(Fifo):
    """The seed permutes equal times, shortens run-aheads, and jitters costs if asked to."""

    def __init__(self, config: EngineConfig) -> None:
        super().__init__(config)
        self._seed: Final = mix(config.seed)
        self._jitter_percent: Final = config.jitter_percent
        self._quantum_max_ns: Final = config.quantum_ns
        self._getrandbits: Final = Random(config.seed).getrandbits
        self._pushes = 0
        self.draws_costs = config.jitter_percent > 0

    def push(self, actor: Actor, time_ns: int) -> None:
        """Put an actor into the ready set, at a place among its equals that the seed decides."""
        self._pushes = pushes = self._pushes + 1
        order = self._getrandbits(31) << 40 | pushes  # The low bits make it unique.
        actor.ready_at = time_ns
        actor.ready_order = order
        heappush(self._heap, (time_ns, order, actor))
        if time_ns < self.next_ns:  # noqa: PLR1730 - faster than min()
            self.next_ns = time_ns

    def pop(self, until_ns: int) -> Actor | None:
        """Take the earliest actor."""
        actor = super().pop(until_ns)
        if self._quantum_max_ns and actor is not None:
            self.draw_quantum()
        return actor

    def draw_quantum(self) -> None:
        """Decide how much of the quantum the actor that runs now may use, anew each time."""
        if self._quantum_max_ns:
            self.quantum_ns = self._getrandbits(62) % (self._quantum_max_ns + 1)

    def tie(self, sender: int, time_ns: int) -> int:
        """Return a rank that depends on sender and time only, so that one sender stays in order."""
        return mix(self._seed ^ mix(sender + 1) ^ mix(time_ns))

    def cost_ns(self, ns: int) -> int:
        """Return `ns` more or less up to the configured percentage."""
        spread = ns * self._jitter_percent // 100
        return ns - spread + self._getrandbits(62) % (2 * spread + 1)


def make_policy(config: EngineConfig) -> Fifo:
    """Return the policy that `config` names."""
    return Seeded(config) if config.policy == "seeded" else Fifo(config)
