"""A row of a heap trace, whichever library does it: its block, and what is kept of its end.

Rows are those of arch/heap_trace.py. A library does them in a compiled loop (`run_rows`), which
stops at what has no compiled path; `Replay` does the rest.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from mmactors.arch.column import Words
from mmactors.arch.heap_trace import FREE, MEMALIGN, REALLOC
from mmactors.arch.jit import compiled
from mmactors.malloc.user_words import note_access

Texts = NDArray[np.uint8]

STOPPED: Final = 0
"""Why the loop has stopped before the end: 0, or what the row's compiled path has returned."""
NEEDS_CALL: Final = -6
"""No compiled path has done anything of it: all of the row is a call."""
NR_STOPS: Final = 8
"""Words for what a library keeps of a row that has begun; the first one is STOPPED."""

LIVE_BLOCKS: Final = 0
LIVE_BYTES: Final = 1
LIVE_USABLE: Final = 2
NR_LIVE: Final = 3
"""What of a heap is in use: blocks, their bytes as asked for, and as usable."""

TOUCH_NONE: Final = 0
TOUCH_FIRST: Final = 1
"""The program writes the first byte of each block of more than no bytes."""
TOUCH_ALL: Final = 2
"""It writes all bytes that it has asked for."""


@compiled
def block_of(op: int, number: int, objects: Words) -> int:
    """Return the block that a row is about: that of its object, or the address that it names."""
    if op > MEMALIGN:
        return 0
    return int(objects[number]) if number >= 0 else -number


@compiled
def end_row(
    number: Words,
    size: Words,
    op: Texts,
    objects: Words,
    address: Words,
    usable: Words,
    touched: Words,
    live: Words,
    lives: Words,
    row: int,
    block: int,
    usable_size: int,
    touches: int,
) -> None:
    """Keep what a row has returned, and let its program write to a block that it gets.

    The write is noted in `touched`. A pointer stays when its block is freed. `live` has how many
    blocks there are, their bytes as asked for, and as usable; `lives` both of each object.
    """
    address[row] = block
    which = number[row]
    is_mine = which >= 0 and op[row] <= MEMALIGN
    if live.shape[0] and is_mine and (block or op[row] == FREE or size[row] == 0):
        note_life(live, lives, which, int(size[row]), usable_size)
    if is_mine and op[row] != FREE and (block or op[row] != REALLOC):
        objects[which] = block
    if block == 0:
        return
    if touches and size[row]:
        note_access(touched, block, 1 if touches == TOUCH_FIRST else int(size[row]), 1)
    if usable.shape[0]:
        usable[row] = usable_size


@compiled
def note_life(live: Words, lives: Words, which: int, size: int, usable: int) -> None:
    """Let an object have a block of so many bytes, asked for and usable; none: it has no block."""
    live[LIVE_BLOCKS] += (1 if usable else 0) - (1 if lives[2 * which + 1] else 0)
    live[LIVE_BYTES] += (size if usable else 0) - lives[2 * which]
    live[LIVE_USABLE] += usable - lives[2 * which + 1]
    lives[2 * which] = size if usable else 0
    lives[2 * which + 1] = usable
