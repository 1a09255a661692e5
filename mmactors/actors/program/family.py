"""A program's processes: the one that runs the list, and the children that it forks.

Names of ranges, threads and children are one set for all of them, as in the recordings'
interpreter: a name stands for an address, whichever process it is used in.
"""

from typing import TYPE_CHECKING

from attrs import define, field

if TYPE_CHECKING:
    from mmactors.actors.program.process import Process
    from mmactors.actors.program.thread import UserThread


@define(eq=False)
class Family:
    """The processes of one program."""

    root: "Process"
    """Runs the list."""
    names: dict[str, tuple[int, int]] = field(factory=dict)
    """Names of ranges: (address, bytes)."""
    members: "dict[str, UserThread]" = field(factory=dict)
    """Threads, and the first threads of children, by name; the root's is FIRST_PROCESS."""
    children: "list[Process]" = field(factory=list)
    """All that were ever forked."""
    _nr_started: dict[str, int] = field(factory=dict)
    """By name: how many threads and children had it."""

    def enter(self, name: str, thread: "UserThread") -> str:
        """Let `name` mean a new thread from now on; return a name that none had before."""
        self.members[name] = thread
        number = self._nr_started[name] = self._nr_started.get(name, 0) + 1
        return name if number == 1 else f"{name}#{number}"
