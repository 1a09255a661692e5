"""Who lives: processes as what their threads share, and threads (include/linux/sched.h, v6.1).

Addresses are those of objects; 0: there is none, or it has been given back.
"""

from attrs import define, field

from mmactors.actors.state.files_struct import FilesStruct


@define(eq=False)
class SignalStruct:
    """What the threads of a process share (signal_struct and what goes with it)."""

    parent: "SignalStruct | None" = field(repr=False)
    """Who waits for its end; None: it is init."""
    cred: int = 0
    fs: int = 0
    sighand: int = 0
    signal: int = 0
    files: FilesStruct = field(factory=FilesStruct, repr=False)
    tasks: "list[TaskStruct]" = field(factory=list, repr=False)
    """Threads that were not released, the first of the process among them until it ends."""
    leader: "TaskStruct | None" = field(default=None, repr=False)
    children: "list[SignalStruct]" = field(factory=list, repr=False)
    """Processes that have not ended, and those whose end nobody has waited for."""
    nr_live: int = 0
    """Threads that have not ended."""
    is_zombie: bool = False
    """All threads have ended, and the parent has not heard of it."""


@define(eq=False)
class TaskStruct:
    """A thread as an object."""

    thing: int
    signal: SignalStruct
    pid: int = 0
    """Address of its struct pid."""
