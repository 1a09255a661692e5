"""When a thread looks whether pages are to be given back.

jemalloc 5.3.0, ticker.h and ticker.c (ticker_geom_t).
"""

import math
from typing import Final

from mmactors.arch.column import Words
from mmactors.arch.jit import compiled
from mmactors.malloc.jemalloc.par import DATA_AT
from mmactors.malloc.jemalloc.prng import random_bits
from mmactors.malloc.jemalloc.statics import TICKER_GEOM_TABLE
from mmactors.malloc.jemalloc.tsd import DECAY_TICKER, PRNG_STATE
from mmactors.malloc.user_words import load_bits, store_bits

DECAY_NTICKS_PER_UPDATE: Final = 1000
"""ARENA_DECAY_NTICKS_PER_UPDATE."""

_TICKER_BITS: Final = 6
_TICKER_MUL: Final = 61
GEOM_TABLE: Final = bytes(
    round(_TICKER_MUL * math.log((1 << _TICKER_BITS) / (place + 1)))
    for place in range(1 << _TICKER_BITS)
)
"""ticker_geom_table: how long to wait, of which each place is as likely."""


@compiled
def tick(words: Words, log: Words, par: Words, tsd: int, nr_ticks: int) -> bool:
    """Count down; return whether it is time to look at the decay (ticker_geom_ticks)."""
    left = load_bits(words, log, tsd + DECAY_TICKER, 4) - nr_ticks
    # The field is 32 bits with a sign.
    left = (left & 0xFFFF_FFFF ^ 0x8000_0000) - 0x8000_0000
    store_bits(words, log, tsd + DECAY_TICKER, 4, left)
    if left >= 0:
        return False
    place = random_bits(words, log, tsd + PRNG_STATE, _TICKER_BITS)
    weight = load_bits(words, log, int(par[DATA_AT]) + TICKER_GEOM_TABLE + place, 1)
    most = load_bits(words, log, tsd + DECAY_TICKER + 4, 4)
    store_bits(words, log, tsd + DECAY_TICKER, 4, most * weight // _TICKER_MUL)
    return True


@compiled
def ticks_left(words: Words, log: Words, tsd: int) -> int:
    """Return how many ticks a thread can count without a look at the decay."""
    left = load_bits(words, log, tsd + DECAY_TICKER, 4)
    return (left ^ 0x8000_0000) - 0x8000_0000
