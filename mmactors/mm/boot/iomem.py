"""/proc/iomem: which physical addresses are memory, and what else lies where (v6.1, x86-64).

The map's entries, the parts of the kernel, crash kernels, the windows and devices of QEMU's PC
machines, and what is left free behind RAM (kernel/resource.c, e820__reserve_resources_late).
Addresses are bytes.

Left out: devices on the PCI bus; drivers that claim persistent memory.
"""

from collections.abc import Iterator
from typing import Final

from attrs import define, field

from mmactors.mm.boot.e820 import (
    ABOVE_4G_START,
    E820_ACPI,
    E820_NVS,
    E820_PMEM,
    E820_PRAM,
    E820_RAM,
    E820_RESERVED,
    E820_RESERVED_KERN,
    E820_SOFT_RESERVED,
    E820_UNUSABLE,
    HIGH_RAM_START,
    ROM_START,
)
from mmactors.mm.boot.regions import RegionList
from mmactors.mm.boot.zone_init import BootedMemory
from mmactors.units import GIB, KIB, MIB

_E820_NAMES: Final = {
    E820_RAM: "System RAM",
    E820_RESERVED_KERN: "System RAM",
    E820_ACPI: "ACPI Tables",
    E820_NVS: "ACPI Non-volatile Storage",
    E820_UNUSABLE: "Unusable memory",
    E820_PRAM: "Persistent Memory (legacy)",
    E820_PMEM: "Persistent Memory",
    E820_RESERVED: "Reserved",
    E820_SOFT_RESERVED: "Soft Reserved",
}
_VGA_START, _VGA_END = 0xA0000, 0xC0000
_PCI_LOW_END: Final = 0xFEC0_0000
_PCI_HIGH_BYTES: Final = {"pc": 2 * GIB, "q35": 32 * GIB}
_MMCONFIG_START, _MMCONFIG_END = 0xB000_0000, 0xC000_0000
_PCI_BUS: Final = "PCI Bus 0000:00"
_DEVICES: Final = (
    (0xC0000, 0xC0600, "Video ROM"),
    (ROM_START, HIGH_RAM_START, "System ROM"),
    (0xFEC0_0000, 0xFEC0_0400, "IOAPIC 0"),
    (0xFED0_0000, 0xFED0_0400, "HPET 0"),
    (0xFED0_0000, 0xFED0_0400, "PNP0103:00"),
    (0xFEE0_0000, 0xFEE0_1000, "Local APIC"),
)


@define(eq=False, repr=False)
class Resource:
    """A range with a name, and what lies in it, rising (struct resource)."""

    start: int
    end: int
    name: str
    children: list["Resource"] = field(factory=list, init=False)

    def insert(self, new: "Resource") -> None:
        """Put a resource where it belongs: into one that holds it, around those in it.

        One that cuts another is left out, as the kernel does (insert_resource).
        """
        for child in self.children:
            if child.start <= new.start and new.end <= child.end:
                child.insert(new)
                return
        inside = [child for child in self.children if new.start <= child.start < new.end]
        if any(child.end > new.end for child in inside) or any(
            child.start < new.start < child.end for child in self.children
        ):
            return
        new.children = inside
        self.children = [child for child in self.children if child not in inside]
        self.children.append(new)
        self.children.sort(key=lambda child: child.start)

    def lines(self, depth: int = 0) -> Iterator[str]:
        """Yield what lies in it as /proc/iomem shows it."""
        for child in self.children:
            yield f"{'  ' * depth}{child.start:08x}-{child.end - 1:08x} : {child.name}"
            yield from child.lines(depth + 1)


def iomem(booted: BootedMemory) -> str:
    """Return the text of /proc/iomem."""
    return "".join(f"{line}\n" for line in _resources(booted).lines())


def _resources(booted: BootedMemory) -> Resource:
    early = booted.early
    root = Resource(0, 1 << 64, "PCI mem")
    image = early.image
    entries = [Resource(e.start, e.end, _E820_NAMES[e.type]) for e in early.e820.entries]
    late = [entry for entry in entries if _is_late(entry)]
    for entry in entries:
        if entry not in late:
            root.insert(entry)
    for start, end, name in (
        (image.text_start, image.text_end, "Kernel code"),
        (image.rodata_start, image.rodata_end, "Kernel rodata"),
        (image.data_start, image.data_end, "Kernel data"),
        (image.bss_start, image.bss_end, "Kernel bss"),
        *((start, end, "Crash kernel") for start, end in early.crash_ranges),
    ):
        if end <= image.kernel_end or name == "Crash kernel":
            root.insert(Resource(start, end, name))
    for start, end, name in (*_windows(booted), *_DEVICES):
        root.insert(Resource(start, end, name))
    for entry in late:
        root.insert(entry)
    if early.firmware.machine == "q35":
        root.insert(Resource(_MMCONFIG_START, _MMCONFIG_END, "pnp 00:04"))
    for start, end in _ram_buffers(booted, root):
        root.insert(Resource(start, end, "RAM buffer"))
    return root


def _is_late(entry: Resource) -> bool:
    """Return whether the PCI bus has the first say where this lies (do_mark_busy)."""
    return entry.start >= HIGH_RAM_START and entry.name in (
        _E820_NAMES[E820_RESERVED],
        _E820_NAMES[E820_SOFT_RESERVED],
        _E820_NAMES[E820_PRAM],
        _E820_NAMES[E820_PMEM],
    )


def _windows(booted: BootedMemory) -> Iterator[tuple[int, int, str]]:
    """Yield what the firmware gives to the PCI bus: between RAM and devices, and behind RAM."""
    ends = [entry.end for entry in booted.early.firmware.entries if entry.usable]
    for entry in booted.early.firmware.entries:
        if entry.start in ends:  # the firmware's tables at the end of RAM
            ends.append(entry.end)
    low = max(end for end in ends if end <= ABOVE_4G_START)
    high = -(-max(*ends, ABOVE_4G_START) // GIB) * GIB
    yield _VGA_START, _VGA_END, _PCI_BUS
    machine = booted.early.firmware.machine
    if machine == "q35":
        yield low, _MMCONFIG_START, _PCI_BUS
        yield _MMCONFIG_START, _MMCONFIG_END, "PCI MMCONFIG 0000 [bus 00-ff]"
        low = _MMCONFIG_END
    yield low, _PCI_LOW_END, _PCI_BUS
    yield high, high + _PCI_HIGH_BYTES[machine], _PCI_BUS


def _ram_buffers(booted: BootedMemory, root: Resource) -> Iterator[tuple[int, int]]:
    """Yield what is free from the end of RAM to a round address: no device shall lie there."""
    for entry in booted.early.e820.entries:
        if entry.type != E820_RAM:
            continue
        align = 64 * MIB
        if entry.end < 16 * MIB:
            align = MIB if entry.end >= MIB else 64 * KIB
        taken = RegionList()
        for child in root.children:
            taken.add(child.start, child.end)
        yield from taken.gaps(entry.end, -(-entry.end // align) * align)
