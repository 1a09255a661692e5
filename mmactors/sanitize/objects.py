"""O5: the use of an object that was freed, or that became another one meanwhile.

Objects are known by a kind, such as `vma`, and a number that is theirs as long as they live. In
type-safe memory (SLAB_TYPESAFE_BY_RCU) a freed object stays one of its kind: who looks into it on
purpose and looks again afterwards does not tell of the first look.
"""

from attrs import define, field

from mmactors.sanitize.law import Law
from mmactors.sanitize.page_history import Moment

Problem = tuple[Law, str, list[str]]


@define(eq=False)
class Objects:
    """Knows which objects live; of those that were never told of, nothing."""

    _born: dict[tuple[str, int], Moment] = field(factory=dict)
    _freed: dict[tuple[str, int], Moment] = field(factory=dict)

    def allocated(self, kind: str, number: int, now: Moment) -> Problem | None:
        """Note that an object came to life; return what is wrong."""
        key = (kind, number)
        before = self._born.get(key)
        self._born[key] = now
        self._freed.pop(key, None)
        if before is None:
            return None
        return Law.USE_AFTER_FREE, f"{kind} {number} came to life twice", [f"before {before}"]

    def freed(self, kind: str, number: int, now: Moment) -> Problem | None:
        """Note that an object was freed; return what is wrong."""
        key = (kind, number)
        if key in self._freed:
            return Law.DOUBLE_FREE, f"{kind} {number} is freed again", self._history(key)
        self._freed[key] = now
        self._born.pop(key, None)
        return None

    def used(self, kind: str, number: int) -> Problem | None:
        """Return what is wrong with a use of an object."""
        key = (kind, number)
        if key not in self._freed:
            return None
        return Law.USE_AFTER_FREE, f"{kind} {number} is used and was freed", self._history(key)

    def _history(self, key: tuple[str, int]) -> list[str]:
        return [f"it was freed {self._freed[key]}"]
