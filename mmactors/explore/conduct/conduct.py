"""What a test does that no law of it is about: what it forgets, and what it shares unseen."""

from typing import Final

from mmactors.explore.conduct.caught import Caught
from mmactors.explore.conduct.held import HeldValues
from mmactors.explore.conduct.leftovers import Leftovers
from mmactors.explore.conduct.sharing import Sharing
from mmactors.explore.engine.untimed import SearchEngine


class Conduct:
    """Looks at that during one search."""

    def __init__(self) -> None:
        self.leftovers: Final = Leftovers(self.wake)
        self.is_idle = True
        """There is nothing to look at when a schedule begins."""
        self.is_first = False
        """No schedule of the search was run before: a mistake in the test shows itself now."""
        self._is_awaited = False
        self._sharing: Sharing | None = None
        self._held: Final = HeldValues()

    def wake(self) -> None:
        """Look again when the next schedule begins."""
        self.is_idle = False

    def attend(self) -> None:
        """Look at all schedules from now on."""
        self._sharing = Sharing()
        self.wake()

    def begin_search(self) -> None:
        """Let the next schedule be the first of a search."""
        self._is_awaited = True
        self.wake()

    def begin(self, engine: SearchEngine) -> None:
        """Look at a world that has just been built, before its actors run."""
        self.leftovers.check()
        self.is_first, self._is_awaited = self._is_awaited, False
        sharing = self._sharing
        if sharing is None:
            self.is_idle = True
            return
        if sharing.is_needed:
            sharing.begin(engine)
        if self._held.is_needed:
            self._held.begin(engine)
        if sharing.catching:
            Caught(engine, sharing.catching).begin()
        is_needed = sharing.is_needed or self._held.is_needed
        self.is_idle = not (self.is_first or is_needed or sharing.catching)

    def shared(self) -> tuple[str, ...]:
        """Return who shares what behind the world's back."""
        sharing = self._sharing
        return () if sharing is None else (*sharing.found(), *self._held.found())
