"""What must hold of objects when nobody runs: none is lost or forgotten, counters are true."""

from typing import Final

from mmactors.actors.state.kernel import Kernel
from mmactors.sanitize.config import SanitizeConfig
from mmactors.sanitize.law import Law
from mmactors.sanitize.slab.holders import held_objects
from mmactors.sanitize.slab.look import Look, Problems
from mmactors.sanitize.slab.objects import BOOT, Objects

_NAMED_MAX: Final = 8
"""So many objects are named one by one."""


def slab_problems(
    kernel: Kernel, config: SanitizeConfig, look: Look, objects: Objects | None
) -> Problems:
    """Return all that is wrong with objects, as far as the options want it looked at."""
    problems: Problems = []
    if objects is not None:
        objects.look_at_all()
    if config.objects or config.counters:
        walk = look.walk(kernel.slab_pages)
        if config.objects and objects is not None:
            problems += walk.object_problems(objects)
        if config.counters:
            problems += walk.counter_problems(kernel.slab_pages)
    if config.leaks and objects is not None:
        problems += _leaks(kernel, look, objects)
    return problems


def _leaks(kernel: Kernel, look: Look, objects: Objects) -> Problems:
    """Return the objects in use that nobody knows any more."""
    reached = {*held_objects(kernel), *look.own_objects(kernel.slab_pages)}
    reached |= {record.thing for record in objects.names.values() if record is not None}
    lost = [
        record
        for record in objects.records.values()
        if record.freed is None and record.thing not in reached and record.allocated is not BOOT
    ]
    problems: Problems = [
        (Law.OBJECT_LEAK, f"nobody knows {record}, and it is in use", record.story())
        for record in lost[:_NAMED_MAX]
    ]
    if len(lost) > _NAMED_MAX:
        problems.append((Law.OBJECT_LEAK, f"and {len(lost) - _NAMED_MAX} more objects", []))
    return problems
