"""How a recorded guest was booted: with how much memory, how many CPUs and which command line."""

import re
from typing import Any, Final

from mmactors.units import PAGE_SHIFT
from mmactors.validate.form import Record, Text, Whole
from mmactors.validate.limits import CPUS_MAX, MEMORY_MIB_MAX

MEM: Final = Text("a size such as 256M", re.compile(r"[1-9]\d{0,4}[MG]"))
BOOT: Final = Record({"mem": MEM, "cpus": Whole(1, CPUS_MAX), "append": Text()})


def nr_bytes_of(content: dict[str, Any]) -> int:
    """Return how much memory the guest had, up to MEMORY_MIB_MAX."""
    mem = content["boot"]["mem"]
    nr_mib = int(mem[:-1]) << (10 if mem[-1] == "G" else 0)
    return min(nr_mib, MEMORY_MIB_MAX) << 20


def nr_frames_of(content: dict[str, Any]) -> int:
    """Return how many page frames the guest had, or a few more."""
    return nr_bytes_of(content) >> PAGE_SHIFT
