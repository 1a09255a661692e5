"""Can a preloaded tcmalloc's recording fail? Its rules are broken one at a time, and one sees each.

As ptmalloc's (test_broken_malloc_rules.py): in a process that runs compiled functions as Python.
"""

import re
import sys

import pytest
from broken_rules import TESTS, Broken, first_difference_apart, say_first_differences

from mmactors.malloc.tcmalloc import calls, steps
from mmactors.malloc.tcmalloc.cache import thread_cache
from mmactors.malloc.tcmalloc.central import size_map
from mmactors.malloc.tcmalloc.central.central_free_list import heap_lock
from mmactors.malloc.tcmalloc.heap.span import NEXT, PREV
from mmactors.malloc.tcmalloc.layout import MAX_LENGTH
from mmactors.malloc.tcmalloc.system.system_alloc import _sbrk_failed
from mmactors.malloc.tcmalloc.task import (
    AFTER_MALLOC,
    DECOMMITTED,
    GO_ON,
    NEW_BYTES,
    SIZE,
    STEP,
    lock,
)
from mmactors.malloc.user_words import load_word, store_bits, store_word
from mmactors.validate.malloc.malloc import validate_malloc

REFERENCE = TESTS / "reference/malloc/preloaded"
realloc_step, span_pages = calls._realloc_step, size_map._span_pages


class Unlike(int):
    """A number that equals none."""

    __hash__ = int.__hash__

    def __eq__(self, _other):
        return False


def unlike_any_other(par, size):
    return Unlike(span_pages(par, size))


def nothing(*_):
    return None


def begin_with_a_batch(words, log, par, cache, number):
    """Let a list have a whole batch from the first time on."""
    thread_cache.init_list(words, log, par, cache, number)
    batch = max(size_map.batch_of(words, log, par, number), 1)
    store_bits(words, log, thread_cache.list_at(cache, number) + MAX_LENGTH, 4, batch)


def give_nothing_up(_words, _log, par, task):
    """Let a cache that is full have more bytes only."""
    return lock(task, heap_lock(par), steps.INCREASE_LIMIT)


def no_neighbor(_words, _log, _par, task, _decommitted, otherwise):
    task[DECOMMITTED] = 0
    task[STEP] = otherwise
    return GO_ON


def twice_as_many(_par, size):
    return min(max((64 << 10) // size, 2), 64)


def coarser_sizes(size):
    """Return four classes a doubling, where there are eight."""
    if size < 128:
        return size_map.MIN_ALIGN if size >= size_map.MIN_ALIGN else size_map.ALIGNMENT
    return min(1 << size.bit_length() - 3, size_map.PAGE_BYTES)


def just_what_is_asked(words, log, par, task):
    """Let a block that grows by a little have no room to spare."""
    code = realloc_step(words, log, par, task)
    if task[AFTER_MALLOC] == steps.REALLOC_GREW and task[STEP] == steps.MALLOC:
        task[SIZE] = task[NEW_BYTES]
        task[AFTER_MALLOC] = steps.REALLOC_GOT
    return code


def at_the_end(words, log, head, span):
    """Put a span behind all others of its list."""
    last = load_word(words, log, head + PREV)
    for address, value in (
        *((span + NEXT, head), (span + PREV, last)),
        *((last + NEXT, span), (head + PREV, span)),
    ):
        store_word(words, log, address, value)


SEEN_SOON = [
    Broken(
        "a list may have one block at first, and grows slowly",
        *("cache.thread_caches", "init_list", begin_with_a_batch),
        *("real_tar/tc", r"op 6 malloc\(5\) .*, address: recorded heap\+0x813008,"),
    ),
    Broken(
        "a list that was too long may be longer in future",
        *("cache.scavenge", "_adapt", nothing),
        *("real_tar/tc", r"op 798 malloc\(20\) .*, address: recorded heap\+0x831280,"),
    ),
    Broken(
        "sizes that fit a span equally often are one class",
        *("central.size_map", "_span_pages", unlike_any_other),
        *("real_tar/tc", r"op 10 realloc\(#6, 1600\) .*, usable size: recorded 1792, ours 1664"),
    ),
    Broken(
        "there are eight classes a doubling",
        *("central.size_map", "alignment_for", coarser_sizes),
        *("real_tar/tc", r"op 0 malloc\(472\) .*, usable size: recorded 480, ours 512"),
    ),
    Broken(
        "32 blocks are moved at a time",
        *("central.size_map", "move_size", twice_as_many),
        *("real_tar/tc", r"op 9 malloc\(4096\) .*, address: recorded heap\+0x81d000,"),
    ),
    Broken(
        "free spans side by side become one",
        *("heap.coalesce", "_pre_merge", no_neighbor),
        *("real_zstd/tc", r"op 29 malloc\(131591\) .*, address: recorded heap\+0x8f9000,"),
    ),
    Broken(
        "the heap grows by 1 MiB at least",
        *("heap.grow", "MAX_PAGES", 64),
        *(
            "real_tar/tc",
            r"the program break at main\(\): recorded 93825002815488, ours 93825002291200",
        ),
    ),
    Broken(
        "memory is got by moving the break",
        *("system.system_alloc", "_sbrk_alloc", _sbrk_failed),
        *(
            "real_sort/tc",
            r"the program break at main\(\): recorded 93825002815488, ours 93824993374208",
        ),
    ),
]
SEEN_LATE = [
    Broken(
        "a full cache gives up half of what it did not need",
        *("cache.scavenge", "_scavenge", give_nothing_up),
        *("real_gitgc/tc", r"op 1169 realloc\(#699, 65\) .*, address: recorded heap\+0x82b3c0,"),
    ),
    Broken(
        "chains in transfer are kept",
        *("central.transfer_cache", "_make_space", nothing),
        *("real_gitgc/tc", r"op 8665 malloc\(6177\) .*, address: recorded heap\+0xa21000,"),
    ),
    Broken(
        "a free span goes to the front of its list",
        *("heap.coalesce", "dll_prepend", at_the_end),
        *("real_gitgc/tc", r"op 2874 malloc\(15673\) .*, address: recorded heap\+0x8fd000,"),
    ),
    Broken(
        "a block that grows by less than a quarter grows by a quarter",
        *("calls", "_realloc_step", just_what_is_asked),
        *(
            "syn_realloc_mmap_b/tc",
            r"op 13 realloc\(#4, 861148\) .*, usable size: recorded 892928, ours 868352",
        ),
    ),
    Broken(
        "pages go back after 2 GiB were freed, not before",
        *("heap.coalesce", "DEFAULT_RELEASE_DELAY", 1 << 10),
        *(
            "syn_realloc_mmap_b/tc",
            r"op 5 realloc\(#0, 273528\) .*, system call 1: recorded no call, ours madvise",
        ),
    ),
    Broken(
        "a cache takes from others what it may have more",
        *("cache.scavenge", "increase_limit", nothing),
        *(
            "syn_mt_many_b/tc",
            r"op 1083 malloc\(3833\) by thread 23, address: recorded heap\+0x97f000,",
        ),
    ),
]


def where_no_rule_shows(*broken):
    """Return the rules whose recordings do not differ where they should, and what they say."""
    said = first_difference_apart("fidelity.test_broken_tcmalloc_rules", *broken).splitlines()
    pairs = zip(broken, said, strict=True)
    return [(each.rule, line) for each, line in pairs if not re.match(each.place, line)]


def test_a_tcmalloc_without_one_rule_differs_where_the_rule_shows():
    """The recording of a short program fails for each of them, and says at which value first."""
    assert where_no_rule_shows(*SEEN_SOON) == []


@pytest.mark.slow
@pytest.mark.parametrize("broken", SEEN_LATE, ids=str)
def test_a_tcmalloc_without_any_other_rule_differs_where_the_rule_shows(broken):
    """Those that only long recordings show."""
    assert where_no_rule_shows(broken) == []


if __name__ == "__main__":
    say_first_differences(
        "mmactors.malloc.tcmalloc", SEEN_SOON + SEEN_LATE, sys.argv[1:], validate_malloc, REFERENCE
    )
