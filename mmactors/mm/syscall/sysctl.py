"""Files of /proc/sys/vm that set how address spaces behave (kernel/sysctl.c, mm/util.c, 6.1).

A write is a number as C writes it, decimal, octal or hexadecimal; what follows after white space
does not count. Left out: CONFIG_LSM_MMAP_MIN_ADDR.
"""

import errno
import re
from typing import Final

from attrs import evolve, frozen

from mmactors.mm.area.mm_config import MmConfig
from mmactors.mm.area.overcommit import OVERCOMMIT_NEVER, OvercommitPolicy

_INT_MAX: Final = (1 << 31) - 1
_ULONG_MAX: Final = (1 << 64) - 1
_INT: Final = (-_INT_MAX - 1, _INT_MAX)
_NUMBER: Final = re.compile(r"\s*(-?)(0[xX][0-9a-fA-F]+|[0-9]+)(?:[ \t\n]|$)")
_OCTAL: Final = re.compile(r"0[0-7]+")


@frozen
class VmSysctls:
    """All settings; a change makes a new object."""

    config: MmConfig
    policy: OvercommitPolicy


@frozen
class _Setting:
    field: str
    minimum: int
    maximum: int


_CONFIG: Final = {
    "max_map_count": _Setting("max_map_count", 0, _INT_MAX),
    "mmap_min_addr": _Setting("mmap_min_addr", 0, _ULONG_MAX),
}
_POLICY: Final = {
    "overcommit_memory": _Setting("memory", 0, OVERCOMMIT_NEVER),
    "overcommit_ratio": _Setting("ratio", *_INT),
    "overcommit_kbytes": _Setting("kbytes", 0, _ULONG_MAX),
    "user_reserve_kbytes": _Setting("user_reserve_kbytes", 0, _ULONG_MAX),
    "admin_reserve_kbytes": _Setting("admin_reserve_kbytes", 0, _ULONG_MAX),
}
VM_SETTINGS: Final = (*_CONFIG, *_POLICY)
"""Names of the settings that are simulated."""


def parse_number(text: str) -> int | None:
    """Return the number that a write to a sysctl begins with; None: it is none."""
    match = _NUMBER.match(text)
    if match is None:
        return None
    digits = match[2]
    if digits[:2].lower() == "0x":
        number = int(digits, 16)
    elif digits[0] == "0" and len(digits) > 1:
        if not _OCTAL.fullmatch(digits):
            return None
        number = int(digits, 8)
    else:
        number = int(digits)
    return -number if match[1] else number


def get_vm_sysctl(sysctls: VmSysctls, name: str) -> int:
    """Return the value of one of VM_SETTINGS."""
    if name in _CONFIG:
        value: int = getattr(sysctls.config, _CONFIG[name].field)
        return value
    return int(getattr(sysctls.policy, _POLICY[name].field) or 0)


def set_vm_sysctl(sysctls: VmSysctls, name: str, value: int) -> VmSysctls | int:
    """Return the settings after `value` was written to one of VM_SETTINGS, or minus the errno.

    EINVAL: it is out of range. overcommit_ratio and overcommit_kbytes exclude each other: setting
    one makes the other 0.
    """
    setting = _CONFIG.get(name) or _POLICY[name]
    if not setting.minimum <= value <= setting.maximum:
        return -errno.EINVAL
    changes = {setting.field: value}
    if name in _CONFIG:
        return VmSysctls(evolve(sysctls.config, **changes), sysctls.policy)
    if name == "overcommit_ratio":
        changes["kbytes"] = 0
    elif name == "overcommit_kbytes":
        changes["ratio"] = 0
    return VmSysctls(sysctls.config, evolve(sysctls.policy, **changes))
