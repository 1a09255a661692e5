"""Making a process's heap: the library that it is linked with, as its environment says."""

from mmactors.actors.program.malloc.libc_data import main_arena
from mmactors.actors.program.malloc.user_heap import UserHeap
from mmactors.actors.program.process import Process
from mmactors.actors.state.kernel import Kernel
from mmactors.malloc.ptmalloc.ptmalloc import Ptmalloc
from mmactors.malloc.user_words import UserWords
from mmactors.mm.area.mm_struct import MmStruct


def make_heap(kernel: Kernel, process: Process, mm: MmStruct) -> UserHeap:
    """Return the heap of a process of which the library has not been called yet."""
    config = process.malloc
    assert config is not None, f"{process.comm} never calls its library"
    words = UserWords()
    words.watch(on=config.metadata_in_memory)
    library = Ptmalloc(
        words,
        main_arena=main_arena(mm),
        environment=config.environment,
        nr_cpus=len(kernel.cpus),
        rules=kernel.rules,
    )
    return UserHeap(kernel=kernel, ctx_id=mm.ctx_id, library=library)
