"""Which states a depth-first search has explored, and how much of what follows from them.

The table is bounded: what was made use of in the last two generations is remembered, the rest is
forgotten. A state that was forgotten is explored again when it comes up, which takes longer and is
as sure.
"""

from collections.abc import Hashable
from typing import Any, Final

from mmactors.explore.engine.generations import Generations

GENERATION: Final = 1 << 18
"""So many states are taken down before those are forgotten that did not come up meanwhile."""


class ExploredStates(Generations[Hashable, Any]):
    """States by name, and what was left to be explored when they came up.

    Of one search, which asks in one of the two ways.
    """

    __slots__ = ()

    def covers_asleep(self, key: Hashable, asleep: frozenset[int]) -> bool:
        """Return whether the state was explored with no more asleep than now; from now on it is."""
        known = self.get(key)
        if known is None:
            known = self.renew(key, [asleep])
            if known is None:
                return False
        for other in known:
            if other <= asleep:
                return True
        known.append(asleep)
        return False

    def covers_left(self, key: Hashable, left: int) -> bool:
        """Return whether the state was explored with as many preemptions left; now it is."""
        known = self.get(key)
        if known is None:
            known = self.renew(key, left)
            if known is None:
                return False
        if known >= left:
            return True
        self[key] = left
        return False
