"""Resource limits on address spaces (include/linux/sched/signal.h and mm/mmap.c, Linux 6.1).

The hard limits only bound what an unprivileged process may set: of them there is that of the stack,
the one which is not the soft one's equal from the beginning. Left out: Valgrind's exception for
RLIMIT_DATA 0.
"""

import errno
from typing import Final

from attrs import evolve, frozen

from mmactors.units import MIB

RLIM_INFINITY: Final = (1 << 64) - 1


@frozen(kw_only=True)
class Rlimits:
    """The limits of a process, in bytes; a change makes a new object."""

    address_space: int = RLIM_INFINITY
    """RLIMIT_AS: total_vm."""
    data: int = RLIM_INFINITY
    """RLIMIT_DATA: data_vm, and the heap together with the data segment."""
    stack: int = 8 * MIB
    """RLIMIT_STACK: one growing area."""
    stack_max: int = RLIM_INFINITY
    """Its hard limit."""
    memlock: int = 8 * MIB
    """RLIMIT_MEMLOCK: locked_vm of a process without CAP_IPC_LOCK."""


_FIELDS: Final = {"AS": "address_space", "DATA": "data", "STACK": "stack", "MEMLOCK": "memlock"}


def with_rlimit(limits: Rlimits, name: str, value: int) -> Rlimits | None:
    """Return `limits` with RLIMIT_`name` set to bytes; None: it limits nothing that is modelled.

    Soft and hard limit are set together.
    """
    field = _FIELDS.get(name)
    if field is None:
        return None
    hard = {"stack_max": value} if field == "stack" else {}
    return evolve(limits, **{field: value}, **hard)


def check_data_rlimit(limit: int, *, heap_bytes: int, data_bytes: int) -> int:
    """Return 0, or -ENOSPC if heap and data segment together pass RLIMIT_DATA."""
    if limit < RLIM_INFINITY and heap_bytes + data_bytes > limit:
        return -errno.ENOSPC
    return 0
