"""How the units of CPUs lie: where a CPU's copy of an area is (struct pcpu_alloc_info, v6.1)."""

from attrs import frozen

from mmactors.units import PAGE_SHIFT


@frozen(kw_only=True)
class PcpuUnits:
    """What boot has laid down, for all chunks alike. Amounts are bytes."""

    unit_pages: int
    base_addr: int
    """pcpu_base_addr: where the first chunk begins, with the kernel's own variables."""
    unit_offsets: tuple[int, ...]
    """By CPU: where its unit begins in any chunk, from the chunk's base address on."""
    group_offsets: tuple[int, ...] = (0,)
    """By group of near CPUs: where its units begin."""
    group_sizes: tuple[int, ...] = (0,)
    atom_size: int = 2 << 20
    nr_units: int = 1

    @property
    def unit_size(self) -> int:
        """Bytes of a unit."""
        return self.unit_pages << PAGE_SHIFT

    @property
    def low_offset(self) -> int:
        """Where the first unit begins that is some CPU's."""
        return min(self.unit_offsets)

    @property
    def high_offset(self) -> int:
        """The same of the last one."""
        return max(self.unit_offsets)
