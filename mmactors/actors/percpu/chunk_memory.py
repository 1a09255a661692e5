"""What chunks of per-CPU memory are described in, and which addresses they have (v6.1)."""

from functools import partial
from typing import Final

from attrs import define

from mmactors.actors.slab.slab import SlabAllocator
from mmactors.actors.state.kernel import Kernel
from mmactors.actors.vmalloc.access import WORD_SEEN
from mmactors.actors.vmalloc.vmalloc import Vmalloc
from mmactors.engine.cpu import Cpu
from mmactors.mm.page_alloc.gfp import GFP_ZERO
from mmactors.mm.percpu.unit_layout import PcpuUnits
from mmactors.mm.slab.caller import SlabCaller
from mmactors.mm.slab.oops import oops, wild_pointer
from mmactors.mm.slab.slab_common import PAGE_OFFSET
from mmactors.units import PAGE_SHIFT, PAGE_SIZE

_SITE: Final = "pcpu_mem_zalloc"
_FREE_SITE: Final = "pcpu_free_chunk"
_WORD: Final = 1 << 64
_DIRECT_MAP_END: Final = PAGE_OFFSET + (64 << 40)
"""With four levels of tables it has 64 TiB; behind it are other addresses of the kernel's."""


def signed(address: int) -> int:
    """Return an address of the kernel's as the signed word that page tables go by."""
    return address - _WORD


@define(eq=False, kw_only=True)
class ChunkMemory:
    """All of it, on one machine."""

    kernel: Kernel
    slab: SlabAllocator
    vmalloc: Vmalloc

    async def zalloc(self, cpu: Cpu, nr_bytes: int, gfp: int) -> int:
        """Return the address of zeros, 0: no memory; more than a page is vmalloc's."""
        gfp |= GFP_ZERO
        if nr_bytes > PAGE_SIZE:
            return await self.vmalloc.vmalloc(cpu, nr_bytes, gfp, caller=_SITE)
        return await self.slab.kmalloc(cpu, nr_bytes, gfp, partial(SlabCaller, site=_SITE))

    async def free(self, cpu: Cpu, address: int) -> None:
        """Give it back (kvfree)."""
        if address < 0:
            await self.vmalloc.vfree(cpu, address)
        else:
            await self.slab.kfree(cpu, address, partial(SlabCaller, site=_FREE_SITE))

    async def get_areas(self, cpu: Cpu, units: PcpuUnits) -> int:
        """Return the base address of a new chunk, 0: no addresses, or no memory."""
        base = await self.vmalloc.pcpu_get_vm_areas(
            cpu,
            [offset >> PAGE_SHIFT for offset in units.group_offsets],
            [size >> PAGE_SHIFT for size in units.group_sizes],
            units.atom_size >> PAGE_SHIFT,
        )
        return base + _WORD if base else 0

    async def access(self, cpu: Cpu, address: int, nr_bytes: int, *, value: int | None) -> int:
        """Write bytes of a unit, or read them (None); return the first ones as they are then.

        What boot has set aside lies in the direct map, which no TLB is asked for here. Raise
        KernelOopsError where nothing is mapped.
        """
        memory = self.vmalloc.memory
        if address >= _DIRECT_MAP_END:
            return await memory.access(cpu, signed(address), nr_bytes, value=value)
        await self.kernel.engine.spend(self.kernel.costs.slab_ns)
        start = address - PAGE_OFFSET
        if start + nr_bytes > self.kernel.pages.nr_frames << PAGE_SHIFT:
            oops(self.kernel.slab.memory, *wild_pointer(start + nr_bytes))
        word = b""
        for pfn in range(start >> PAGE_SHIFT, (start + nr_bytes - 1 >> PAGE_SHIFT) + 1):
            page = pfn << PAGE_SHIFT
            first, end = max(start - page, 0), min(start + nr_bytes - page, PAGE_SIZE)
            if value is not None:
                memory.store(pfn, first, bytes([value]) * (end - first))
            word += memory.read(pfn)[first:end][: WORD_SEEN - len(word)]
        return int.from_bytes(word, "little")

    async def free_areas(self, cpu: Cpu, base_addr: int) -> None:
        """Give a chunk's addresses back."""
        await self.vmalloc.pcpu_free_vm_areas(cpu, base_addr - _WORD)
