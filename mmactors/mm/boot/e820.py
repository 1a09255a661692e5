"""The memory map: what the firmware reports and what the kernel makes of it (e820.c, v6.1).

QEMU's PC machines put RAM below the PCI hole and go on at 4 GiB. The kernel then changes its copy
as its arguments say (`mem=`, `memmap=`), and drops the first page. Addresses are bytes.

Left out: what other firmware reports (ACPI data, NVS, persistent memory).
"""

from collections.abc import Iterable
from itertools import pairwise
from typing import Final, NamedTuple

from attrs import Factory, define

from mmactors.units import GIB, KIB, MIB, PAGE_SHIFT, PAGE_SIZE

LOW_RAM_END: Final = 0x9FC00
"""639 KiB; above it the firmware keeps its extended data area."""
ROM_START: Final = 0xF0000
HIGH_RAM_START: Final = 1 * MIB
ABOVE_4G_START: Final = 4 * GIB
ULLONG_MAX: Final = (1 << 64) - 1

E820_RAM, E820_RESERVED, E820_ACPI, E820_NVS, E820_UNUSABLE = 1, 2, 3, 4, 5
E820_PMEM, E820_PRAM, E820_RESERVED_KERN, E820_SOFT_RESERVED = 7, 12, 128, 0xEFFFFFFF
IS_MEMORY: Final = frozenset({E820_RAM, E820_RESERVED_KERN})

_TYPE_TEXTS: Final = {
    # As the boot log prints a type (e820_print_type).
    E820_RAM: "usable",
    E820_RESERVED_KERN: "usable",
    E820_RESERVED: "reserved",
    E820_SOFT_RESERVED: "soft reserved",
    E820_ACPI: "ACPI data",
    E820_NVS: "ACPI NVS",
    E820_UNUSABLE: "unusable",
    E820_PMEM: f"persistent (type {E820_PMEM})",
    E820_PRAM: f"persistent (type {E820_PRAM})",
}
TYPES_BY_TEXT: Final = {
    text: type_ for type_, text in _TYPE_TEXTS.items() if type_ != E820_RESERVED_KERN
}
_NEVER_MERGED: Final = frozenset({E820_PRAM, E820_SOFT_RESERVED})
_BIOS_START, _BIOS_END = 0xA0000, 0x100000

_SPLIT: Final = {
    # QEMU hw/i386/pc_piix.c and pc_q35.c: up to this much RAM stays below 4 GiB; a machine with
    # more has its low RAM cut to a whole number of GiB, so that 1 GiB pages map it.
    "pc": (0xE000_0000, 3 * GIB),
    "q35": (0xB000_0000, 2 * GIB),
}
MACHINES: Final = tuple(_SPLIT)
_RESERVED_BY_MACHINE: Final = {
    "pc": (),
    # How PCI devices are configured (MMCONFIG), and registers of the chip set.
    "q35": (
        (0xB000_0000, 0xC000_0000, E820_RESERVED),
        (0xFED1_C000, 0xFED2_0000, E820_RESERVED),
    ),
}
_HYPER_TRANSPORT, _HYPER_TRANSPORT_END = 0xFD_0000_0000, 0x100_0000_0000
"""A hole that AMD's processors keep."""


class E820Entry(NamedTuple):
    """One range `[start, end)` of the map, and its type."""

    start: int
    end: int
    type: int = E820_RESERVED

    @property
    def usable(self) -> bool:
        """Whether the kernel may use it as memory."""
        return self.type in IS_MEMORY


@define(eq=False, repr=False)
class E820Table:
    """The kernel's map, changed entry by entry, then put in order."""

    entries: list[E820Entry] = Factory(list)

    def add(self, start: int, nr_bytes: int, type_: int) -> None:
        """Append an entry; it may overlap others until the table is updated."""
        self.entries.append(E820Entry(start=start, end=start + nr_bytes, type=type_))

    def change(self, start: int, nr_bytes: int, old_type: int | None, new_type: int | None) -> None:
        """Give `[start, start + nr_bytes)` of one type another type, or remove it (None).

        `old_type` None is any. Source: e820__range_update, e820__range_remove.
        """
        end = start + min(nr_bytes, ULLONG_MAX - start)
        kept: list[E820Entry] = []
        for entry in self.entries:
            low, high = max(start, entry.start), min(end, entry.end)
            if low >= high or old_type not in (None, entry.type):
                kept.append(entry)
                continue
            if entry.start < low:
                kept.append(entry._replace(end=low))
            if new_type is not None:
                kept.append(E820Entry(start=low, end=high, type=new_type))
            if high < entry.end:
                kept.append(entry._replace(start=high))
        self.entries = kept

    def update(self) -> None:
        """Sort, let the highest type win where entries overlap, and merge (e820__update_table)."""
        points = sorted({point for entry in self.entries for point in (entry.start, entry.end)})
        found: list[E820Entry] = []
        for start, end in pairwise(points):
            types = [e.type for e in self.entries if e.start <= start and end <= e.end]
            if not types:
                continue
            type_ = max(types)
            last = found[-1] if found else None
            if (
                last is not None
                and last.end == start
                and last.type == type_
                and type_ not in _NEVER_MERGED
            ):
                found[-1] = last._replace(end=end)
            else:
                found.append(E820Entry(start=start, end=end, type=type_))
        self.entries = found

    def trim_bios_range(self) -> None:
        """Take out the first page and what lies between 640 KiB and 1 MiB."""
        self.change(0, PAGE_SIZE, E820_RAM, E820_RESERVED)
        self.change(_BIOS_START, _BIOS_END - _BIOS_START, E820_RAM, None)
        self.update()

    def add_kernel_range(self, start: int, end: int) -> None:
        """Make sure that the kernel itself lies in RAM (e820_add_kernel_range)."""
        at = start
        for entry in self.entries:
            if entry.type == E820_RAM and entry.start <= at < entry.end:
                at = entry.end
        if at < end:
            self.change(start, end - start, E820_RAM, None)
            self.add(start, end - start, E820_RAM)

    def end_of_ram_pfn(self) -> int:
        """Return the first page frame after all RAM: max_pfn."""
        return max((e.end >> PAGE_SHIFT for e in self.entries if e.type == E820_RAM), default=0)


def ram_below_4g(size: int, *, machine: str) -> int:
    """Return how many of `size` bytes of RAM lie below 4 GiB."""
    most, cut = _SPLIT[machine]
    return size if size < most else cut


def e820_map(size: int, *, machine: str, firmware_tables: int) -> tuple[E820Entry, ...]:
    """Return the firmware's map of a machine with `size` bytes of RAM.

    `firmware_tables` bytes at the top of low RAM hold the ACPI tables and are reserved.
    """
    low = ram_below_4g(size, machine=machine)
    high = size - low
    entries = [
        (0, LOW_RAM_END, E820_RAM),
        (LOW_RAM_END, 640 * KIB, E820_RESERVED),
        (ROM_START, HIGH_RAM_START, E820_RESERVED),
        (HIGH_RAM_START, low - firmware_tables, E820_RAM),
        (low - firmware_tables, low, E820_RESERVED),
        *_RESERVED_BY_MACHINE[machine],
        (0xFFFC_0000, 4 * GIB, E820_RESERVED),  # the firmware's flash
        (ABOVE_4G_START, ABOVE_4G_START + high, E820_RAM),
        (_HYPER_TRANSPORT, _HYPER_TRANSPORT_END, E820_RESERVED),
    ]
    if ABOVE_4G_START + high > _HYPER_TRANSPORT:
        # QEMU moves all RAM above 4 GiB beyond the HyperTransport hole when it would reach it.
        entries[-2:] = [
            entries[-1],
            (_HYPER_TRANSPORT_END, _HYPER_TRANSPORT_END + high, E820_RAM),
        ]
    return tuple(
        E820Entry(start=start, end=end, type=type_) for start, end, type_ in entries if start < end
    )


def last_usable_below_4g(entries: Iterable[E820Entry]) -> int:
    """Return where usable memory below 4 GiB ends."""
    return max(entry.end for entry in entries if entry.usable and entry.end <= ABOVE_4G_START)


def type_text(type_: int) -> str:
    """Return a type as the boot log prints it."""
    return _TYPE_TEXTS.get(type_, f"type {type_}")
