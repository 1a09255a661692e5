"""Units of the whole simulator: pages, bytes and nanoseconds, all of them integers.

A float is always a ratio. Texts of sizes and times, as scenarios write them, are parsed here.
"""

import re
from typing import Final, NewType

Pfn = NewType("Pfn", int)
"""Page frame number: physical address / 4096."""

KIB: Final = 1 << 10
MIB: Final = 1 << 20
GIB: Final = 1 << 30
TIB: Final = 1 << 40

PAGE_SHIFT: Final = 12
PAGE_SIZE: Final = 1 << PAGE_SHIFT
PAGE_MASK: Final = ~(PAGE_SIZE - 1)
ULONG_MAX: Final = (1 << 64) - 1
"""The largest argument of a system call; sums of them wrap behind it, where the kernel's do."""

US: Final = 1_000
MS: Final = 1_000_000
SECOND: Final = 1_000_000_000
HZ: Final = 250
"""Jiffies a second, of Debian's kernel."""
JIFFY_NS: Final = SECOND // HZ

_SIZE = re.compile(r"(0x[0-9a-fA-F]+|\d+)\s*(?:([KMGT])(?:i?B)?|B)?")
_SIZE_UNITS: Final = {None: 1, "K": KIB, "M": MIB, "G": GIB, "T": TIB}
_TIME = re.compile(r"(\d+)\s*(ns|us|ms|s)?")
_TIME_UNITS: Final = {None: 1, "ns": 1, "us": US, "ms": MS, "s": SECOND}


def parse_bytes(text: str) -> int:
    """Return the bytes that `text` means: `4096`, `0x1000`, `64K`, `4MiB`, `2G`.

    Raises ValueError for anything else.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a size")
    return int(match[1], 0) * _SIZE_UNITS[match[2]]


def parse_ns(text: str) -> int:
    """Return the nanoseconds that `text` means: `250`, `120us`, `3ms`, `1s`.

    Raises ValueError for anything else.
    """
    match = _TIME.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a time")
    return int(match[1]) * _TIME_UNITS[match[2]]


def format_bytes(nr_bytes: int) -> str:
    """Return the shortest exact text of a size: 4096 is `4K`, 4097 is `4097`."""
    for unit, suffix in ((TIB, "T"), (GIB, "G"), (MIB, "M"), (KIB, "K")):
        if nr_bytes and nr_bytes % unit == 0:
            return f"{nr_bytes // unit}{suffix}"
    return str(nr_bytes)


def format_ns(ns: int) -> str:
    """Return a time for people, three significant digits: 1234567 is `1.23ms`."""
    for unit, suffix in ((SECOND, "s"), (MS, "ms"), (US, "us")):
        if ns >= unit:
            return f"{ns / unit:.3g}{suffix}"
    return f"{ns}ns"
