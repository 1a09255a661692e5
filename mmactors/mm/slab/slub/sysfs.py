"""What /sys/kernel/slab has a folder for, and what is a link to one (mm/slub.c, v6.1).

A cache that others may share is a folder whose name says what they must agree in; its own name and
those of its aliases are links to it. Who takes a name takes it away from what had it, folder or
link. Left out: links that lead to no folder any more.
"""

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
from mmactors.mm.slab.slub.slub import Slub

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


def folders_of(slub: Slub) -> dict[str, KmemCache]:
    """Return the caches that have a folder, by its name; one whose name was taken has none."""
    shared = {folder_of(s): s for s in slub.caches if _is_shared(s)}
    own = {name: s for name, s in slub.names.items() if name == folder_of(s)}
    return shared | own


def links_of(slub: Slub) -> dict[str, str]:
    """Return the names that are links, and to which folder each leads."""
    names = ((name, folder_of(s)) for name, s in slub.names.items())
    return {name: folder for name, folder in names if name != folder}


def cache_called(slub: Slub, name: str) -> KmemCache | None:
    """Return the cache that a folder or a link is of; None: there is no such name."""
    return slub.names.get(name) or folders_of(slub).get(name)


def _is_shared(s: KmemCache) -> bool:
    """Return whether others may become aliases (sysfs_slab_add)."""
    config = s.slabs.config
    is_kept_apart = config.debug.no_higher_order and config.debug.everywhere & DEBUG_METADATA_FLAGS
    return config.merge and not is_unmergeable(s) and not is_kept_apart
