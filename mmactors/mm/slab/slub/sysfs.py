"""What /sys/kernel/slab has a folder for, and what is a link to one (mm/slub.c, v6.1).

A cache that others may share is a folder whose name says what they must agree in; its own name and
those of its aliases are links to it. Left out: links that lead to no folder any more.
"""

from collections.abc import Iterable
from typing import Final

from mmactors.mm.slab.flags import (
    DEBUG_METADATA_FLAGS,
    SLAB_ACCOUNT,
    SLAB_CACHE_DMA,
    SLAB_CACHE_DMA32,
    SLAB_CONSISTENCY_CHECKS,
    SLAB_RECLAIM_ACCOUNT,
)
from mmactors.mm.slab.slab_common import is_unmergeable
from mmactors.mm.slab.slub.cache import KmemCache

_LETTERS: Final = (
    (SLAB_CACHE_DMA, "d"),
    (SLAB_CACHE_DMA32, "D"),
    (SLAB_RECLAIM_ACCOUNT, "a"),
    (SLAB_CONSISTENCY_CHECKS, "F"),
    (SLAB_ACCOUNT, "A"),
)


def folder_of(s: KmemCache) -> str:
    """Return the name of a cache's folder: its own, or what all that share it agree in."""
    if not _is_shared(s):
        return s.name
    letters = "".join(letter for flag, letter in _LETTERS if s.flags & flag)
    return f":{letters}{'-' if letters else ''}{s.size:07}"


def folders_of(caches: Iterable[KmemCache]) -> dict[str, KmemCache]:
    """Return the caches by the names of their folders."""
    return {folder_of(s): s for s in caches}


def links_of(caches: Iterable[KmemCache]) -> dict[str, str]:
    """Return the names that are links, and to which folder each leads."""
    return {
        name: folder_of(s) for s in caches if _is_shared(s) for name in dict.fromkeys(_names_of(s))
    }


def _names_of(s: KmemCache) -> list[str]:
    return [s.name, *s.aliases]


def _is_shared(s: KmemCache) -> bool:
    """Return whether others may become aliases (sysfs_slab_add)."""
    config = s.slabs.config
    is_kept_apart = config.debug.no_higher_order and config.debug.everywhere & DEBUG_METADATA_FLAGS
    return config.merge and not is_unmergeable(s) and not is_kept_apart
