"""Guard mode: every access to shared state is held against the declared label of the current step.

A step declares what it touches and how. In guard mode the columns that several actors share are
wrapped; an access that the step did not declare raises at the place where it happens, so that a
search which trusts the labels is never hollow.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Protocol

from mmactors.engine.actor import Actor
from mmactors.engine.report import FinalError
from mmactors.label import Label, Mode


class GuardViolation(FinalError):  # noqa: N818 - it names what happened
    """Shared state was touched outside a step that declares it."""


GUARD_VARIABLE: Final = "MMACTORS_GUARD"
"""Environment: 1 guards every engine of the process, so that a whole test suite runs guarded.

What a run does never depends on it: guard mode checks and changes nothing.
"""


class Guard:
    """Knows the step that is being taken."""

    def __init__(self, *, on: bool) -> None:
        self.on: Final = on or os.environ.get(GUARD_VARIABLE) == "1"
        self._label: Label | None = None
        self._actor: Actor | None = None

    def begin(self, actor: Actor, label: Label) -> None:
        """The current step is what `label` declares, until the next step or `end`."""
        self._actor = actor
        self._label = label

    def end(self) -> None:
        """The current step is over; local code follows."""
        self._label = None

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """Allow everything: set-up and reports, while no actor runs, are not steps."""
        label, self._label = self._label, _EVERYTHING
        try:
            yield
        finally:
            self._label = label

    def column(self, column: "Column", name: str) -> "Column":
        """Return `column`, guarded if the guard is on."""
        return GuardedColumn(column, name, self) if self.on else column

    def check(self, name: str, index: int, mode: Mode) -> None:
        """Raise GuardViolation unless the current step declares this access.

        A step may declare a whole column by its name, or one element as `name[index]`.
        """
        label = self._label
        if label is _EVERYTHING:
            return
        element = f"{name}[{index}]"
        if label is not None:
            for touched, how in label.touches:
                if touched in (name, element) and mode in _ALLOWS[how]:
                    return
        who = "nobody" if self._actor is None else self._actor.name
        what = "outside any step" if label is None else f"in step {label.text!r} of {who}"
        raise GuardViolation(
            f"{element} was touched ({mode.value}) {what}, which does not declare it"
        )


_ALLOWS: Final = {
    Mode.READ: (Mode.READ,),
    Mode.WRITE: (Mode.READ, Mode.WRITE),
    Mode.ADD: (Mode.READ, Mode.WRITE, Mode.ADD),
}
"""What a declared mode lets a step do; an add reads and writes, but commutes with other adds."""
_EVERYTHING: Final = Label("everything", ())


class Column(Protocol):
    """Shared words, one by index."""

    def __getitem__(self, index: int, /) -> int: ...
    def __setitem__(self, index: int, value: int, /) -> None: ...


class GuardedColumn:
    """A shared column that asks the guard before each access from Python."""

    def __init__(self, column: Column, name: str, guard: Guard) -> None:
        self._column: Final = column
        self._name: Final = name
        self._guard: Final = guard

    def __getitem__(self, index: int, /) -> int:
        self._guard.check(self._name, index, Mode.READ)
        return self._column[index]

    def __setitem__(self, index: int, value: int, /) -> None:
        self._guard.check(self._name, index, Mode.WRITE)
        self._column[index] = value


class GuardedElement:
    """Shared words that are one object together, and ask the guard as one."""

    def __init__(self, column: Column, name: str, element: int, guard: Guard) -> None:
        self._column: Final = column
        self._name: Final = name
        self._element: Final = element
        self._guard: Final = guard

    def __getitem__(self, index: int, /) -> int:
        self._guard.check(self._name, self._element, Mode.READ)
        return self._column[index]

    def __setitem__(self, index: int, value: int, /) -> None:
        self._guard.check(self._name, self._element, Mode.WRITE)
        self._column[index] = value


class GuardedWords:
    """All words of one element of a column, guarded as that element: `name[element]`."""

    def __init__(self, words: Column, name: str, element: int, guard: Guard) -> None:
        self._words: Final = words
        self._name: Final = name
        self._element: Final = element
        self._guard: Final = guard

    def __getitem__(self, index: int, /) -> int:
        self._guard.check(self._name, self._element, Mode.READ)
        return self._words[index]

    def __setitem__(self, index: int, value: int, /) -> None:
        self._guard.check(self._name, self._element, Mode.WRITE)
        self._words[index] = value
