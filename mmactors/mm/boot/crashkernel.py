"""Memory for a kernel that takes over after a crash: `crashkernel=` (v6.1, x86-64).

kernel/crash_core.c reads the argument, arch/x86/kernel/setup.c finds the memory. Bytes.
"""

from typing import Final

from mmactors.mm.boot.cmdline import BootArguments, memparse
from mmactors.mm.boot.memblock import Memblock
from mmactors.units import GIB, MIB, TIB

_CRASH_ALIGN: Final = 16 * MIB
_LOW_MAX: Final = 4 * GIB
_HIGH_MAX: Final = 64 * TIB
_ROUND_RAM: Final = 128 * MIB
_SUFFIXES: Final = (",high", ",low")
_LOW_LEAST: Final = 256 * MIB
_LOW_EXTRA: Final = 8 * MIB


def reserve_crashkernel(
    memblock: Memblock, arguments: BootArguments, *, swiotlb_bytes: int
) -> tuple[tuple[int, int], ...]:
    """Reserve what `crashkernel=` asks for; return the ranges, empty if there is no room.

    A range above 4 GiB brings one below for devices that reach no further: as large as the bounce
    buffer and 8 MiB, and at least 256 MiB, unless `,low` says otherwise.
    """
    caller = "setup_arch"
    total = memblock.phys_mem_size()
    size, base = _plain_size(arguments, total)
    is_high = False
    if not size:
        size, base, is_high = _suffixed(arguments, ",high") or 0, 0, True
        if not size:
            return ()
    if base:
        at = memblock.phys_alloc_range(size, align=MIB, start=base, end=base + size, caller=caller)
        if at != base:
            return ()
    else:
        at = None
        for end in (_HIGH_MAX,) if is_high else (_LOW_MAX, _HIGH_MAX):
            at = memblock.phys_alloc_range(
                size, align=_CRASH_ALIGN, start=_CRASH_ALIGN, end=end, caller=caller
            )
            if at is not None:
                break
        if at is None:
            return ()
    found = (at, at + size)
    if at < _LOW_MAX:
        return (found,)
    low_size = _suffixed(arguments, ",low")
    if low_size == 0:
        return (found,)
    if low_size is None:
        low_size = max(swiotlb_bytes + _LOW_EXTRA, _LOW_LEAST)
    low = memblock.phys_alloc_range(
        low_size, align=_CRASH_ALIGN, start=0, end=_LOW_MAX, caller=caller
    )
    if low is None:
        memblock.phys_free(at, at + size, caller=caller)
        return ()
    return (found, (low, low + low_size))


def _plain_size(arguments: BootArguments, total: int) -> tuple[int, int]:
    """Return size and place of the last value without a suffix; 0, 0: there is none."""
    values = [value for value in arguments.crashkernel if not value.endswith(_SUFFIXES)]
    if not values:
        return 0, 0
    if ":" in values[-1]:
        return _size_by_ram(values[-1], -(-total // _ROUND_RAM) * _ROUND_RAM)
    size, rest = memparse(values[-1])
    if rest.startswith("@"):
        return size, memparse(rest[1:])[0]
    return (0, 0) if rest else (size, 0)


def _size_by_ram(value: str, total: int) -> tuple[int, int]:
    """Return size and place of `START-END:SIZE,...[@PLACE]` for a machine with so much RAM."""
    ranges, _, place = value.partition("@")
    for part in ranges.split(","):
        limits, colon, text = part.partition(":")
        start_text, dash, end_text = limits.partition("-")
        start, size = memparse(start_text)[0], memparse(text)[0]
        end = memparse(end_text)[0] if end_text else total + 1
        if not (colon and dash) or end <= start or size >= total:
            return 0, 0
        if start <= total < end:
            return size, memparse(place)[0]
    return 0, 0


def _suffixed(arguments: BootArguments, suffix: str) -> int | None:
    """Return the size of the last value with a suffix, or None."""
    values = [value for value in arguments.crashkernel if value.endswith(suffix)]
    if not values:
        return None
    size, rest = memparse(values[-1])
    return size if rest == suffix else None
