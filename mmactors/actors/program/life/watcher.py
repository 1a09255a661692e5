"""Who looks at a program while it is run, between its operations."""

from typing import Protocol

from mmactors.workload.operation.all import Operation


class ProgramWatcher(Protocol):
    """Who looks at a program while it is run, between its operations."""

    def before(self, nth: int, operation: Operation) -> Operation | None:
        """Look at the operation that comes next; return what to do for it, None: nothing."""
        ...

    def after(self, nth: int, result: int) -> None:
        """Look at what came of an operation."""
        ...
