"""Can a recording of SLOB fail? Its rules are broken one at a time, and a recording sees each.

Which four are, is up to the seed; `-m slow` breaks all of them.
"""

import re
from pathlib import Path

import pytest
from broken_rules import Broken, drawn, first_difference

from mmactors.arch.page import list_add_tail, list_del
from mmactors.mm.slab.slob import slob_block
from mmactors.validate.slob.slob import validate_slob

REFERENCE = Path(__file__).parent.parent / "reference/linux-6.1/kernel/slob"


def never_turned(*arguments):
    """Search from the head that is always the same."""
    links, back, head = arguments[3], arguments[4], arguments[8]
    first = links[head]
    b = slob_block.find_block(*arguments)
    if first != head and arguments[5][first] & slob_block.PG_SLOB_FREE:
        list_del(links, back, head)
        list_add_tail(links, back, head, first)
    return b


def last_page_first(*arguments):
    """Put a page that becomes partly free at the end of its list."""
    links, back, flags, sp, head = *arguments[3:7], arguments[9]
    was_full = not flags[sp] & slob_block.PG_SLOB_FREE
    found = slob_block.free_block(*arguments)
    if was_full and flags[sp] & slob_block.PG_SLOB_FREE:
        list_del(links, back, sp)
        list_add_tail(links, back, sp, head)
    return found


def never_joined(memory, freelist, units_of, links, back, flags, sp, b, units, head):
    """Put a block among the free ones, whoever lies beside it."""
    arguments = memory, freelist, units_of, links, back, flags, sp, b, units, head
    first = freelist[sp] >> 1
    is_simple = not flags[sp] & slob_block.PG_SLOB_FREE or units_of[sp] + units == 2048
    if is_simple or b < first:
        joins = not is_simple and b + units == first
        if not joins:
            return slob_block.free_block(*arguments)
        units_of[sp] += units
        slob_block.set_slob(memory, b, units, first)
        freelist[sp] = b << 1
        return 0
    prev = first
    while b > slob_block.slob_next(memory, prev):
        prev = slob_block.slob_next(memory, prev)
    units_of[sp] += units
    slob_block.set_slob(memory, b, units, slob_block.slob_next(memory, prev))
    slob_block.set_slob(memory, prev, slob_block.slob_units(memory, prev), b)
    return 0


def at_the_end(*arguments):
    """Open a new page at the end of its list."""
    links, back, flags, sp, head = *arguments[3:7], arguments[7]
    b = slob_block.open_page(*arguments)
    if flags[sp] & slob_block.PG_SLOB_FREE:
        list_del(links, back, sp)
        list_add_tail(links, back, sp, head)
    return b


BROKEN = [
    Broken(
        "small and large blocks have lists of their own",
        *("heap", "slob_list", lambda size: 0 if size < 256 else 1),
        *("256M-c1-mix-s5.json.gz", r"ops\[\d+\]: recorded"),
    ),
    Broken(
        "the next search begins where the last one ended",
        *("heap", "find_block", never_turned),
        *("256M-c1-mix-s10.json.gz", r"ops\[\d+\]: recorded|final\.\w+: recorded"),
    ),
    Broken(
        "a page that was full is the first of its list",
        *("heap", "free_block", last_page_first),
        *("256M-c1-shrink-s2.json.gz", r"ops\[\d+\]: recorded|final\.\w+: recorded"),
    ),
    Broken(
        "free blocks that touch are one",
        *("heap", "free_block", never_joined),
        *("256M-c1-mix-s10.json.gz", r"ops\[\d+\]: recorded"),
    ),
    Broken(
        "a new page is the first of its list",
        *("heap", "open_page", at_the_end),
        *("256M-c1-mix-s5.json.gz", r"ops\[\d+\]: recorded|final\.\w+: recorded"),
    ),
    Broken(
        "an empty page is given back",
        *("heap", "IS_EMPTY", None),
        *("256M-c1-fill-s5.json.gz", r"ops\[\d+\]: recorded"),
    ),
    Broken(
        "a power of two is aligned to itself",
        *("kmalloc", "kmalloc_align", lambda _size: 8),
        *("256M-c1-mix-s17.json.gz", r"ops\[\d+\]: recorded"),
    ),
    Broken(
        "8 bytes lie before what kmalloc returns",
        *("kmalloc", "MINALIGN", 4),
        *("256M-c1-mix-s17.json.gz", r"ops\[\d+\]: recorded"),
    ),
    Broken(
        "who waits for readers has 24 bytes behind it",
        *("cache", "SLOB_RCU_SIZE", 16),
        *("256M-c1-params.json.gz", r"\w+\[\d+\]\.size: recorded"),
    ),
    Broken(
        "a block is of whole units of 2 bytes",
        *("cache", "SLOB_UNIT", 8),
        *("256M-c1-params.json.gz", r"\w+\[\d+\]\.size: recorded"),
    ),
    Broken(
        "objects are aligned to cache lines if they ask for it",
        *("cache", "calculate_alignment", lambda _flags, align, _size: max(align, 8)),
        *("256M-c1-mix-s10.json.gz", r"initial\.caches\[\d\]\.align: recorded 64, ours 8"),
    ),
]
CHOSEN, OTHERS = drawn(BROKEN, seed=11)


@pytest.mark.parametrize("broken", CHOSEN, ids=str)
def test_a_kernel_without_one_rule_differs_where_the_rule_shows(monkeypatch, broken):
    """The recording fails, and says at which value first."""
    broken.break_in("mmactors.mm.slab.slob", monkeypatch.setattr)

    assert re.match(broken.place, first_difference(validate_slob, REFERENCE / broken.recording))


@pytest.mark.slow
@pytest.mark.parametrize("broken", OTHERS, ids=str)
def test_a_kernel_without_any_other_rule_differs_where_the_rule_shows(monkeypatch, broken):
    """Those that the seed did not choose."""
    broken.break_in("mmactors.mm.slab.slob", monkeypatch.setattr)

    assert re.match(broken.place, first_difference(validate_slob, REFERENCE / broken.recording))
