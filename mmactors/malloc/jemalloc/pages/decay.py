"""When unused pages go, decay_t (jemalloc 5.3.0, decay.c, smoothstep.h).

Time is cut into 200 intervals of an epoch. How many pages became unused in each is remembered, and
how many of them may stay falls along a smooth curve. The next look at it is an interval and a
random part of another one later.
"""

from typing import Final

from mmactors.arch.column import Words
from mmactors.arch.jit import compiled
from mmactors.malloc.jemalloc.prng import random_bits
from mmactors.malloc.user_words import load_word, store_word, to_word

DECAY_BYTES: Final = 1784
PURGING: Final = 112
TIME_MS: Final = 120
INTERVAL: Final = 128
EPOCH: Final = 136
JITTER_STATE: Final = 144
DEADLINE: Final = 152
NPAGES_LIMIT: Final = 160
NUNPURGED: Final = 168
BACKLOG: Final = 176
NR_STEPS: Final = 200
"""SMOOTHSTEP_NSTEPS."""
_POINT: Final = 24
"""SMOOTHSTEP_BFP: bits behind the point."""
_NS_OF_MS: Final = 1_000_000
_WORD_BITS: Final = 64
_TRIES_MOST: Final = 1000


@compiled
def part_of(step: int) -> int:
    """Return which part of the pages may stay, of 2^24, `step` + 1 intervals before the last.

    6 x^5 - 15 x^4 + 10 x^3, rounded down.
    """
    x = step + 1
    cubed = x * x * x
    return (cubed * (6 * x * x - 15 * x * NR_STEPS + 10 * NR_STEPS * NR_STEPS) << _POINT) // (
        NR_STEPS * NR_STEPS * NR_STEPS * NR_STEPS * NR_STEPS
    )


@compiled
def _init_deadline(words: Words, log: Words, decay: int) -> None:
    """Draw when to look the next time (decay_deadline_init)."""
    interval = load_word(words, log, decay + INTERVAL)
    deadline = load_word(words, log, decay + EPOCH) + interval
    if load_word(words, log, decay + TIME_MS) > 0:
        nr_bits = 0
        while nr_bits < _WORD_BITS - 1 and 1 << nr_bits < interval:
            nr_bits += 1
        jitter = interval
        nr_tries = 0
        while interval > 1 and jitter >= interval and nr_tries < _TRIES_MOST:
            jitter = random_bits(words, log, decay + JITTER_STATE, nr_bits)
            nr_tries += 1
        deadline += jitter if interval > 1 else 0
    store_word(words, log, decay + DEADLINE, deadline)


@compiled
def init_decay(words: Words, log: Words, decay: int, now_ns: int, decay_ms: int) -> None:
    """Begin anew (decay_reinit): -1 never, 0 at once."""
    store_word(words, log, decay + TIME_MS, decay_ms)
    if decay_ms > 0:
        store_word(words, log, decay + INTERVAL, decay_ms * (_NS_OF_MS // NR_STEPS))
    store_word(words, log, decay + EPOCH, now_ns)
    store_word(words, log, decay + JITTER_STATE, decay)
    _init_deadline(words, log, decay)
    store_word(words, log, decay + NUNPURGED, 0)
    for step in range(NR_STEPS):
        store_word(words, log, decay + BACKLOG + 8 * step, 0)


@compiled
def _pages_limit(words: Words, log: Words, decay: int) -> int:
    """Return how many pages may stay (decay_backlog_npages_limit)."""
    total = 0
    for step in range(NR_STEPS):
        npages = load_word(words, log, decay + BACKLOG + 8 * step)
        if npages:
            total += npages * part_of(step)
    return to_word(total) >> _POINT


@compiled
def advance_epoch(words: Words, log: Words, decay: int, now_ns: int, npages: int) -> bool:
    """Look at the time; return whether an epoch has passed (decay_maybe_advance_epoch).

    `npages` are unused now.
    """
    if load_word(words, log, decay + DEADLINE) > now_ns:
        return False
    interval = max(load_word(words, log, decay + INTERVAL), 1)
    epoch = load_word(words, log, decay + EPOCH)
    nadvance = (now_ns - epoch) // interval
    store_word(words, log, decay + EPOCH, epoch + nadvance * interval)
    _init_deadline(words, log, decay)
    for step in range(NR_STEPS - 1):
        kept = 0
        if step + nadvance < NR_STEPS:
            kept = load_word(words, log, decay + BACKLOG + 8 * (step + nadvance))
        store_word(words, log, decay + BACKLOG + 8 * step, kept)
    nunpurged = load_word(words, log, decay + NUNPURGED)
    newest = npages - nunpurged if npages > nunpurged else 0
    store_word(words, log, decay + BACKLOG + 8 * (NR_STEPS - 1), newest)
    limit = _pages_limit(words, log, decay)
    store_word(words, log, decay + NPAGES_LIMIT, limit)
    store_word(words, log, decay + NUNPURGED, max(limit, npages))
    return True
