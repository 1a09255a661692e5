"""The object allocator of a machine, as boot leaves it: kmalloc's caches, and none with a slab."""

from attrs import evolve

from mmactors.actors.slab.slab import SlabAllocator
from mmactors.actors.state.kernel import Kernel
from mmactors.arch.arena import Arena
from mmactors.engine.chance import ALLOCATION_FAILS
from mmactors.engine.lock.spinlock import Mutex
from mmactors.mm.slab.kmalloc import Kmalloc
from mmactors.mm.slab.slab_common import Prandom
from mmactors.mm.slab.slub.cache import Slabs
from mmactors.mm.slab.slub.layout import SlubConfig
from mmactors.mm.slab.slub.slub import Slub


def make_slab(kernel: Kernel, arena: Arena, config: SlubConfig, *, seed: int) -> SlabAllocator:
    """Return the allocator of a machine; `seed`: what its random numbers follow from."""
    engine = kernel.engine
    nr_cpus = len(kernel.cpu_node)
    nr_nodes = 1 + max((*kernel.cpu_node, *kernel.zone_node))
    is_stepping = engine.is_exploring or engine.guard.on
    # Each CPU has its own numbers, so that none depends on what others do (get_random_u32).
    randoms = [Prandom((seed << 8) + cpu) for cpu in range(nr_cpus)]

    def random_below(ceiling: int) -> int:
        return randoms[engine.cpu_index].below(ceiling)

    slabs = Slabs(
        arena=arena,
        pages=kernel.pages,
        memory=kernel.memory,
        zones=[(zone.node, zone.index) for zone in kernel.allocator.zones],
        node_of_cpu=kernel.cpu_node,
        nodes_by_distance=[
            sorted((n for n in range(nr_nodes) if n != node), key=lambda n: (abs(n - node), n))
            for node in range(nr_nodes)
        ],
        config=evolve(config, rules=kernel.rules),
        random_below=random_below,
        vmstat=kernel.vmstat,
        wants_step=lambda: is_stepping,
        may_fail=lambda: ALLOCATION_FAILS in engine.allowed,
    )
    slub = Slub(slabs, random=Prandom(seed))
    kmalloc = Kmalloc(slub)
    kmalloc.create_caches()
    locks = kernel.locks
    return SlabAllocator(
        kernel=kernel,
        allocator=slub,
        common=kmalloc,
        slab_mutex=Mutex(engine, locks.of("slab_mutex"), name="slab_mutex"),
        flush_lock=Mutex(engine, locks.of("flush_lock"), name="flush_lock"),
    )
