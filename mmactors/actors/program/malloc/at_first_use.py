"""The C library's allocator for programs that may never call it.

What drives it is imported at the first call.
"""

from typing import TYPE_CHECKING

from attrs import define, field

from mmactors.actors.program.area_calls import AreaCalls
from mmactors.actors.program.futex.futex import Futexes
from mmactors.actors.state.kernel import Kernel

if TYPE_CHECKING:
    from mmactors.actors.program.malloc.heap_trace_run import StartThread
    from mmactors.actors.program.malloc.malloc_calls import MallocCalls


@define(eq=False, kw_only=True)
class MallocAtFirstUse:
    """The way to `MallocCalls` on a machine."""

    kernel: Kernel
    areas: AreaCalls
    futexes: Futexes
    start_thread: "StartThread"
    _made: "MallocCalls | None" = field(default=None, init=False)

    def get(self) -> "MallocCalls":
        """Return them; they are made now if nobody has asked before."""
        if self._made is None:
            from mmactors.actors.program.malloc.malloc_calls import (  # noqa: PLC0415 - see above
                MallocCalls,
            )

            self._made = MallocCalls(
                kernel=self.kernel,
                areas=self.areas,
                futexes=self.futexes,
                start_thread=self.start_thread,
            )
        return self._made
