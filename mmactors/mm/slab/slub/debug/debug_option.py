"""slub_debug=: which caches are debugged, and how (setup_slub_debug, kmem_cache_flags; v6.1).

The text is one or more blocks of letters, each with names of caches or none, such as
`FZ;PU,kmalloc-*,dentry`. Left out: A (failslab), which Debian's kernel has not.
"""

from typing import Final

from attrs import frozen

from mmactors.mm.slab.flags import (
    DEBUG_DEFAULT_FLAGS,
    SLAB_CONSISTENCY_CHECKS,
    SLAB_NO_USER_FLAGS,
    SLAB_NOLEAKTRACE,
    SLAB_POISON,
    SLAB_RED_ZONE,
    SLAB_STORE_USER,
    SLAB_TRACE,
)

_LETTERS: Final = {
    "f": SLAB_CONSISTENCY_CHECKS,
    "z": SLAB_RED_ZONE,
    "p": SLAB_POISON,
    "u": SLAB_STORE_USER,
    "t": SLAB_TRACE,
}


@frozen
class SlubDebug:
    """What slub_debug= says."""

    everywhere: int = 0
    """Flags of all caches that no block names."""
    blocks: tuple[tuple[int, tuple[str, ...]], ...] = ()
    """Flags, and the names that get them."""
    no_higher_order: bool = False
    """Caches whose least order metadata would raise have none (O)."""

    def kmem_cache_flags(self, flags: int, name: str) -> int:
        """Return the flags of a cache with those that it is debugged with."""
        if flags & SLAB_NO_USER_FLAGS:
            return flags
        for given, names in self.blocks:
            if any(_is_meant(name, each) for each in names):
                return flags | given
        everywhere = self.everywhere
        if flags & SLAB_NOLEAKTRACE:
            everywhere &= ~SLAB_STORE_USER
        return flags | everywhere


def parse_slub_debug(text: str) -> SlubDebug:
    """Return what stands behind `slub_debug=`; an empty text is the word alone."""
    blocks = _blocks_of(text)
    everywhere = [_flags_of(letters) for letters, names in blocks if not names]
    return SlubDebug(
        everywhere=everywhere[-1] if everywhere else 0 if blocks else DEBUG_DEFAULT_FLAGS,
        blocks=tuple((_flags_of(letters), names) for letters, names in blocks if names),
        no_higher_order=any("o" in letters.lower() for letters, _ in blocks),
    )


def _blocks_of(text: str) -> list[tuple[str, tuple[str, ...]]]:
    found = []
    for block in filter(None, text.split(";")):
        letters, _, names = block.partition(",")
        found.append((letters, tuple(filter(None, names.split(",")))))
    return found


def _flags_of(letters: str) -> int:
    if not letters:
        return DEBUG_DEFAULT_FLAGS
    flags = 0
    for letter in letters.lower():
        flags = 0 if letter == "-" else flags | _LETTERS.get(letter, 0)
    return flags


def _is_meant(name: str, pattern: str) -> bool:
    stem, star, _ = pattern.partition("*")
    return name.startswith(stem) if star else name == pattern
