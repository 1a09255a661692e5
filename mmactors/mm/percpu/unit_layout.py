"""How the units of CPUs lie: where a CPU's copy of an area is (struct pcpu_alloc_info, v6.1)."""

from collections.abc import Sequence

from attrs import frozen

from mmactors.mm.boot.percpu_chunk import unit_layout
from mmactors.units import MIB, PAGE_SHIFT


@frozen(kw_only=True)
class PcpuUnits:
    """What boot has laid down, for all chunks alike. Amounts are bytes, offsets a chunk's."""

    unit_pages: int
    base_addr: int
    """pcpu_base_addr: where the first chunk begins, with the kernel's own variables."""
    unit_offsets: tuple[int, ...]
    """By possible CPU: where its unit begins."""
    cpu_node: tuple[int, ...] = ()
    """By possible CPU: its node."""
    group_offsets: tuple[int, ...] = (0,)
    """By group of near CPUs: where its units begin."""
    group_units: tuple[int, ...] = (1,)
    """How many units it has, also those without a CPU."""
    atom_size: int = 2 * MIB

    @property
    def unit_size(self) -> int:
        """Bytes of a unit."""
        return self.unit_pages << PAGE_SHIFT

    @property
    def nr_units(self) -> int:
        """Units of all groups."""
        return sum(self.group_units)

    @property
    def group_sizes(self) -> tuple[int, ...]:
        """By group: its bytes."""
        return tuple(nr_units * self.unit_size for nr_units in self.group_units)

    @property
    def low_offset(self) -> int:
        """Where the first unit begins that is some CPU's."""
        return min(self.unit_offsets)

    @property
    def high_offset(self) -> int:
        """The same of the last one."""
        return max(self.unit_offsets)


def units_of(areas: Sequence[int], cpu_node: tuple[int, ...]) -> PcpuUnits:
    """Return how units lie whose groups begin at these addresses of the direct map."""
    layout = unit_layout(cpu_node)
    base = min(areas)
    nodes = [node for node, _ in layout.groups]
    offsets = []
    for cpu, node in enumerate(cpu_node):
        nth = cpu_node[:cpu].count(node)
        offsets.append(areas[nodes.index(node)] - base + nth * layout.unit_bytes)
    return PcpuUnits(
        unit_pages=layout.unit_bytes >> PAGE_SHIFT,
        base_addr=base,
        unit_offsets=tuple(offsets),
        cpu_node=cpu_node,
        group_offsets=tuple(area - base for area in areas),
        group_units=tuple(layout.nr_units(nr_cpus) for _, nr_cpus in layout.groups),
    )
