"""Settings of /proc/sys/vm that address spaces obey (kernel/sysctl.c and mm/util.c, Linux 6.1)."""

import errno
from typing import Final

from attrs import evolve, frozen

from mmactors.mm.area.mm_config import MmConfig
from mmactors.mm.area.overcommit import OVERCOMMIT_NEVER, OvercommitPolicy

_INT_MAX: Final = (1 << 31) - 1
_ULONG_MAX: Final = (1 << 64) - 1


@frozen
class VmSysctls:
    """All of them; a change makes a new object."""

    config: MmConfig
    policy: OvercommitPolicy


_CONFIG_FIELDS: Final = {"max_map_count": _INT_MAX, "mmap_min_addr": _ULONG_MAX}
_POLICY_FIELDS: Final = {
    "overcommit_memory": ("memory", OVERCOMMIT_NEVER),
    "overcommit_ratio": ("ratio", _INT_MAX),
    "overcommit_kbytes": ("kbytes", _ULONG_MAX),
    "user_reserve_kbytes": ("user_reserve_kbytes", _ULONG_MAX),
    "admin_reserve_kbytes": ("admin_reserve_kbytes", _ULONG_MAX),
}


def is_vm_sysctl(name: str) -> bool:
    """Say whether there is such a setting here."""
    return name in _CONFIG_FIELDS or name in _POLICY_FIELDS


def set_vm_sysctl(sysctls: VmSysctls, name: str, value: int) -> VmSysctls | int:
    """Return the settings after `value` was written to `name`, or -EINVAL if it is out of range.

    overcommit_ratio and overcommit_kbytes exclude each other: setting one makes the other 0.
    """
    if name in _CONFIG_FIELDS:
        if not 0 <= value <= _CONFIG_FIELDS[name]:
            return -errno.EINVAL
        return VmSysctls(evolve(sysctls.config, **{name: value}), sysctls.policy)
    field, maximum = _POLICY_FIELDS[name]
    if not 0 <= value <= maximum:
        return -errno.EINVAL
    policy = evolve(sysctls.policy, **{field: value})
    if field == "ratio":
        policy = evolve(policy, kbytes=0)
    elif field == "kbytes":
        policy = evolve(policy, ratio=0)
    return VmSysctls(sysctls.config, policy)
