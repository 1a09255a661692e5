"""Values of a machine's objects: how one is asked for, whatever it is made of."""

from collections.abc import Callable, Hashable

from attrs import frozen

from mmactors.engine.actor import Keyed
from mmactors.engine.guard import Guard


@frozen(eq=False)
class View:
    """One object: its value. What people are told of it stands in `told/`."""

    key: Callable[[], Hashable]
    text: str = ""

    def show(self) -> str:
        """Return a text where it has one of its own."""
        return self.text


@frozen(eq=False)
class Unguarded:
    """An object in guard mode: to look what it holds is no step of anybody's."""

    thing: Keyed
    guard: Guard

    def key(self) -> Hashable:
        """Return the object's value."""
        with self.guard.suspended():
            return self.thing.key()

    def show(self) -> str:
        """Return the value as text."""
        with self.guard.suspended():
            return self.thing.show()


@frozen(eq=False)
class Latest:
    """A lock or a mailbox: the latest of its name."""

    name: str
    registered: dict[str, Keyed]

    def key(self) -> Hashable:
        """Return the object's value."""
        return self.registered[self.name].key()

    def show(self) -> str:
        """Return the value as text."""
        return self.registered[self.name].show()
