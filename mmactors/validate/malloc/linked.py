"""Which allocator a recorded process was linked with, by its environment."""

from collections.abc import Mapping
from typing import Final

from mmactors.malloc.library import MallocLibrary

_MAIN_ARENA: Final = 0x7FFFF7E1AC60
_TCACHE_KEY: Final = 0x5DEECE66D5DEECE6
"""Random in a process; nothing that is recorded depends on it."""


def not_glibc(environment: Mapping[str, str]) -> str | None:
    """Return why a recording under an environment cannot be compared; None: it is glibc's."""
    preloaded = environment.get("LD_PRELOAD")
    if preloaded is None:
        return None
    return f"{preloaded[:60]} is not modelled yet"


def glibc_of(environment: Mapping[str, str]) -> MallocLibrary:
    raise NotImplementedError
