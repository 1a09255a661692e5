"""What happens every so many bytes that a thread gets or gives (jemalloc 5.3.0, thread_event.c).

Two events count each of the two: a step of the cache's collection, and a look at the peak. That of
profiles and of statistics by interval are off.
"""

# ruff: noqa: FBT001 -- compiled functions take their arguments by place.

from typing import Final

from mmactors.arch.column import Words
from mmactors.arch.jit import compiled
from mmactors.malloc.jemalloc.par import TCACHE_GC_INCR_BYTES
from mmactors.malloc.jemalloc.tsd import (
    ALLOCATED,
    ALLOCATED_LAST_EVENT,
    ALLOCATED_NEXT_EVENT,
    ALLOCATED_NEXT_EVENT_FAST,
    DEALLOCATED,
    DEALLOCATED_LAST_EVENT,
    DEALLOCATED_NEXT_EVENT,
    DEALLOCATED_NEXT_EVENT_FAST,
    PEAK,
    PEAK_ALLOC_WAIT,
    PEAK_DALLOC_WAIT,
    REENTRANCY_LEVEL,
    STATE,
    STATE_NOMINAL,
    STATE_NOMINAL_MAX,
    TCACHE_GC_DALLOC_WAIT,
    TCACHE_GC_WAIT,
)
from mmactors.malloc.user_words import load_bits, load_word, store_word, to_word

PEAK_EVENT_WAIT: Final = 64 * 1024
COLLECTION_IS_DUE: Final = 1
PEAK_IS_DUE: Final = 2

_MIN_START_WAIT: Final = 1
_MAX_INTERVAL: Final = 4 << 20
_NEVER: Final = 1 << 62
_NEXT_EVENT_FAST_MAX: Final = -4096
"""As a number without sign: above it, adding the largest looked-up size would wrap round."""


@compiled
def advance_allocated(words: Words, log: Words, par: Words, tsd: int, usable: int) -> int:
    """Count bytes that a thread got; return which events are due (thread_alloc_event)."""
    before = load_word(words, log, tsd + ALLOCATED)
    store_word(words, log, tsd + ALLOCATED, before + usable)
    left = to_word(load_word(words, log, tsd + ALLOCATED_NEXT_EVENT) - before)
    if left < 0 or usable < left:
        return 0
    return _trigger(
        words,
        log,
        par,
        tsd,
        ALLOCATED,
        ALLOCATED_LAST_EVENT,
        ALLOCATED_NEXT_EVENT,
        TCACHE_GC_WAIT,
        PEAK_ALLOC_WAIT,
    )


@compiled
def advance_deallocated(words: Words, log: Words, par: Words, tsd: int, usable: int) -> int:
    """Count bytes that a thread gave back; return which events are due (thread_dalloc_event)."""
    before = load_word(words, log, tsd + DEALLOCATED)
    store_word(words, log, tsd + DEALLOCATED, before + usable)
    left = to_word(load_word(words, log, tsd + DEALLOCATED_NEXT_EVENT) - before)
    if left < 0 or usable < left:
        return 0
    return _trigger(
        words,
        log,
        par,
        tsd,
        DEALLOCATED,
        DEALLOCATED_LAST_EVENT,
        DEALLOCATED_NEXT_EVENT,
        TCACHE_GC_DALLOC_WAIT,
        PEAK_DALLOC_WAIT,
    )


@compiled
def _trigger(
    words: Words,
    log: Words,
    par: Words,
    tsd: int,
    current: int,
    last_event: int,
    next_event: int,
    collection_wait: int,
    peak_wait: int,
) -> int:
    """Return which events are due, and set when the next ones are (te_event_trigger)."""
    now = load_word(words, log, tsd + current)
    passed = to_word(now - load_word(words, log, tsd + last_event))
    store_word(words, log, tsd + last_event, now)
    may_trigger = (
        load_bits(words, log, tsd + STATE, 1) <= STATE_NOMINAL_MAX
        and load_bits(words, log, tsd + REENTRANCY_LEVEL, 1) == 0
    )
    due = 0
    wait = _NEVER
    if par[TCACHE_GC_INCR_BYTES]:
        left, triggers = _wait_of(
            words, log, tsd + collection_wait, passed, int(par[TCACHE_GC_INCR_BYTES]), may_trigger
        )
        wait = min(wait, left)
        due |= COLLECTION_IS_DUE * triggers
    left, triggers = _wait_of(words, log, tsd + peak_wait, passed, PEAK_EVENT_WAIT, may_trigger)
    wait = min(wait, left)
    due |= PEAK_IS_DUE * triggers
    store_word(words, log, tsd + next_event, now + min(wait, _MAX_INTERVAL))
    recompute_fast(words, log, tsd)
    return due


@compiled
def _wait_of(
    words: Words, log: Words, at: int, passed: int, new_wait: int, may_trigger: bool
) -> tuple[int, int]:
    """Count down to an event; return what is left until the next one, and 1 if it is due now."""
    left = load_word(words, log, at)
    triggers = 0
    if left > passed:
        left -= passed
    elif not may_trigger:
        left = _MIN_START_WAIT
    else:
        triggers = 1
        left = new_wait
    store_word(words, log, at, left)
    return left, triggers


@compiled
def recompute_fast(words: Words, log: Words, tsd: int) -> None:
    """Set up to where the fast paths need not look for events: 0 if none may be taken."""
    is_fast = load_bits(words, log, tsd + STATE, 1) == STATE_NOMINAL
    _recompute(words, log, tsd + ALLOCATED_NEXT_EVENT, tsd + ALLOCATED_NEXT_EVENT_FAST, is_fast)
    _recompute(words, log, tsd + DEALLOCATED_NEXT_EVENT, tsd + DEALLOCATED_NEXT_EVENT_FAST, is_fast)


@compiled
def _recompute(words: Words, log: Words, next_event: int, fast: int, is_fast: bool) -> None:
    threshold = load_word(words, log, next_event) if is_fast else 0
    is_beyond = threshold < 0 and threshold > _NEXT_EVENT_FAST_MAX
    store_word(words, log, fast, 0 if is_beyond else threshold)


@compiled
def init_events(words: Words, log: Words, par: Words, tsd: int) -> None:
    """Let a thread's events begin (tsd_te_init)."""
    wait = PEAK_EVENT_WAIT
    if par[TCACHE_GC_INCR_BYTES]:
        wait = min(wait, int(par[TCACHE_GC_INCR_BYTES]))
        store_word(words, log, tsd + TCACHE_GC_WAIT, int(par[TCACHE_GC_INCR_BYTES]))
        store_word(words, log, tsd + TCACHE_GC_DALLOC_WAIT, int(par[TCACHE_GC_INCR_BYTES]))
    store_word(words, log, tsd + PEAK_ALLOC_WAIT, PEAK_EVENT_WAIT)
    store_word(words, log, tsd + PEAK_DALLOC_WAIT, PEAK_EVENT_WAIT)
    wait = min(wait, _MAX_INTERVAL)
    allocated = load_word(words, log, tsd + ALLOCATED)
    store_word(words, log, tsd + ALLOCATED_LAST_EVENT, allocated)
    store_word(words, log, tsd + ALLOCATED_NEXT_EVENT, allocated + wait)
    deallocated = load_word(words, log, tsd + DEALLOCATED)
    store_word(words, log, tsd + DEALLOCATED_LAST_EVENT, deallocated)
    store_word(words, log, tsd + DEALLOCATED_NEXT_EVENT, deallocated + wait)
    recompute_fast(words, log, tsd)


@compiled
def update_peak(words: Words, log: Words, tsd: int) -> None:
    """Note how many bytes a thread has got more than given, if they are the most (peak_update)."""
    net = load_word(words, log, tsd + ALLOCATED) - load_word(words, log, tsd + DEALLOCATED)
    peak = to_word(net - load_word(words, log, tsd + PEAK + 8))
    if peak > load_word(words, log, tsd + PEAK):
        store_word(words, log, tsd + PEAK, peak)
