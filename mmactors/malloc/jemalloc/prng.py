"""Random numbers: a linear congruential generator (jemalloc 5.3.0, prng.h)."""

from typing import Final

from mmactors.arch.column import Words
from mmactors.arch.jit import compiled
from mmactors.malloc.user_words import load_word, store_word, to_word

_MULTIPLIER: Final = 6364136223846793005
_INCREMENT: Final = 1442695040888963407


@compiled
def random_bits(words: Words, log: Words, state_at: int, nr_bits: int) -> int:
    """Return the next number, of so many bits, of the state in memory (prng_lg_range_u64)."""
    state = to_word(load_word(words, log, state_at) * _MULTIPLIER + _INCREMENT)
    store_word(words, log, state_at, state)
    return state >> 64 - nr_bits & (1 << nr_bits) - 1
