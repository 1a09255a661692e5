"""Can a recording of per-CPU memory fail? Its rules are broken, and a recording sees each.

Rules are broken one at a time. Which four are, is up to the seed; `-m slow` breaks all of them. As
a program (`cd tests; python -m fidelity.test_broken_percpu_rules RULE`) it prints where the rule's
recording first differs: in a process without native code, where the rules inside compiled functions
can be broken, too.
"""

import re
import sys

import pytest
from broken_rules import TESTS, Broken, drawn, first_difference, first_difference_apart

from mmactors.mm.percpu import block_md, hints, struct_chunk
from mmactors.mm.percpu.slots import Slots
from mmactors.validate.percpu.percpu import validate_percpu

REFERENCE = TESTS / "reference/linux-6.1/kernel/percpu"
BLOCK_UPDATE = hints.block_update
MOVE = Slots.move


def first_free(chunk, block, _alloc_bits):
    return chunk[block + struct_chunk.FIRST_FREE]


def look_from_the_first(chunk, block):
    chunk[block + struct_chunk.SCAN_HINT] = chunk[block + struct_chunk.CONTIG_HINT] = 0
    return chunk[block + struct_chunk.FIRST_FREE]


def ends_of_the_chunk(chunk, block, start, end):
    """Count the end of what is free from the chunk's beginning, as its start is."""
    if block == struct_chunk.CHUNK_MD:
        end += start & -struct_chunk.BLOCK_BITS
    BLOCK_UPDATE(chunk, block, start, end)


def by_page(chunk, bit_off):
    """Return the next free room, each page's for itself."""
    size = struct_chunk.BLOCK_BITS
    for index in range(-(-bit_off // size), chunk[struct_chunk.NR_PAGES]):
        block = block_md.md_block(index)
        bits = chunk[block + struct_chunk.CONTIG_HINT]
        if bits:
            return index * size + chunk[block + struct_chunk.CONTIG_HINT_START], bits
    return chunk[struct_chunk.NR_PAGES] * size, 0


def no_work(*_, **__):
    return
    yield


def to_the_front(slots, chunk, slot, *, to_front=True):
    del to_front
    MOVE(slots, chunk, slot)


MIX = "256M-c1-mix-s1.json.gz"
BROKEN = [
    Broken(
        "room that was passed over becomes a hint",
        *("area", "block_update_scan", lambda *_: None),
        *("256M-c1-frag-s2.json.gz", r"ops\[\d+\]|final.*scan_hint"),
    ),
    Broken(
        "of two rooms of one size the better aligned is the hint",
        *("block_md", "_is_better_aligned", lambda *_: False),
        *(MIX, r"ops\[\d+\]|final.*_hint"),
    ),
    Broken(
        "what is too small before the largest room is not looked at",
        *("region", "next_hint", first_free),
        *("256M-c1-frag-s2.json.gz", r"ops\[\d+\]|final"),
    ),
    Broken(
        "the scan hint becomes the largest when that is taken",
        *("region", "promote_scan_hint", look_from_the_first),
        *(MIX, r"ops\[\d+\]|final.*chunk_md"),
    ),
    Broken(
        "a free inside a page ends for the chunk where it ends in its page",
        *("hints", "block_update", ends_of_the_chunk),
        *(MIX, r"ops\[\d+\]|final.*chunk_md"),
    ),
    Broken(
        "free room goes on with the next page",
        *("region", "next_md_free_region", by_page),
        *(MIX, r"ops\[\d+\]|final.*chunk_md"),
    ),
    Broken(
        "a packed chunk without room is not looked at again",
        *("alloc", "_SLOT_FAIL_THRESHOLD", 0),
        *(MIX, r"ops\[\d+\]|final\.chunks\[\d\]\.slot"),
    ),
    Broken(
        "who may not wait takes pages that are there",
        *("area", "_is_populated", lambda *_: -1),
        *("512M-c1-fill-s104.json.gz", r"ops\[\d+\]"),
    ),
    Broken(
        "four empty pages are kept",
        *("balance", "EMPTY_POP_PAGES_HIGH", 5),
        *(MIX, r"final\.unit\.empty_pop_pages: recorded 8, ours 9"),
    ),
    Broken(
        "the work begins when there are fewer than two",
        *("alloc", "EMPTY_POP_PAGES_LOW", 1),
        *("512M-c2-mix-s11.json.gz", r"final\.unit\.empty_pop_pages"),
    ),
    Broken(
        "a chunk with a fourth of it empty is emptied",
        *("percpu:Percpu", "should_reclaim", lambda *_: False),
        *("512M-c1-big-s103.json.gz", r"ops\[\d+\]|final\.|all_freed\."),
    ),
    Broken(
        "one chunk without areas stays",
        *("balance", "_balance_free", no_work),
        *("512M-c1-big-s103.json.gz", r"ops\[\d+\]|final\.|all_freed\."),
    ),
    Broken(
        "who has less room than before comes last on the list",
        *("slots:Slots", "move", to_the_front),
        *("512M-c1-big-s103.json.gz", r"ops\[\d+\]|final\.chunks"),
    ),
]
CHOSEN, OTHERS = drawn(BROKEN, seed=12)


def first_difference_of(broken):
    """Return what the recording of a broken rule says first."""
    return first_difference_apart("fidelity.test_broken_percpu_rules", broken)


@pytest.mark.parametrize("broken", CHOSEN, ids=str)
def test_a_kernel_without_one_rule_differs_where_the_rule_shows(broken):
    """The recording fails, and says at which value first."""
    assert re.match(broken.place, first_difference_of(broken))


@pytest.mark.slow
@pytest.mark.parametrize("broken", OTHERS, ids=str)
def test_a_kernel_without_any_other_rule_differs_where_the_rule_shows(broken):
    """Those that the seed did not choose."""
    assert re.match(broken.place, first_difference_of(broken))


if __name__ == "__main__":
    named = next(each for each in BROKEN if each.rule == sys.argv[1])
    named.break_in("mmactors.mm.percpu")
    sys.stdout.write(first_difference(validate_percpu, REFERENCE / named.recording))
