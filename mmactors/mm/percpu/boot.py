"""The allocator as boot leaves it: the first chunk's dynamic and reserved parts (v6.1).

None of it is in use: what a booted kernel has there, its modules and subsystems have allocated.
"""

from collections.abc import Sequence

from mmactors.label import WantsStep, never
from mmactors.mm.boot.kernel_image import DEBIAN_6_1, KernelImage
from mmactors.mm.percpu.pcpu_chunk import PcpuChunk
from mmactors.mm.percpu.percpu import Percpu
from mmactors.mm.percpu.unit_layout import units_of
from mmactors.units import PAGE_SHIFT


def setup_first_chunk(
    areas: Sequence[int],
    cpu_node: tuple[int, ...],
    image: KernelImage = DEBIAN_6_1,
    *,
    wants_step: WantsStep = never,
) -> Percpu:
    """Return it for groups of units at these addresses (pcpu_setup_first_chunk)."""
    units = units_of(areas, cpu_node)
    reserved_at = units.base_addr + image.percpu_static_bytes
    reserved = PcpuChunk.first(reserved_at, image.percpu_reserved_bytes)
    first_at = reserved_at + image.percpu_reserved_bytes
    first = PcpuChunk.first(first_at, image.percpu_dynamic_bytes)
    nr_pages = image.percpu_bytes >> PAGE_SHIFT
    return Percpu(units, first, reserved, nr_pages=nr_pages, wants_step=wants_step)
