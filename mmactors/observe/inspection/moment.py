"""The moment of an inspection: what is looked at belongs to it, or can no longer be known.

Theory of operation. A look reads the kernel's own objects and copies what it finds into frozen
values, which are kept. Nothing is copied before somebody looks. So a look that comes after the
machine has moved on would show another moment: it is refused, and what was looked at before stays.
"""

from collections.abc import Callable
from typing import Final, TypeVar

from mmactors.engine.baton import Engine
from mmactors.errors import Place, Problem, UserError
from mmactors.units import format_ns

T = TypeVar("T")


class Moment:
    """The moment at which a machine stands still, told by how often the baton was given."""

    def __init__(self, engine: Engine) -> None:
        self._engine: Final = engine
        self.now_ns: Final = engine.now_ns
        self._switches: Final = engine.statistics().switches

    @property
    def has_passed(self) -> bool:
        """Whether the machine has moved since."""
        return self._engine.statistics().switches != self._switches

    def look(self, compute: Callable[[], T]) -> T:
        """Return what `compute` reads of the machine; raise UserError if the moment has passed."""
        if self.has_passed:
            raise UserError(
                Problem(
                    place=Place(f"the inspection of t={format_ns(self.now_ns)}"),
                    found=f"the machine has moved on to t={format_ns(self._engine.now_ns)}",
                    legal="expected to look at it before: what was looked at then stays as it was",
                    advice="call inspect() again",
                )
            )
        with self._engine.guard.suspended():
            return compute()
