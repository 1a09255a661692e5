"""Can a preloaded jemalloc's recording fail? Its rules are broken one at a time, and one sees each.

As ptmalloc's (test_broken_malloc_rules.py): in a process that runs compiled functions as Python.
"""

import re
import sys

import pytest
from broken_rules import TESTS, Broken, first_difference_apart, say_first_differences

from mmactors.malloc.jemalloc.pages import edata, eset, pairing_heap
from mmactors.malloc.jemalloc.pages.page_classes import page_class_of, quantize_ceil
from mmactors.malloc.jemalloc.size_classes import NR_BINS
from mmactors.malloc.jemalloc.tcache import tcache
from mmactors.malloc.user_words import store_bits
from mmactors.validate.malloc.malloc import validate_malloc

REFERENCE = TESTS / "reference/malloc/preloaded"


def zero(*_):
    return 0


def nothing(*_):
    return None


def fill_whole_bins(words, log, par, tsd, stacks):
    """Let a bin of the cache ask for all blocks that it can keep."""
    tcache.init_tcache(words, log, par, tsd, stacks)
    for index in range(NR_BINS):
        store_bits(words, log, tsd + tcache.LG_FILL_DIV + index, 1, 0)


def smallest_fit(words, log, par, which, size, _lg_max_fit):
    """Take what leaves least, however old it is."""
    index = eset.next_class(words, log, which, page_class_of(quantize_ceil(par, size)))
    if index >= eset.NR_HEAPS:
        return 0
    heap = which + eset.BINS + eset.BIN_BYTES * index
    return pairing_heap.first_of(words, log, pairing_heap.BY_SERIAL, heap)


def is_younger(words, log, slab, other):
    return not edata.is_before(words, log, slab, other)


def ask_for_as_much(words, log, par, tsd, index, _flushed):
    """Let a bin of the cache be filled as before, whatever was flushed of it."""
    tcache.end_collection(words, log, par, tsd, index, 0)


def choose_any(arenas, tsd, _size):
    """Let large blocks be where the thread's others are."""
    return (yield from arenas.choose(tsd))


SEEN_SOON = [
    Broken(
        "an empty bin of the cache is filled by half",
        *("threads", "init_tcache", fill_whole_bins),
        *("real_sort/je_n1", r"op 3 malloc\(4096\) .*, address: recorded initial map 5\+0x420000,"),
    ),
    Broken(
        "the oldest extent that fits is taken",
        *("pages.eset", "_first_fit", smallest_fit),
        *(
            "real_zstd/je_n1",
            r"op 109 malloc\(526336\) .*, address: recorded .*\+0x19b200, ours .*\+0x193200",
        ),
    ),
    Broken(
        "each new mapping is larger than the last",
        *("pages.growth", "store_bits", nothing),
        *(
            "real_sort/je_n1",
            r"op 346 malloc\(262176\) .*, system call 0: recorded mmap\(2621440, .*mmap\(2097152,",
        ),
    ),
    Broken(
        "a large block begins at a random line of its first page",
        *("large_block", "random_bits", zero),
        *(
            "real_sort/je_n1",
            r"op 277 malloc\(1048608\) .*, address: recorded .*\+0x472200, ours .*\+0x472000",
        ),
    ),
]
SEEN_LATE = [
    Broken(
        "small extents are joined late",
        *("pages.at_once", "LARGE_MINCLASS", 0),
        *(
            "syn_memalign_mix_b/je_n1_notc",
            r"op 6 memalign\(1024, 2837\) .*, address: recorded initial map 5\+0x418000,",
        ),
    ),
    Broken(
        "an older slab with a free region is taken first",
        *("bins.bin", "is_before", is_younger),
        *(
            "syn_memalign_mix_b/je_n1_notc",
            r"op 188 memalign\(1024, 1887\) .*, address: recorded initial map 5\+0x415800,",
        ),
    ),
    Broken(
        "blocks that nobody needed are collected",
        *("tcache.tcache", "low_water_of", zero),
        *(
            "real_gitgc/je_n1",
            r"op 869 realloc\(#294, 6144\) .*, address: recorded initial map 5\+0x458000,",
        ),
    ),
    Broken(
        "a bin that was flushed asks for less",
        *("rows.phases", "end_collection", ask_for_as_much),
        *(
            "real_gitgc/je_n1",
            r"op 1369 calloc\(1024, 4\) .*, address: recorded initial map 5\+0x424000,",
        ),
    ),
    Broken(
        "huge blocks have an arena of their own",
        *("arenas:Arenas", "choose_for", choose_any),
        *(
            "syn_realloc_mmap_b/je_default",
            r"op 182 realloc\(#79, .*, system call 3: recorded mmap\(2097152.*mmap\(14680064,",
        ),
    ),
]


def where_no_rule_shows(*broken):
    """Return the rules whose recordings do not differ where they should, and what they say."""
    said = first_difference_apart("fidelity.test_broken_jemalloc_rules", *broken).splitlines()
    pairs = zip(broken, said, strict=True)
    return [(each.rule, line) for each, line in pairs if not re.match(each.place, line)]


def test_a_jemalloc_without_one_rule_differs_where_the_rule_shows():
    """The recording of a short program fails for each of them, and says at which value first."""
    assert where_no_rule_shows(*SEEN_SOON) == []


@pytest.mark.slow
@pytest.mark.parametrize("broken", SEEN_LATE, ids=str)
def test_a_jemalloc_without_any_other_rule_differs_where_the_rule_shows(broken):
    """Those that only long recordings show."""
    assert where_no_rule_shows(broken) == []


if __name__ == "__main__":
    say_first_differences(
        "mmactors.malloc.jemalloc", SEEN_SOON + SEEN_LATE, sys.argv[1:], validate_malloc, REFERENCE
    )
