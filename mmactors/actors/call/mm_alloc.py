"""Making an address space and letting go of it (kernel/fork.c, mm_alloc and mmput; Linux 6.1)."""

from mmactors.actors.alloc.page_table import alloc_table, free_table
from mmactors.actors.call.mmap import exit_mappings
from mmactors.actors.state.address_space import AddressSpace
from mmactors.actors.state.kernel import Kernel
from mmactors.actors.tlb.tlb import shoot_lazy_tlbs
from mmactors.engine.cpu import Cpu
from mmactors.mm.slab.kernel_caches import MM_STRUCT


async def mm_alloc(kernel: Kernel, cpu: Cpu, site: str) -> tuple[int, int] | None:
    """Return the address of an mm_struct and the frame of its top table; None: no memory."""
    thing = await kernel.objects.kmem_cache_alloc(MM_STRUCT, site)
    if not thing:
        return None
    pgd_pfn = await alloc_table(kernel, cpu, kernel.hardware.config.levels)
    if pgd_pfn is None:
        await kernel.objects.kmem_cache_free(MM_STRUCT, thing, "mm_init")
        return None
    return thing, pgd_pfn


async def mmput(kernel: Kernel, cpu: Cpu, space: AddressSpace) -> None:
    """Give everything back when the last user has gone (__mmput: exit_mmap, mmdrop)."""
    mm = space.mm
    await exit_mappings(kernel, cpu, space)
    await shoot_lazy_tlbs(kernel, cpu, mm)
    del kernel.spaces[mm.ctx_id]
    pgd = mm.page_table.free_pgd()
    mm.page_table.release(pgd)
    await free_table(kernel, cpu, pgd.pfn, pgd.level)
    await kernel.objects.kmem_cache_free(MM_STRUCT, mm.thing, "__mmdrop")
