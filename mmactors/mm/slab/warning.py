"""What a WARN() of the object allocators says in the kernel's log (Linux 6.1)."""

from mmactors.mm.slab.caller import SlabCaller
from mmactors.mm.slab.slab_memory import SlabMemory


def warning_once(
    memory: SlabMemory, cpu: int, caller: SlabCaller, place: str, *text: str
) -> tuple[str, ...]:
    """Return what a WARN_ONCE() says, which is nothing the second time."""
    return () if place in memory.warned else warning(memory, cpu, caller, place, *text)


def create_failed(name: str, error: int) -> tuple[str, ...]:
    """Return what the creation of a cache that fails says; `error` is negative."""
    return (f"kmem_cache_create_usercopy({name}) failed with error {error}",)


def warning(
    memory: SlabMemory, cpu: int, caller: SlabCaller, place: str, *text: str
) -> tuple[str, ...]:
    """Return what a WARN() at a place in the source says."""
    memory.taints += "W"
    memory.warned.add(place)
    return (
        "------------[ cut here ]------------",
        *text,
        f"WARNING: CPU: {cpu} PID: {caller.pid} at {place}",
        "---[ end trace 0000000000000000 ]---",
    )


def still_has_objects(
    memory: SlabMemory, name: str, cpu: int, caller: SlabCaller
) -> tuple[str, ...]:
    """Return what kmem_cache_destroy warns of."""
    where = f" when called from {caller.site}" if caller.site else ""
    text = f"kmem_cache_destroy {name}: Slab cache still has objects{where}"
    return warning(memory, cpu, caller, "mm/slab_common.c:493 kmem_cache_destroy", text)
