"""Making a process's heap: the library that it is linked with, as its environment says."""

from typing import Final

from mmactors.actors.program.futex.futex import Futexes
from mmactors.actors.program.malloc.libc_data import list_lock, main_arena
from mmactors.actors.program.malloc.user_heap import UserHeap
from mmactors.actors.program.process import Process
from mmactors.malloc.config import PTMALLOC
from mmactors.malloc.ptmalloc.options.tunables import read_tunables
from mmactors.malloc.ptmalloc.ptmalloc import Ptmalloc
from mmactors.mm.area.mm_struct import MmStruct
from mmactors.mm.area.overcommit import OVERCOMMIT_NEVER
from mmactors.units import PAGE_SIZE

TCACHE_KEY: Final = 0x7E57_AB1E_0DD5_EED5
"""What glibc draws when the program begins (tcache_key_initialize)."""


def make_heap(futexes: Futexes, process: Process, mm: MmStruct) -> UserHeap:
    """Return the heap of a process of which the library has not been called yet."""
    kernel, config = process.kernel, process.malloc
    assert config is not None, f"{process.comm} never calls its library"
    assert config.library == PTMALLOC, f"there is no library {config.library}"
    library = Ptmalloc(
        main_arena=main_arena(mm),
        locks=list_lock(mm),
        nr_cpus=len(kernel.cpus),
        tcache_key=TCACHE_KEY,
        rules=kernel.rules,
        tunables=read_tunables(config.environment).values,
        may_shrink_heap=kernel.overcommit.policy.memory == OVERCOMMIT_NEVER,
        number=mm.ctx_id,
        wants_step=kernel.engine.wants_step,
    )
    library.words.watch(on=config.metadata_in_memory)
    library.new_thread()  # The one that main() runs in.
    return UserHeap(
        futexes=futexes,
        ctx_id=mm.ctx_id,
        library=library,
        end_of_addresses=mm.task_size + PAGE_SIZE,
        metadata_in_memory=config.metadata_in_memory,
    )
