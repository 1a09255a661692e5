"""Who has the kernel's own objects when no process is left: caches, and the files that stay."""

from collections.abc import Iterator

from mmactors.actors.state.kernel import Kernel


def held_objects(kernel: Kernel) -> Iterator[int]:
    """Yield the address of each object that outlives all processes."""
    for s in kernel.slub.caches:
        yield from s.own_objects
    for mapping in kernel.file_system.mappings():
        for node in mapping.i_pages.nodes:
            yield node.thing
