"""Making a process's heap: the library that it is linked with, as its environment says.

A library is imported by the first process that has it.
"""

from typing import Final

from mmactors.actors.program.futex.futex import Futexes
from mmactors.actors.program.malloc.libc_data import list_lock, main_arena
from mmactors.actors.program.malloc.library_data import library_data, main_thread_pointer
from mmactors.actors.program.malloc.thread_stack import ThreadStacks
from mmactors.actors.program.malloc.user_heap import UserHeap
from mmactors.actors.program.process import Process
from mmactors.malloc.config import JEMALLOC, PTMALLOC, TCMALLOC, MallocConfig
from mmactors.malloc.library import MallocLibrary
from mmactors.mm.area.mm_struct import MmStruct
from mmactors.mm.area.overcommit import OVERCOMMIT_NEVER
from mmactors.units import PAGE_SIZE

TCACHE_KEY: Final = 0x7E57_AB1E_0DD5_EED5
"""What glibc draws when the program begins (tcache_key_initialize)."""
_NR_MODULES: Final = {PTMALLOC: 1, TCMALLOC: 3, JEMALLOC: 3}
"""Files with variables of threads: libc; the library, and libstdc++, which it needs."""


def make_heap(futexes: Futexes, process: Process, mm: MmStruct) -> UserHeap:
    """Return the heap of a process of which the library has not been called yet."""
    config = process.malloc
    assert config is not None, f"{process.comm} never calls its library"
    library = _LIBRARIES[config.library](process, config, mm)
    library.words.watch(on=config.metadata_in_memory)
    main = library.new_thread()
    if config.library != PTMALLOC:
        library.set_thread_pointer(main, main_thread_pointer(mm, config.library))
    return UserHeap(
        futexes=futexes,
        ctx_id=mm.ctx_id,
        library=library,
        end_of_addresses=mm.task_size + PAGE_SIZE,
        metadata_in_memory=config.metadata_in_memory,
        stacks=ThreadStacks(nr_modules=_NR_MODULES[config.library]),
    )


def _ptmalloc(process: Process, config: MallocConfig, mm: MmStruct) -> MallocLibrary:
    from mmactors.malloc.ptmalloc.options.tunables import read_tunables  # noqa: PLC0415 - see above
    from mmactors.malloc.ptmalloc.ptmalloc import Ptmalloc  # noqa: PLC0415

    kernel = process.kernel
    return Ptmalloc(
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


def _tcmalloc(process: Process, config: MallocConfig, mm: MmStruct) -> MallocLibrary:
    from mmactors.malloc.tcmalloc.options.settings import read_settings  # noqa: PLC0415 - see above
    from mmactors.malloc.tcmalloc.tcmalloc import Tcmalloc  # noqa: PLC0415

    kernel = process.kernel
    return Tcmalloc(
        data_at=library_data(mm, TCMALLOC),
        nr_cpus=len(kernel.cpus),
        rules=kernel.rules,
        settings=read_settings(config.environment).settings,
        number=mm.ctx_id,
        wants_step=kernel.engine.wants_step,
    )


def _jemalloc(process: Process, config: MallocConfig, mm: MmStruct) -> MallocLibrary:
    from mmactors.malloc.jemalloc.jemalloc import Jemalloc  # noqa: PLC0415 - see above
    from mmactors.malloc.jemalloc.malloc_conf import read_malloc_conf  # noqa: PLC0415

    kernel = process.kernel
    return Jemalloc(
        data_at=library_data(mm, JEMALLOC),
        nr_cpus=len(kernel.cpus),
        options=read_malloc_conf(config.environment).options,
        rules=kernel.rules,
        number=mm.ctx_id,
        wants_step=kernel.engine.wants_step,
    )


_LIBRARIES: Final = {PTMALLOC: _ptmalloc, TCMALLOC: _tcmalloc, JEMALLOC: _jemalloc}
