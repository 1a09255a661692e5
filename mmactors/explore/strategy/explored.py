"""Which states a depth-first search has explored, and how much of what follows from them.

The table is bounded: what was made use of in the last two generations is remembered, the rest is
forgotten. A state that was forgotten is explored again when it comes up, which takes longer and is
as sure.
"""

from collections.abc import Hashable
from typing import Final

GENERATION: Final = 1 << 18
"""So many states are taken down before those are forgotten that did not come up meanwhile."""


class ExploredStates:
    """States by name, and what was left to be explored when they came up."""

    def __init__(self) -> None:
        self._asleep: dict[Hashable, list[frozenset[int]]] = {}
        self._older_asleep: dict[Hashable, list[frozenset[int]]] = {}
        self._lefts: dict[Hashable, int] = {}
        self._older_lefts: dict[Hashable, int] = {}

    def covers_asleep(self, key: Hashable, asleep: frozenset[int]) -> bool:
        """Return whether the state was explored with no more asleep than now; from now on it is."""
        known = self._asleep.get(key)
        if known is None:
            known = self._older_asleep.get(key)
            if len(self._asleep) >= GENERATION:
                self._older_asleep = self._asleep
                self._asleep = {}
            if known is None:
                self._asleep[key] = [asleep]
                return False
            self._asleep[key] = known
        for other in known:
            if other <= asleep:
                return True
        known.append(asleep)
        return False

    def covers_left(self, key: Hashable, left: int) -> bool:
        """Return whether the state was explored with as many preemptions left; now it is."""
        known = self._lefts.get(key)
        if known is None:
            known = self._older_lefts.get(key, -1)
            if len(self._lefts) >= GENERATION:
                self._older_lefts = self._lefts
                self._lefts = {}
            self._lefts[key] = max(known, left)
            return known >= left
        if known >= left:
            return True
        self._lefts[key] = left
        return False
