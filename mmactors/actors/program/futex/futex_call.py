"""Arguments of futex(2), for the log (include/uapi/linux/futex.h, x86-64, Linux 6.1)."""

from typing import Final

from mmactors.units import ULONG_MAX
from mmactors.workload.operation.futex import FUTEX_BITSET_MATCH_ANY, FutexWait, FutexWake

NR_FUTEX: Final = 202
_FUTEX_WAIT: Final = 0
_FUTEX_WAKE: Final = 1
_FUTEX_WAIT_BITSET: Final = 9
_FUTEX_WAKE_BITSET: Final = 10
_FUTEX_PRIVATE_FLAG: Final = 128

Arguments = tuple[int, ...]


def futex_arguments(address: int, call: FutexWait | FutexWake) -> Arguments:
    """Return the six arguments of a call; none if one is a time-out, which lies in memory."""
    has_bitset = call.bitset != FUTEX_BITSET_MATCH_ANY
    match call:
        case FutexWait(value=value):
            if call.timeout_ns is not None:
                return ()
            number = _FUTEX_WAIT_BITSET if has_bitset else _FUTEX_WAIT
        case FutexWake(count=value):
            number = _FUTEX_WAKE_BITSET if has_bitset else _FUTEX_WAKE
    flag = 0 if call.shared else _FUTEX_PRIVATE_FLAG
    return address, number | flag, value & ULONG_MAX, 0, 0, call.bitset if has_bitset else 0


def wait_arguments(address: int, value: int) -> Arguments:
    """Return the arguments of FUTEX_WAIT_PRIVATE without a time-out."""
    return address, _FUTEX_WAIT | _FUTEX_PRIVATE_FLAG, value, 0, 0, 0


def wake_arguments(address: int, nr_wake: int) -> Arguments:
    """Return the arguments of FUTEX_WAKE_PRIVATE."""
    return address, _FUTEX_WAKE | _FUTEX_PRIVATE_FLAG, nr_wake, 0, 0, 0
