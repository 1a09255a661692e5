"""Names of processes and threads: one rule, by which programs are checked and run.

The process that runs the list is P0, and nobody else. `fork NAME` and `thread NAME` give a name to
whoever they start; it means that one until it is given again, for which who has it must have
ended. A thread ends with its process; a child outlives who forked it, and all end with P0. What
somebody is told to do is done by who has the name and lives. `kill` is for children, `stop` for
threads, as they were named last.

The check refuses what this rule forbids whatever happens. What becomes known at the run (a fork
that failed, a death) is ESRCH there: nobody has the name.
"""

from collections.abc import Iterable
from typing import Final, Generic, Protocol, TypeVar

from attrs import define, field

FIRST_PROCESS: Final = "P0"
"""What the process that runs the list is called."""


class Member(Protocol):
    """Who may have a name: a thread, as it runs or as it is known before."""

    @property
    def is_child(self) -> bool:
        """Whether it is the first thread of a child: a process by itself."""

    @property
    def must_end(self) -> bool:
        """Whether it has ended, or does nothing more."""


M = TypeVar("M", bound=Member)


def name_of(name: str, number: int) -> str:
    """Return what tells the `number`-th who has a name from the others, from 1."""
    return name if number == 1 else f"{name}#{number}"


@define(eq=False)
class Names(Generic[M]):
    """Who has which name in one program."""

    _members: dict[str, M] = field(factory=dict, init=False)
    _nr_started: dict[str, int] = field(factory=dict, init=False)
    """By name: how many had it."""

    def enter(self, name: str, member: M) -> str:
        """Let `name` mean a new member from now on; return a name that none had before."""
        self._members[name] = member
        number = self._nr_started[name] = self._nr_started.get(name, 0) + 1
        return name_of(name, number)

    def is_free(self, name: str) -> bool:
        """Return whether somebody new may get the name."""
        return name != FIRST_PROCESS and self.living(name) is None

    def last(self, name: str) -> M | None:
        """Return who got the name last, ended or not; None: nobody ever did."""
        return self._members.get(name)

    def living(self, name: str) -> M | None:
        """Return who does what `name` is told to do; None: nobody."""
        member = self._members.get(name)
        return None if member is None or member.must_end else member

    def child(self, name: str) -> M | None:
        """Return whom `kill` is for, ended or not; None: the name is nobody's, or a thread's."""
        member = self._members.get(name)
        return member if member is not None and member.is_child else None

    def thread(self, name: str) -> M | None:
        """Return whom `stop` is for, ended or not; None: the name is nobody's, or a child's."""
        member = self._members.get(name)
        return None if member is None or member.is_child else member

    def items(self) -> Iterable[tuple[str, M]]:
        """Return all names with who got them last, in the order in which they came up."""
        return self._members.items()
