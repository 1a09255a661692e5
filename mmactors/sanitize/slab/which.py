"""The look at a machine's allocator: what it is made of is loaded when a machine has it."""

from typing import Any

from mmactors.mm.slab.allocator import ObjectAllocator
from mmactors.sanitize.slab.look import Look


def look_at(allocator: ObjectAllocator[Any]) -> Look:
    """Return how checkers look at the objects of an allocator."""
    match allocator.kind:
        case "slab":
            from mmactors.sanitize.slab.slab_walk import LookAtSlab  # noqa: PLC0415

            return LookAtSlab(allocator)
        case "slob":
            from mmactors.sanitize.slab.slob_walk import LookAtSlob  # noqa: PLC0415

            return LookAtSlob(allocator)
        case _:
            from mmactors.sanitize.slab.slub_walk import LookAtSlub  # noqa: PLC0415

            return LookAtSlub(allocator)
