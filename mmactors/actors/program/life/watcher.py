"""Who looks at a process from outside: between its operations, and when it ends."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

from mmactors.engine.cpu import Cpu
from mmactors.workload.operation.all import Operation

if TYPE_CHECKING:
    from mmactors.actors.program.process import Process, Thread


class ProgramWatcher(Protocol):
    """Who looks at a program while it is run, between its operations."""

    def before(self, nth: int, operation: Operation) -> Operation | None:
        """Look at the operation that comes next; return what to do for it, None: nothing."""
        ...

    def after(self, nth: int, result: int) -> None:
        """Look at what came of an operation."""
        ...


class Closing(Protocol):
    """What ends with a process besides its memory, and who has to hear of it (`Interpreter`)."""

    def wake_sleepers(self, threads: "Iterable[Thread]", at_ns: int) -> None:
        """Let threads that sleep for a time, or wait at a barrier, look whether they must end."""

    async def close_process(self, cpu: Cpu, process: "Process") -> None:
        """Close its files, and let devices unpin its pages."""
