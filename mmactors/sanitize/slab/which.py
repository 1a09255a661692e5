"""The look at a machine's allocator: what it is made of is loaded when a machine has it."""

from typing import Any

from mmactors.mm.slab.allocator import ObjectAllocator
from mmactors.sanitize.slab.look import Look


def look_at(allocator: ObjectAllocator[Any]) -> Look:
    """Return how checkers look at the objects of an allocator."""
    from mmactors.mm.slab.slub.slub import Slub  # noqa: PLC0415
    from mmactors.sanitize.slab.slub_walk import LookAtSlub  # noqa: PLC0415

    assert isinstance(allocator, Slub), f"{allocator.kind!r} is no allocator"
    return LookAtSlub(allocator)
