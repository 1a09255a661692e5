"""Looking up areas that are in use (find_vmap_area, find_vm_area; mm/vmalloc.c, v6.1)."""

from typing import Final

from mmactors import label
from mmactors.label import Label, Mode
from mmactors.mm.vmalloc.request import VmallocSteps
from mmactors.mm.vmalloc.space import VMAP_BUSY_LOCK, VMAP_BUSY_UNLOCK, VmallocSpace
from mmactors.mm.vmalloc.vm_struct import VmStruct

_FIND: Final = Label("find the area", ((label.VMAP_AREAS, Mode.READ),))


def find_vmap_area(space: VmallocSpace, address: int) -> VmallocSteps[int]:
    """Return the area in use that an address is in, 0: none."""
    yield VMAP_BUSY_LOCK
    if space.wants_step():
        yield _FIND
    area = space.find_busy(address)
    yield VMAP_BUSY_UNLOCK
    return area


def find_vm_area(space: VmallocSpace, address: int) -> VmallocSteps[VmStruct | None]:
    """Return what is known of it; None: there is none, or it is vm_map_ram's."""
    area = yield from find_vmap_area(space, address)
    return space.vm.get(area)
