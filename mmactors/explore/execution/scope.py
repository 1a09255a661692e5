"""What is in scope: the objects whose steps are choice points. The rest runs without choices.

Without a scope every step that touches something is a choice point. With one, steps outside belong
to the step before them, and what several actors touched there is named in the verdict: about the
order of that nothing was found out.
"""

from typing import Final

from mmactors.explore.engine.search_actor import SearchActor
from mmactors.explore.engine.step import Step, Touches
from mmactors.explore.engine.view import is_cpu
from mmactors.label import Mode


class Scope:
    """The names of one search; None: everything."""

    def __init__(self, given: tuple[str, ...] | None) -> None:
        self.names = given
        self._given: Final = given
        self._known: Final[dict[Step, bool]] = {}
        self.outside: Final[dict[str, dict[str, Mode]]] = {}
        """What steps outside the scope touched, and who."""
        self._noted: Final[set[tuple[str, Touches]]] = set()

    def begin(self, names: tuple[str, ...] | None) -> None:
        """Use what the world says unless the search was given something."""
        if self._given is None and names != self.names:
            self.names = names
            self._known.clear()
            self._noted.clear()

    def is_named(self, name: str) -> bool:
        """Return whether the scope names an object, or the column that it is of."""
        names = self.names
        return names is None or name in names or name.partition("[")[0] in names

    def is_outside(self, step: Step) -> bool:
        """Return whether a step touches nothing in scope."""
        if self.names is None:
            return False
        known = self._known.get(step)
        if known is None:
            known = self._known[step] = any(self.is_named(name) for name, _ in step.touches)
        return not known

    def note(self, actor: SearchActor, touches: Touches) -> None:
        """Note that an actor touched what may be outside the scope."""
        key = (actor.name, touches)
        if key in self._noted:
            return
        self._noted.add(key)
        for name, mode in touches:
            if is_cpu(name) or self.is_named(name):
                continue
            touched = self.outside.setdefault(name, {})
            if touched.get(actor.name) is not Mode.WRITE:
                touched[actor.name] = mode

    def concerns(self, actor: SearchActor, touches: Touches) -> bool:
        """Note that an actor touched something; return whether any of it is in scope."""
        if self.names is None:
            return True
        self.note(actor, touches)
        return any(self.is_named(name) for name, _ in touches)

    def merge(self, outside: dict[str, dict[str, Mode]]) -> None:
        """Add what another process noted."""
        for name, touched in outside.items():
            ours = self.outside.setdefault(name, {})
            for actor, mode in touched.items():
                if ours.get(actor) is not Mode.WRITE:
                    ours[actor] = mode

    def shared_outside(self) -> tuple[str, ...]:
        """Return what two actors touched outside the scope and one of them wrote."""
        return tuple(
            name
            for name, touched in self.outside.items()
            if len(touched) > 1 and any(mode is not Mode.READ for mode in touched.values())
        )
