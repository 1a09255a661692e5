"""Which allocator a recorded process was linked with, by its environment, and where it lay."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from attrs import frozen

from mmactors.malloc.config import JEMALLOC, PTMALLOC, TCMALLOC
from mmactors.malloc.jemalloc.jemalloc import Jemalloc
from mmactors.malloc.jemalloc.malloc_conf import read_malloc_conf
from mmactors.malloc.library import MallocLibrary
from mmactors.malloc.ptmalloc.options.tunables import read_tunables
from mmactors.malloc.ptmalloc.ptmalloc import Ptmalloc
from mmactors.malloc.tcmalloc.options.settings import read_settings
from mmactors.malloc.tcmalloc.tcmalloc import Tcmalloc
from mmactors.rules import Rules

LIBC_DATA_AT: Final = (0x7FFF_F7FA_2000, 0x3000)
"""Where the C library's data is taken to lie, and its bytes: recordings do not say it, and have
nothing else there."""
_MAIN_ARENA: Final = 0x7FFF_F7FA_2C60
_LOCKS: Final = 0x7FFF_F7FA_4180
_NR_CPUS: Final = 2
"""Of the host of all recordings."""
_TCACHE_KEY: Final = 0x5DEE_CE66_D0B7_1C35
"""Random in a process; nothing that is recorded depends on it."""

_PRELOADED: Final = {"libtcmalloc_minimal.so.4": TCMALLOC, "libjemalloc.so.2": JEMALLOC}
_NR_MODULES: Final = {PTMALLOC: 1, TCMALLOC: 3, JEMALLOC: 3}
_TC_DATA_BYTES: Final = 0x1B5000
_JE_BSS_BYTES: Final = 0x21F000
_TLS_BYTES: Final = 0x7000
_DESCRIPTOR: Final = 0x3180
"""Where struct pthread is in the pages of the main thread's variables."""
_DESCRIPTOR_BYTES: Final = 0x940
USUAL_DATA: Final = 0x7FFF_F7CC_D000
USUAL_TLS: Final = 0x7FFF_F7F8_F000
"""Where the libraries lay in all recordings of tests/reference."""


def library_of(environment: Mapping[str, str]) -> str | None:
    """Return which library a process was linked with; None: one that is not modelled."""
    preloaded = environment.get("LD_PRELOAD")
    return PTMALLOC if preloaded is None else _PRELOADED.get(preloaded)


@frozen(kw_only=True)
class Linked:
    """A library in a process that begins."""

    library: MallocLibrary
    nr_modules: int
    """Files of the process that have variables of threads."""
    thread_pointers: Iterator[int]
    """Where the descriptors of further threads are, in the order in which these begin."""


def linked(
    environment: Mapping[str, str],
    initial_maps: Sequence[Sequence[Any]],
    stacks: Sequence[tuple[int, int]],
) -> Linked:
    """Return the library of a process, with its main thread.

    `stacks`: address and bytes of the stacks of further threads, as they were mapped.
    """
    name = library_of(environment)
    match name:
        case "tcmalloc":
            data = _start_of(initial_maps, _TC_DATA_BYTES, USUAL_DATA)
            settings = read_settings(environment).settings
            library: MallocLibrary = Tcmalloc(data_at=data, nr_cpus=_NR_CPUS, settings=settings)
        case "jemalloc":
            data = _start_of(initial_maps, _JE_BSS_BYTES, USUAL_DATA)
            options = read_malloc_conf(environment).options
            library = Jemalloc(data_at=data, nr_cpus=_NR_CPUS, options=options)
        case _:
            library = Ptmalloc(
                main_arena=_MAIN_ARENA,
                locks=_LOCKS,
                nr_cpus=_NR_CPUS,
                tcache_key=_TCACHE_KEY,
                rules=Rules(),
                tunables=read_tunables(environment).values,
            )
    main = library.new_thread()
    assert main == 0, f"the main thread has the number {main}"
    tls = _start_of(initial_maps, _TLS_BYTES, USUAL_TLS)
    library.set_thread_pointer(main, tls + _DESCRIPTOR)
    return Linked(
        library=library,
        nr_modules=_NR_MODULES[name or PTMALLOC],
        thread_pointers=iter([at + length - _DESCRIPTOR_BYTES for at, length in stacks]),
    )


def purges_by_time(library: MallocLibrary) -> bool:
    """Return whether a library gives pages back when their time has come (decay of jemalloc)."""
    if not isinstance(library, Jemalloc):
        return False
    return max(library.options.dirty_decay_ms, library.options.muzzy_decay_ms) > 0


def _start_of(maps: Sequence[Sequence[Any]], nr_bytes: int, otherwise: int) -> int:
    """Return where a mapping of so many bytes begins, that was there before the first operation."""
    return next((start for start, length, _ in maps if length == nr_bytes), otherwise)
