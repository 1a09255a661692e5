"""How a process's allocator is set up: which library, its environment."""

from collections.abc import Mapping, Sequence
from typing import Final

from attrs import frozen

from mmactors.malloc.environment import EntryIgnored
from mmactors.malloc.ptmalloc.options.tunables import GLIBC_TUNABLES, TUNABLES, read_tunables

PTMALLOC: Final = "ptmalloc"
"""glibc's, of 2.36."""
TCMALLOC: Final = "tcmalloc"
"""That of gperftools 2.10, libtcmalloc_minimal."""
JEMALLOC: Final = "jemalloc"
"""That of jemalloc 5.3.0."""
LIBRARIES: Final = (PTMALLOC, TCMALLOC, JEMALLOC)
"""Those that a process can be linked with."""
_OF_PTMALLOC: Final = (GLIBC_TUNABLES, *(each.alias for each in TUNABLES if each.alias))
_OF_TCMALLOC: Final = (
    "TCMALLOC_MAX_TOTAL_THREAD_CACHE_BYTES",
    "TCMALLOC_TRANSFER_NUM_OBJ",
    "TCMALLOC_AGGRESSIVE_DECOMMIT",
    "TCMALLOC_RELEASE_RATE",
    "TCMALLOC_HEAP_LIMIT_MB",
    "TCMALLOC_SKIP_SBRK",
    "TCMALLOC_SKIP_MMAP",
    "TCMALLOC_DISABLE_MEMORY_RELEASE",
    "TCMALLOC_DEVMEM_START",
)
"""As malloc/tcmalloc/options/settings.py reads them."""
_OF_JEMALLOC: Final = ("MALLOC_CONF",)
VARIABLES: Final = (*_OF_PTMALLOC, *_OF_TCMALLOC, *_OF_JEMALLOC)
"""Of the environment, what an allocator reads."""


@frozen(kw_only=True)
class MallocConfig:
    """What a process's allocator is, and what it finds when the program begins."""

    library: str
    environment: Mapping[str, str]
    metadata_in_memory: bool
    """Its own accesses go through TLBs, caches and page faults."""


def ignored_entries(library: str, environment: Mapping[str, str]) -> Sequence[EntryIgnored]:
    """Return what a library would pass over, or take for something else, in its environment."""
    if not environment:
        return ()
    match library:
        case "tcmalloc":
            from mmactors.malloc.tcmalloc.options.settings import (  # noqa: PLC0415 - few have it
                read_settings,
            )

            return read_settings(environment).ignored
        case "jemalloc":
            from mmactors.malloc.jemalloc.malloc_conf import (  # noqa: PLC0415 - few have it
                read_malloc_conf,
            )

            return read_malloc_conf(environment).ignored
        case _:
            return read_tunables(environment).ignored
