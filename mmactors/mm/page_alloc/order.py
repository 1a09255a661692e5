"""Sizes of blocks as orders, log2 of pages (include/linux/mmzone.h, pageblock-flags.h; Linux 6.1).

A module of its own, which brings no compiled functions with it.
"""

from typing import Final

MAX_ORDER: Final = 11
"""Orders are 0 to MAX_ORDER - 1."""
PAGE_ALLOC_COSTLY_ORDER: Final = 3
PAGEBLOCK_ORDER: Final = 9
