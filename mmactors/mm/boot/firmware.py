"""What the firmware of QEMU's PC machines puts into memory beside the map (QEMU 7.2).

ACPI tables at the beginning of the range that is reserved for them, in the order in which Linux
finds them, and which memory is on which node (SRAT). Addresses and sizes are bytes.

Left out: what distances are (nodes count as equally far), HMAT, memory hotplug slots.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from mmactors.mm.boot.e820 import ABOVE_4G_START, E820Entry
from mmactors.units import KIB, MIB

_FACS_BYTES, _HPET_BYTES, _WAET_BYTES, _MCFG_BYTES, _SLIT_BYTES = 64, 56, 40, 60, 44
_FACP_BYTES: Final = {"pc": 116, "q35": 244}
_MADT_BYTES, _MADT_CPU_BYTES = 112, 8
_SRAT_BYTES, _SRAT_CPU_BYTES, _SRAT_MEMORY_BYTES = 48, 16, 40
_DSDT_BYTES: Final = {"pc": 6385, "q35": 8232}
"""With one CPU."""
_DSDT_LONG_BYTES: Final = 3050
"""Further CPUs' bytes from which on the length of their devices takes a byte more."""
_HOLE_START, _HOLE_END = 640 * KIB, 1 * MIB


class NodeRange(NamedTuple):
    """One range of memory of a node, as SRAT has it."""

    node: int
    start: int
    end: int


class Firmware(NamedTuple):
    """All that a kernel is told before it starts, but for its command line."""

    entries: tuple[E820Entry, ...]
    cpu_node: tuple[int, ...]
    """By CPU: its node."""
    memory_affinity: tuple[NodeRange, ...] = ()
    """SRAT; empty: there is none."""
    has_distances: bool = False
    """There is a table of distances between nodes (SLIT)."""
    machine: str = "pc"
    initramfs: tuple[int, int] = (0, 0)
    """Where the boot loader has put it; empty: there is none."""

    @property
    def nr_nodes(self) -> int:
        """Nodes with memory or a CPU by SRAT; 1 without it."""
        if not self.memory_affinity:
            return 1
        return 1 + max(*self.cpu_node, *(entry.node for entry in self.memory_affinity))

    def acpi_tables(self) -> tuple[tuple[int, int], ...]:
        """Return the range of each table, in the order in which Linux reserves them.

        Empty if no range for them is reserved, or it is too small.
        """
        room = self._table_room()
        if room is None:
            return ()
        nr_cpus = len(self.cpu_node)
        sizes = [_FACS_BYTES, self._dsdt_bytes(), _FACP_BYTES[self.machine]]
        sizes += [_MADT_BYTES + _MADT_CPU_BYTES * nr_cpus, _HPET_BYTES]
        if self.memory_affinity:
            nr_ranges = max(len(self.memory_affinity), self.nr_nodes + 2)
            sizes.append(_SRAT_BYTES + _SRAT_CPU_BYTES * nr_cpus + _SRAT_MEMORY_BYTES * nr_ranges)
        if self.has_distances:
            sizes.append(_SLIT_BYTES + self.nr_nodes * self.nr_nodes)
        if self.machine == "q35":
            sizes.append(_MCFG_BYTES)
        sizes.append(_WAET_BYTES)
        start, end = room
        tables = []
        for size in sizes:
            tables.append((start, start + size))
            start += size
        if start > end:
            return ()
        facs, dsdt, facp, *others = tables
        return (facp, dsdt, facs, *others)  # FACP is found first, and names the other two.

    def _table_room(self) -> tuple[int, int] | None:
        """Return the reserved range that follows low RAM."""
        ends = {e.end for e in self.entries if e.usable and _HOLE_END < e.end <= ABOVE_4G_START}
        for entry in self.entries:
            if not entry.usable and entry.start in ends:
                return entry.start, entry.end
        return None

    def _dsdt_bytes(self) -> int:
        """Return the size of the table that describes devices, with one for each CPU.

        A CPU's number takes one byte more from 2 on; the length of the method that names all
        CPUs takes two bytes from five CPUs on, that of all their devices three from 4 KiB on.
        """
        nr_cpus = len(self.cpu_node)
        nr_bytes = 83 * (nr_cpus > 1) + 86 * max(nr_cpus - 2, 0) + (nr_cpus > 4)
        if self.memory_affinity:
            nr_bytes += sum(6 + (node > 1) for node in self.cpu_node)
        return _DSDT_BYTES[self.machine] + nr_bytes + (nr_bytes > _DSDT_LONG_BYTES)


def memory_affinity(sizes: Sequence[int], *, ram_below_4g: int) -> tuple[NodeRange, ...]:
    """Return the SRAT of nodes with so much RAM each, one behind the other (build_srat)."""
    found: list[NodeRange] = []
    next_base = 0
    above = max((sum(sizes) - ram_below_4g, 0))
    for node, size in enumerate(sizes):
        base, next_base = next_base, next_base + size
        if base <= _HOLE_START < next_base:
            found.append(NodeRange(node, base, _HOLE_START))
            if next_base <= _HOLE_END:
                next_base = _HOLE_END
                continue
            base = _HOLE_END
        if above and base <= ram_below_4g < next_base:
            if base < ram_below_4g:
                found.append(NodeRange(node, base, ram_below_4g))
            base, next_base = ABOVE_4G_START, ABOVE_4G_START + next_base - ram_below_4g
        found.append(NodeRange(node, base, next_base))
    return tuple(entry for entry in found if entry.start < entry.end)
