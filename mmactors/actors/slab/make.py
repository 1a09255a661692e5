"""The object allocator of a machine, as boot leaves it: its first caches, and none with a slab.

What an allocator is made of is loaded when a machine has it.
"""

from typing import Any

from attrs import evolve

from mmactors.actors.slab.slab import SlabAllocator
from mmactors.actors.state.kernel import Kernel
from mmactors.arch.arena import Arena
from mmactors.engine.chance import ALLOCATION_FAILS
from mmactors.engine.lock.spinlock import Mutex
from mmactors.mm.page_alloc.buddy import MANAGED_PAGES
from mmactors.mm.slab.boot_option import SlabArguments
from mmactors.mm.slab.common_calls import SlabCommon
from mmactors.mm.slab.slab_common import Prandom
from mmactors.mm.slab.slab_memory import MemoryParts
from mmactors.units import PAGE_SHIFT


def nr_list_heads(kind: str, *, nr_nodes: int) -> int:
    """Return how many heads of lists of pages all caches of an allocator may need."""
    if kind == "slab":
        from mmactors.mm.slab.slab.cache import nr_list_heads  # noqa: PLC0415
    elif kind == "slob":
        from mmactors.mm.slab.slob.heap import LISTS  # noqa: PLC0415

        return len(LISTS)
    else:
        from mmactors.mm.slab.slub.cache import nr_list_heads  # noqa: PLC0415
    return nr_list_heads(nr_nodes=nr_nodes)


def make_slab(
    kernel: Kernel,
    arena: Arena,
    kind: str,
    arguments: SlabArguments,
    *,
    nr_possible_cpus: int,
    seed: int,
) -> SlabAllocator:
    """Return the allocator of a machine; `seed`: what its random numbers follow from."""
    engine = kernel.engine
    make = {"slub": _slub, "slab": _slab, "slob": _slob}[kind]
    common = make(kernel, arena, arguments, nr_possible_cpus, seed)
    common.create_caches()
    locks = kernel.locks
    return SlabAllocator(
        kernel=kernel,
        allocator=common.allocator,
        common=common,
        slab_mutex=Mutex(engine, locks.of("slab_mutex"), name="slab_mutex"),
        flush_lock=(
            Mutex(engine, locks.of("flush_lock"), name="flush_lock") if kind == "slub" else None
        ),
    )


def _parts(kernel: Kernel, seed: int) -> MemoryParts:
    """Return what any allocator is given of a machine."""
    engine = kernel.engine
    nr_nodes = 1 + max((*kernel.cpu_node, *kernel.zone_node))
    is_stepping = engine.is_exploring or engine.guard.on
    # Each CPU has its own numbers, so that none depends on what others do (get_random_u32).
    randoms = [Prandom((seed << 8) + cpu) for cpu in range(len(kernel.cpu_node))]

    def random_below(ceiling: int) -> int:
        return randoms[engine.cpu_index].below(ceiling)

    return MemoryParts(
        pages=kernel.pages,
        memory=kernel.memory,
        zones=[(zone.node, zone.index) for zone in kernel.allocator.zones],
        node_of_cpu=kernel.cpu_node,
        nodes_by_distance=[
            sorted((n for n in range(nr_nodes) if n != node), key=lambda n: (abs(n - node), n))
            for node in range(nr_nodes)
        ],
        random_below=random_below,
        vmstat=kernel.vmstat,
        wants_step=lambda: is_stepping,
        may_fail=lambda: ALLOCATION_FAILS in engine.allowed,
    )


def _slub(
    kernel: Kernel, arena: Arena, arguments: SlabArguments, nr_possible_cpus: int, seed: int
) -> SlabCommon[Any]:
    from mmactors.mm.slab.kmalloc import Kmalloc  # noqa: PLC0415
    from mmactors.mm.slab.slub.cache import Slabs  # noqa: PLC0415
    from mmactors.mm.slab.slub.slub import Slub  # noqa: PLC0415

    config = arguments.slub_config(nr_cpus=len(kernel.cpu_node), nr_cpu_ids=nr_possible_cpus)
    config = evolve(config, rules=kernel.rules)
    slabs = Slabs(arena=arena, config=config, **_parts(kernel, seed))
    return Kmalloc(Slub(slabs, random=Prandom(seed)))


def _slab(
    kernel: Kernel, arena: Arena, arguments: SlabArguments, nr_possible_cpus: int, seed: int
) -> SlabCommon[Any]:
    from mmactors.mm.slab.kmalloc import Kmalloc  # noqa: PLC0415
    from mmactors.mm.slab.slab.cache import Slabs  # noqa: PLC0415
    from mmactors.mm.slab.slab.layout import SlabConfig, slab_max_order  # noqa: PLC0415
    from mmactors.mm.slab.slab.slab import Slab  # noqa: PLC0415

    max_order = arguments.slab_max_order
    if max_order is None:
        nr_pages = sum(zone.view[MANAGED_PAGES] for zone in kernel.allocator.zones)
        max_order = slab_max_order(nr_pages << PAGE_SHIFT)
    config = SlabConfig(
        nr_cpus=len(kernel.cpu_node),
        nr_possible_cpus=nr_possible_cpus,
        max_order=max_order,
        merge=arguments.merge,
        alien_caches=arguments.has_alien_caches,
        rules=kernel.rules,
    )
    slabs = Slabs(arena, config, **_parts(kernel, seed))
    return Kmalloc(Slab(slabs, random=Prandom(seed)))


def _slob(
    kernel: Kernel, _arena: Arena, _arguments: SlabArguments, _nr_possible_cpus: int, seed: int
) -> SlabCommon[Any]:
    from mmactors.mm.slab.slab_memory import SlabMemory  # noqa: PLC0415
    from mmactors.mm.slab.slob.kmalloc import SlobKmalloc  # noqa: PLC0415
    from mmactors.mm.slab.slob.slob import Slob  # noqa: PLC0415

    return SlobKmalloc(Slob(SlabMemory(rules=kernel.rules, **_parts(kernel, seed))))
