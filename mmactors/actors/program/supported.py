"""Which operations of the language this release does not run; they are refused beforehand."""

from typing import Final

from mmactors.actors.program.proc_paths import why_not_simulated
from mmactors.workload.operation.all import (
    By,
    Cgcreate,
    Cgget,
    Cgjoin,
    Cgset,
    Operation,
    Sync,
)

NOT_YET: Final = (Cgcreate, Cgget, Cgjoin, Cgset, Sync)


def why_not(operation: Operation) -> str | None:
    """Return what this release lacks to run an operation; None: nothing."""
    if isinstance(operation, By):
        return why_not(operation.operation)
    if isinstance(operation, NOT_YET):
        return f"{operation.verb} is not simulated yet"
    return why_not_simulated(operation)
