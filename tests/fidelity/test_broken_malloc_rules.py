"""Can a heap trace's recording fail? ptmalloc's rules are broken one at a time, and one sees each.

Compiled functions know no other constants than their own, so a rule is broken in a process that
runs them as Python. Which four are, is up to the seed; `-m slow` breaks all of them.
"""

import re
import sys

import pytest
from broken_rules import TESTS, Broken, drawn, first_difference_apart

from mmactors.malloc.ptmalloc import bins, int_malloc, unsorted
from mmactors.malloc.ptmalloc.chunk import BK, FD, FD_NEXTSIZE, request2size
from mmactors.malloc.ptmalloc.malloc_consolidate import _consolidate
from mmactors.malloc.ptmalloc.malloc_state import UNSORTED, bin_at
from mmactors.malloc.ptmalloc.tcache import tcache_malloc
from mmactors.malloc.user_words import load_word, store_word
from mmactors.validate.malloc.malloc import validate_malloc

REFERENCE = TESTS / "reference/malloc"
use_or_bin, from_largebin, cut = (
    unsorted._use_or_bin,
    int_malloc._from_largebin,
    int_malloc.cut,
)


def never(*_):
    return False


def refused(*_):
    return 0
    yield


def returned_at_once(words, log, par, tcache, *rest):
    """Return the first unsorted chunk of the very size, whatever room the cache has."""
    return use_or_bin(words, log, par, 0, *rest)


def move_to_back(words, log, av):
    """Let the newest unsorted chunk be the oldest."""
    head = bin_at(av, UNSORTED)
    chunk, last = load_word(words, log, head + FD), load_word(words, log, head + BK)
    if chunk == last:
        return
    behind = load_word(words, log, chunk + FD)
    for address, value in (
        *((head + FD, behind), (behind + BK, head), (last + FD, chunk)),
        *((chunk + BK, last), (chunk + FD, head), (head + BK, chunk)),
    ):
        store_word(words, log, address, value)


def linked_last(words, log, av, chunk, size):
    is_right = bins.link_unsorted(words, log, av, chunk, size)
    move_to_back(words, log, av)
    return is_right


def consolidated_last(words, log, av, chunk):
    wrong = _consolidate(words, log, av, chunk)
    move_to_back(words, log, av)
    return wrong


def first_of_its_size(*arguments):
    """Take the chunk that stands for its size in the ring of sizes."""

    def cut_first(words, log, par, av, chunk, size, found):
        if not load_word(words, log, chunk + FD_NEXTSIZE):
            chunk = load_word(words, log, chunk + BK)
        return cut(words, log, par, av, chunk, size, found)

    int_malloc.cut = cut_first
    try:
        return from_largebin(*arguments)
    finally:
        int_malloc.cut = cut


def main_again(arenas, thread, _avoid_arena):
    """Let threads without an arena share the main one."""
    yield arenas.lock(arenas.main_arena)
    arenas.thread_arena[thread] = arenas.main_arena
    return arenas.main_arena


def like_malloc(words, log, par, tcache, av, request):
    size = request2size(request)
    block = tcache_malloc(words, log, par, tcache, size)
    return block or int_malloc.int_malloc(words, log, par, tcache, av, request)


def with_its_tail(_words, _log, _par, _tcache, _av, _size, block):
    return block


ADDRESS = r"op \d+ .*, address: recorded"
CALL = r"op \d+ .*, system call \d+: recorded"
BROKEN = [
    Broken(
        "a list of the thread's cache holds seven blocks",
        *("malloc_par", "TCACHE_FILL_COUNT", 6),
        *("real_tar", ADDRESS),
    ),
    Broken(
        "the cache takes what a bin has left of a size",
        *("int_malloc", "has_place", never),
        *("syn_mt_many_b", ADDRESS),
    ),
    Broken(
        "what fits exactly is cached before one of it is returned",
        *("unsorted", "_use_or_bin", returned_at_once),
        *("syn_tcache_overflow_b", ADDRESS),
    ),
    Broken(
        "of large chunks of a size the second is taken",
        *("int_malloc", "_from_largebin", first_of_its_size),
        *("syn_memalign_mix_b", ADDRESS),
    ),
    Broken(
        "a freed chunk is the newest of the unsorted ones",
        *("int_free", "link_unsorted", linked_last),
        *("real_make", ADDRESS),
    ),
    Broken(
        "consolidated chunks are unsorted, the last of them the newest",
        *("malloc_consolidate", "_consolidate", consolidated_last),
        *("real_make", ADDRESS),
    ),
    Broken(
        "a large request empties the fastbins first",
        *("int_malloc", "have_fastchunks", never),
        *("real_make", ADDRESS),
    ),
    Broken(
        "less than 32 bytes are not cut off",
        *("cut", "MINSIZE", 48),
        *("real_sort", r"op 133 malloc\(5\) by thread 0, usable size: recorded 24, ours 56"),
    ),
    Broken(
        "a top of 128 KiB is given back",
        *("malloc_par", "DEFAULT_TRIM_THRESHOLD", 256 << 10),
        *("syn_top_trim_b", CALL),
    ),
    Broken(
        "only a free of 64 KiB or more looks at the top",
        *("int_free", "FASTBIN_CONSOLIDATION_THRESHOLD", 1 << 40),
        *("syn_top_trim_b", CALL),
    ),
    Broken(
        "the top grows by 128 KiB more than is asked for",
        *("malloc_par", "DEFAULT_TOP_PAD", 0),
        *("real_tar", r"op 0 malloc\(\d+\) by thread 0, system call 1: recorded brk"),
    ),
    Broken(
        "what was mapped and is freed raises the threshold",
        *("system.mmap_chunk", "DEFAULT_MMAP_THRESHOLD_MAX", 0),
        *("syn_mmap_threshold_b", CALL),
    ),
    Broken(
        "a mapped chunk is remapped",
        *("ptmalloc", "mremap_chunk", refused),
        *("syn_realloc_mmap_b", CALL),
    ),
    Broken(
        "heaps are aligned to 64 MiB",
        *("arena.heap_info", "HEAP_MAX_SIZE", 32 << 20),
        *("syn_mt_bigheap_b", CALL),
    ),
    Broken(
        "there are eight arenas for each CPU",
        *("arena.arena", "NARENAS_PER_CPU", 4),
        *("syn_mt_many_b", CALL),
    ),
    Broken(
        "threads without an arena share the others in turn",
        *("arena.arena", "_reused_arena", main_again),
        *("syn_mt_many_b", ADDRESS),
    ),
    Broken(
        "an arena that its last thread has left is taken again",
        *("arena.arena", "_get_free_list", refused),
        *("new_come_and_go", CALL),
    ),
    Broken(
        "calloc takes nothing from the thread's cache",
        *("replay_rows", "int_calloc", like_malloc),
        *("real_tar", ADDRESS),
    ),
    Broken(
        "what is behind an aligned block is freed",
        *("int_memalign", "without_tail", with_its_tail),
        *("syn_memalign_mix_b", r"op 0 memalign\(512, 2826\) by thread 0, usable size: recorded"),
    ),
]
CHOSEN, OTHERS = drawn(BROKEN, seed=13)


def first_difference_of(broken):
    """Return what the recording of a broken rule says first."""
    return first_difference_apart("fidelity.test_broken_malloc_rules", broken)


@pytest.mark.parametrize("broken", CHOSEN, ids=str)
def test_a_library_without_one_rule_differs_where_the_rule_shows(broken):
    """The recording fails, and says at which value first."""
    assert re.match(broken.place, first_difference_of(broken))


@pytest.mark.slow
@pytest.mark.parametrize("broken", OTHERS, ids=str)
def test_a_library_without_any_other_rule_differs_where_the_rule_shows(broken):
    """Those that the seed did not choose."""
    assert re.match(broken.place, first_difference_of(broken))


if __name__ == "__main__":
    named = next(each for each in BROKEN if each.rule == sys.argv[1])
    named.break_in("mmactors.malloc.ptmalloc")
    results = validate_malloc(REFERENCE / f"{named.recording}.npz")
    sys.stdout.write(next(each.first_difference for each in results if not each.passed))
