"""The firmware's memory map, as QEMU's PC machines give it (arch/x86/kernel/e820.c, v6.1).

RAM lies below the PCI hole and continues at 4 GiB. Addresses are bytes.

Left out: what other firmware reports (ACPI data, NVS, persistent memory), and what the kernel
itself changes in the map beyond dropping the first page.
"""

from typing import Final

from attrs import frozen

from mmactors.units import GIB, KIB, MIB

LOW_RAM_END: Final = 0x9FC00
"""639 KiB; above it the firmware keeps its extended data area."""
ROM_START: Final = 0xF0000
HIGH_RAM_START: Final = 1 * MIB
ABOVE_4G_START: Final = 4 * GIB

_SPLIT: Final = {
    # QEMU hw/i386/pc_piix.c and pc_q35.c: up to this much RAM stays below 4 GiB; a machine with
    # more has its low RAM cut to a whole number of GiB, so that 1 GiB pages map it.
    "pc": (0xE000_0000, 3 * GIB),
    "q35": (0xB000_0000, 2 * GIB),
}
MACHINES: Final = tuple(_SPLIT)


@frozen(kw_only=True)
class E820Entry:
    """One range `[start, end)` of the map."""

    start: int
    end: int
    usable: bool


def ram_below_4g(size: int, *, machine: str) -> int:
    """Return how many of `size` bytes of RAM lie below 4 GiB."""
    most, cut = _SPLIT[machine]
    return size if size < most else cut


def e820_map(size: int, *, machine: str, firmware_tables: int) -> tuple[E820Entry, ...]:
    """Return the map of a machine with `size` bytes of RAM.

    `firmware_tables` bytes at the top of low RAM hold the ACPI tables and are reserved.
    """
    low = ram_below_4g(size, machine=machine)
    high = size - low
    entries = [
        (0, LOW_RAM_END, True),
        (LOW_RAM_END, 640 * KIB, False),
        (ROM_START, HIGH_RAM_START, False),
        (HIGH_RAM_START, low - firmware_tables, True),
        (low - firmware_tables, low, False),
        (0xFFFC_0000, 4 * GIB, False),  # the firmware's flash
        (ABOVE_4G_START, ABOVE_4G_START + high, True),
        (0xFD_0000_0000, 0x100_0000_0000, False),  # AMD HyperTransport
    ]
    above_4g = ABOVE_4G_START + high
    if above_4g > entries[-1][0]:
        # QEMU moves all RAM above 4 GiB beyond the HyperTransport hole when it would reach it.
        entries[6], entries[7] = entries[7], (entries[7][1], entries[7][1] + high, True)
    return tuple(
        E820Entry(start=start, end=end, usable=usable)
        for start, end, usable in entries
        if start < end
    )


def last_usable_below_4g(entries: tuple[E820Entry, ...]) -> int:
    """Return where usable memory below 4 GiB ends."""
    return max(entry.end for entry in entries if entry.usable and entry.end <= ABOVE_4G_START)
