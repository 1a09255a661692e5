"""The one cache: replacement, dirty lines, and which geometries there are."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmactors.errors import Place
from mmactors.hw.cache import (
    EXCLUSIVE,
    MODIFIED,
    STATE_BITS,
    STATE_MASK,
    Geometry,
    fill,
    find,
    format_cache,
    invalidate,
    lookup,
    set_state,
)
from mmactors.hw.geometry import (
    FIFO,
    LRU,
    MRU,
    PLRU,
    RANDOM,
    REPLACEMENT,
    geometry_problems,
)

BASE = 5


class Sets:
    """A cache in the middle of an array of other things."""

    def __init__(self, *, nr_sets=1, ways=4, policy=LRU):
        geometry = Geometry(nr_sets=nr_sets, ways=ways, line_bytes=64, policy=policy)
        self.words = np.full(BASE + geometry.nr_words + BASE, 77, np.int64)
        format_cache(self.words, BASE, geometry)

    def use(self, line):
        """Look up and fill; return the line that had to go, None if none had or it was a hit."""
        if lookup(self.words, BASE, line) >= 0:
            return None
        victim = int(fill(self.words, BASE, line, EXCLUSIVE))
        return victim >> STATE_BITS if victim else None

    def holds(self, line):
        return find(self.words, BASE, line) >= 0


def victims(cache, lines):
    return [cache.use(line) for line in lines]


def test_lru_replaces_what_was_used_longest_ago():
    """A hit makes a line young again."""
    assert [None] * 5 + [2] == victims(Sets(), [1, 2, 3, 4, 1, 5])


def test_fifo_replaces_what_came_first():
    """A hit changes nothing."""
    assert [None] * 5 + [1] == victims(Sets(policy=FIFO), [1, 2, 3, 4, 1, 5])


def test_mru_is_the_one_of_pycachesim():
    """It reports the newest line as replaced, but it is the last way that is overwritten."""
    cache = Sets(policy=MRU, ways=2)

    assert [None, None, 1, 1] == victims(cache, [1, 1, 2, 3])
    assert [True, False, True] == [cache.holds(line) for line in (1, 2, 3)]


def test_plru_follows_the_tree_away_from_what_was_used():
    """After 1 2 3 4 the tree points to 1; using 1 turns it to the other half."""
    assert [None] * 5 + [3] == victims(Sets(policy=PLRU), [1, 2, 3, 4, 1, 5])


def test_random_is_the_same_every_time():
    """The shift register is state of the cache."""
    lines = [line % 23 for line in range(0, 500, 7)]

    assert victims(Sets(policy=RANDOM), lines) == victims(Sets(policy=RANDOM), lines)
    assert 2 < len(set(victims(Sets(policy=RANDOM), lines)))


def test_line_zero_is_not_an_empty_way():
    """Address 0 is absent from an empty cache and present once it was filled."""
    cache = Sets()

    assert not cache.holds(0)
    cache.use(0)
    assert cache.holds(0)


def test_invalidate_makes_room_at_the_end():
    """The way of a dropped line is filled before anything is replaced."""
    cache = Sets()
    victims(cache, [1, 2, 3, 4])

    dropped = invalidate(cache.words, BASE, 3)

    assert 3 == dropped >> STATE_BITS
    assert [None, 1] == victims(cache, [5, 6])
    assert 0 == invalidate(cache.words, BASE, 3)


def test_state_goes_with_the_line():
    """A dirty line is still dirty when it has moved and is replaced."""
    cache = Sets(ways=2)
    victims(cache, [1, 2])
    set_state(cache.words, find(cache.words, BASE, 1), MODIFIED)

    assert 1 << STATE_BITS | MODIFIED == fill(cache.words, BASE, 3, EXCLUSIVE)


@given(
    st.lists(st.tuples(st.integers(-40, 40), st.sampled_from(["use", "drop", "dirty"]))),
    st.sampled_from([LRU, FIFO]),
    st.sampled_from([1, 4]),
    st.sampled_from([1, 2, 3, 8]),
)
def test_ordered_cache_is_a_list_of_lines(operations, policy, nr_sets, ways):
    """Each set does what a list does, for any operations, and writes nothing outside itself."""
    cache = Sets(nr_sets=nr_sets, ways=ways, policy=policy)
    model = [[] for _ in range(nr_sets)]
    for line, operation in operations:
        lines = model[line % nr_sets]
        if operation == "use":
            gone = None
            if line in lines:
                if policy == LRU:
                    lines.remove(line)
                    lines.insert(0, line)
            else:
                lines.insert(0, line)
                gone = lines.pop() if len(lines) > ways else None
            assert gone == cache.use(line)
        elif operation == "drop":
            assert (line in lines) == (invalidate(cache.words, BASE, line) != 0)
            if line in lines:
                lines.remove(line)
        elif line in lines:
            set_state(cache.words, find(cache.words, BASE, line), MODIFIED)

    for line in range(-40, 41):
        assert (line in model[line % nr_sets]) == cache.holds(line)
    assert [77] * 10 == [*cache.words[:BASE], *cache.words[-BASE:]]


@given(st.lists(st.integers(0, 60)), st.sampled_from(list(REPLACEMENT.values())))
def test_line_is_there_once_and_until_it_goes(lines, policy):
    """Whatever the replacement: a used line is present, and present once."""
    cache = Sets(nr_sets=2, ways=4, policy=policy)
    for line in lines:
        cache.use(line)

        assert cache.holds(line)
    words = cache.words[BASE + 8 : -BASE].reshape(2, -1)[:, :4]
    present = [int(word) >> STATE_BITS for word in words.ravel() if word & STATE_MASK]
    assert len(present) == len(set(present))


@pytest.mark.parametrize(
    ("change", "found", "advice"),
    [
        ({"ways": 0}, "l1d.ways is 0", "direct-mapped"),
        ({"line_bytes": 48}, "l1d.line_bytes is 48", "try 32"),
        ({"size_bytes": 1000}, "l1d.size_bytes is 1000", "try 1024"),
        ({"size_bytes": 3072}, "l1d.size_bytes / ways / line_bytes is 12", "try size_bytes"),
        ({"replacement": "clock"}, "l1d.replacement is 'clock'", "lru"),
        ({"ways": 3, "size_bytes": 3072, "replacement": "plru"}, "l1d.ways is 3", "or lru"),
    ],
)
def test_impossible_geometry_is_explained(change, found, advice):
    """Each has a place, what was found, what is legal, and what to try."""
    good = {"size_bytes": 1024, "ways": 4, "line_bytes": 64, "replacement": "lru"}

    problems = geometry_problems(Place("fig.yaml", 3), "l1d", **(good | change))

    assert 1 == len(problems)
    assert str(problems[0]).startswith(f"fig.yaml:3: {found}")
    assert advice in problems[0].advice
