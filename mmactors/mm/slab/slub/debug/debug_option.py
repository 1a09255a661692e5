"""slub_debug=: which caches are debugged, and how (setup_slub_debug, kmem_cache_flags; v6.1).

The text is one or more blocks of letters, each with names of caches or none, such as
`FZ;PU,kmalloc-*,dentry`. Left out: A (failslab), which Debian's kernel has not.
"""

import re
from collections.abc import Iterator
from typing import Final

from attrs import evolve, frozen

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

_BLOCK: Final = re.compile(r"([^;,]*)(,[^;]*)?;*")
"""Letters, names with the comma before them, and what ends it."""
_DEFAULT_LETTERS: Final = "fzpu"
_LETTERS: Final = {
    "f": SLAB_CONSISTENCY_CHECKS,
    "z": SLAB_RED_ZONE,
    "p": SLAB_POISON,
    "u": SLAB_STORE_USER,
    "t": SLAB_TRACE,
}
_KNOWN: Final = frozenset(_LETTERS) | set("-ao")


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


def parse_slub_debug(text: str, before: SlubDebug = SlubDebug()) -> SlubDebug:
    """Return what stands behind `slub_debug=`; an empty text is the word alone.

    `before` is what the word has said when it stood there before.
    """
    if not text:
        return evolve(before, everywhere=DEBUG_DEFAULT_FLAGS)
    blocks = _blocks_of(text)
    everywhere = [_flags_of(letters) for letters, names in blocks if names is None]
    named = tuple((_flags_of(letters), names) for letters, names in blocks if names is not None)
    return SlubDebug(
        everywhere=everywhere[-1] if everywhere else before.everywhere,
        blocks=named or before.blocks,
        no_higher_order=before.no_higher_order
        or any("o" in letters.lower() for letters, _ in blocks),
    )


def unknown_letters(text: str) -> list[str]:
    """Return the letters that mean nothing; the kernel tells of each and goes on."""
    return [
        letter
        for letters, _ in _blocks_of(text)
        for letter in letters
        if letter.lower() not in _KNOWN
    ]


def _blocks_of(text: str) -> list[tuple[str, tuple[str, ...] | None]]:
    """Return the letters of each block, and its names; None: it has no list of such."""
    begin = len(text) - len(text.lstrip(";"))
    found: list[tuple[str, tuple[str, ...] | None]] = [] if text[begin:] else [("", None)]
    while begin < len(text):
        match = _BLOCK.match(text, begin)
        assert match is not None, "any text begins with a block"
        letters, listed = match.groups()
        begin = match.end()
        if listed is None:
            found.append((letters, None))
        else:
            names = _names_of(text, match.start(2) + 1, begin)
            found.append((letters or _DEFAULT_LETTERS, tuple(names)))
    return found


def _names_of(text: str, place: int, next_block: int) -> Iterator[str]:
    """Yield the names of a list as kmem_cache_flags walks it.

    A name ends at a comma, also one that begins the next block, or else one character before that.
    """
    while place < len(text):
        end = text.find(",", place)
        if end < 0:
            end = len(text)
        if next_block < end:
            end = next_block - 1
        yield text[place:end] if place <= end else text[place:]
        if text[end : end + 1] in ("", ";"):
            return
        place = end + 1


def _flags_of(letters: str) -> int:
    flags = 0
    for letter in letters.lower():
        flags = 0 if letter == "-" else flags | _LETTERS.get(letter, 0)
    return flags


def _is_meant(name: str, pattern: str) -> bool:
    stem, star, _ = pattern.partition("*")
    return name.startswith(stem) if star else name == pattern
