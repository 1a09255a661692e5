"""Working off what waits for the LRU lists, and freeing what nobody else holds (mm/swap.c, 6.1).

A batch holds a reference of each of its pages. When it is worked off, some of them may have nobody
else left: they are freed before whoever did it does anything else, as release_pages frees them.

Simplified: what kworkers of other CPUs do for `lru_add_drain_all` is done by who waits for them.
"""

from mmactors.actors.alloc.page_alloc import free_page_list
from mmactors.actors.state.kernel import Kernel
from mmactors.engine.cpu import Cpu
from mmactors.label import Mode, lru
from mmactors.mm.lru.folio_batch import PAGEVEC_SIZE, FolioBatches


async def lru_add_drain(kernel: Kernel, cpu: Cpu) -> None:
    """Work off the batches of the running CPU."""
    batches = kernel.lru[cpu.index]
    kernel.engine.touch(lru(cpu.index), Mode.READ)
    batches.drain()
    if batches.released:
        await free_released(kernel, cpu, batches)


async def lru_add_drain_all(kernel: Kernel, cpu: Cpu) -> None:
    """Work off the batches of all CPUs on which pages wait."""
    for owner, batches in enumerate(kernel.lru):
        kernel.engine.touch(lru(owner), Mode.READ)
        if not batches.is_idle():
            batches.drain()
            if batches.released:
                await free_released(kernel, cpu, batches)


async def lru_cache_disable(kernel: Kernel, cpu: Cpu) -> None:
    """Let no page wait in a batch until `lru_cache_enable`."""
    _set_size(kernel, 1)
    await lru_add_drain_all(kernel, cpu)


def lru_cache_enable(kernel: Kernel) -> None:
    """Let pages wait again."""
    _set_size(kernel, PAGEVEC_SIZE)


async def free_released(kernel: Kernel, cpu: Cpu, batches: FolioBatches) -> None:
    """Free the pages whose last reference a batch held."""
    pfns = batches.released.copy()
    batches.released.clear()
    await free_page_list(kernel, cpu, pfns)


def _set_size(kernel: Kernel, size: int) -> None:
    for owner, batches in enumerate(kernel.lru):
        kernel.engine.touch(lru(owner), Mode.WRITE)
        batches.size = size
