"""Which allocator a recorded process was linked with, by its environment."""

from collections.abc import Mapping
from typing import Final

from mmactors.malloc.ptmalloc.options.tunables import read_tunables
from mmactors.malloc.ptmalloc.ptmalloc import Ptmalloc
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


def not_glibc(environment: Mapping[str, str]) -> str | None:
    """Return why a recording under an environment cannot be compared; None: it is glibc's."""
    preloaded = environment.get("LD_PRELOAD")
    return None if preloaded is None else f"{preloaded[:60]} is not modelled yet"


def glibc_of(environment: Mapping[str, str]) -> Ptmalloc:
    """Return glibc's allocator in a process that begins, with its main thread."""
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
    return library
