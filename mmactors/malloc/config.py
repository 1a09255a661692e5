"""How a process's allocator is set up: which library, its environment."""

from collections.abc import Mapping
from typing import Final

from attrs import frozen

PTMALLOC: Final = "ptmalloc"
"""glibc's, of 2.36."""
VARIABLES: Final = (
    "GLIBC_TUNABLES",
    "MALLOC_ARENA_MAX",
    "MALLOC_ARENA_TEST",
    "MALLOC_CHECK_",
    "MALLOC_MMAP_MAX_",
    "MALLOC_MMAP_THRESHOLD_",
    "MALLOC_PERTURB_",
    "MALLOC_TOP_PAD_",
    "MALLOC_TRIM_THRESHOLD_",
)
"""Of the environment, what an allocator reads."""


@frozen(kw_only=True)
class MallocConfig:
    """What a process's allocator is, and what it finds when the program begins."""

    library: str
    environment: Mapping[str, str]
    metadata_in_memory: bool
    """Its own accesses go through TLBs, caches and page faults."""
