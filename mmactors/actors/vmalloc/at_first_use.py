"""The kernel's own mappings for who may never ask for one: what makes them is imported then.

Few machines map memory of the kernel's own, and a first run would compile the trees of areas.
"""

from typing import TYPE_CHECKING

from attrs import define, field, frozen

from mmactors.actors.slab.slab import SlabAllocator
from mmactors.actors.state.kernel import Kernel, ModulePages
from mmactors.engine.timer import Timer

if TYPE_CHECKING:
    from mmactors.actors.vmalloc.vmalloc import Vmalloc


@frozen
class ModuleArea:
    """What a module remembers of an area that it was given."""

    nr_pages: int
    block: ModulePages | None = None
    """Whose pages are mapped there; None: the area's own, or none."""


@define(eq=False, kw_only=True)
class VmallocAtFirstUse:
    """The way to `Vmalloc` on a machine, and what modules know of their areas."""

    kernel: Kernel
    slab: SlabAllocator
    timer: Timer
    module_areas: dict[int, ModuleArea] = field(factory=dict, init=False)
    """By address, what was given to modules last."""
    _made: "Vmalloc | None" = field(default=None, init=False)

    def get(self) -> "Vmalloc":
        """Return it; it is made now if nobody has asked before."""
        if self._made is None:
            from mmactors.actors.vmalloc.vmalloc import Vmalloc  # noqa: PLC0415 - see above

            self._made = Vmalloc(kernel=self.kernel, slab=self.slab, timer=self.timer)
        return self._made

    def has(self, address: int) -> bool:
        """Say whether an address is where it maps, and it has mapped anything."""
        return self._made is not None and self._made.has(address)
