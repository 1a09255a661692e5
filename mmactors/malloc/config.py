"""How a process's allocator is set up: which library, its environment."""

from collections.abc import Mapping
from typing import Final

from attrs import frozen

from mmactors.malloc.ptmalloc.options.tunables import GLIBC_TUNABLES, TUNABLES

PTMALLOC: Final = "ptmalloc"
"""glibc's, of 2.36."""
TCMALLOC: Final = "tcmalloc"
"""That of gperftools 2.10, libtcmalloc_minimal."""
JEMALLOC: Final = "jemalloc"
"""That of jemalloc 5.3.0."""
LIBRARIES: Final = (PTMALLOC,)
"""Those that a process can be linked with."""
VARIABLES: Final = (GLIBC_TUNABLES, *(tunable.alias for tunable in TUNABLES if tunable.alias))
"""Of the environment, what an allocator reads."""


@frozen(kw_only=True)
class MallocConfig:
    """What a process's allocator is, and what it finds when the program begins."""

    library: str
    environment: Mapping[str, str]
    metadata_in_memory: bool
    """Its own accesses go through TLBs, caches and page faults."""
