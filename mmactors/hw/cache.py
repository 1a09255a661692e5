"""The one cache: sets of lines in a piece of an int64 array, and the functions that work on them.

Every cache of the machine (L1I, L1D, L2, LLC, the snoop filter's tags) and every cache that a
recording is checked against is such a piece. A cache starts at index `base` of `words`:

    words[base + MASK ... LFSR]       the geometry, written once by `format_cache`
    words[base + HEADER_WORDS ...]    the sets, `stride` words each: one word a way, and for
                                      tree-PLRU one more with the tree's bits

A way's word is `line << STATE_BITS | state`, where line = address >> line shift; the word 0 is an
empty way. `line` may be a number of virtual or of physical lines: the caller decides, as it
decides what a state means. A cache that knows no coherence uses EXCLUSIVE for a clean line and
MODIFIED for a dirty one.

Replacement: under LRU, FIFO and MRU the ways of a set stand in order, newest first, which is the
true LRU of valgrind's cachegrind (cg_sim.c) and of dinero IV. Random takes the first empty way,
then what a 16-bit linear feedback shift register says, so that equal runs stay equal. Tree-PLRU
takes the first empty way, then follows the tree.

Left out: sectors, victim caches, prefetch. How levels are put together stands in `access` for the
machine, and in `hierarchy` for the simulators that recordings come from.

Invariants: a line stands in at most one way. `fill` is called only for a line that is absent. An
index that a function returns is good until the next fill or lookup in that set.
"""

from typing import Final

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from mmactors.arch.jit import compiled
from mmactors.hw.geometry import FIFO, LRU, MRU, PLRU, RANDOM, is_power_of_two

Words = NDArray[np.int64]

STATE_BITS: Final = 2
STATE_MASK: Final = (1 << STATE_BITS) - 1
INVALID: Final = 0
SHARED: Final = 1
EXCLUSIVE: Final = 2
MODIFIED: Final = 3
"""MESI as numbers in this order: at least EXCLUSIVE may be written, only MODIFIED is dirty."""

MASK: Final = 0
"""Number of sets - 1."""
WAYS: Final = 1
STRIDE: Final = 2
"""Words from one set to the next."""
LINE_SHIFT: Final = 3
POLICY: Final = 4
LFSR: Final = 5
HEADER_WORDS: Final = 8
"""So that sets of eight ways fall on the host's own lines."""

_LFSR_SEED: Final = 0xACE1
_LFSR_TAPS: Final = 0xB400
"""x^16 + x^14 + x^13 + x^11 + 1, the maximal length polynomial in Galois form."""


@frozen(kw_only=True)
class Geometry:
    """What a cache is, apart from its contents."""

    nr_sets: int
    ways: int
    line_bytes: int
    policy: int = LRU

    @classmethod
    def of_size(
        cls, size_bytes: int, *, ways: int, line_bytes: int, policy: int = LRU
    ) -> "Geometry":
        """Return the geometry of a cache that was given by its size; it must have no problems."""
        nr_sets = size_bytes // (ways * line_bytes)
        return cls(nr_sets=nr_sets, ways=ways, line_bytes=line_bytes, policy=policy)

    @property
    def nr_words(self) -> int:
        """How many words `format_cache` needs."""
        return HEADER_WORDS + self.nr_sets * self._stride

    @property
    def _stride(self) -> int:
        return self.ways + 1 if self.policy == PLRU else self.ways


def format_cache(words: Words, base: int, geometry: Geometry) -> None:
    """Make `words[base : base + geometry.nr_words]` an empty cache."""
    nr_sets, ways = geometry.nr_sets, geometry.ways
    assert is_power_of_two(nr_sets), f"{nr_sets} sets"
    assert is_power_of_two(geometry.line_bytes), f"lines of {geometry.line_bytes} bytes"
    words[base : base + geometry.nr_words] = 0
    words[base + MASK] = nr_sets - 1
    words[base + WAYS] = ways
    words[base + STRIDE] = (geometry.nr_words - HEADER_WORDS) // nr_sets
    words[base + LINE_SHIFT] = geometry.line_bytes.bit_length() - 1
    words[base + POLICY] = geometry.policy
    words[base + LFSR] = _LFSR_SEED


@compiled
def set_of(words: Words, base: int, line: int) -> int:
    """Return the index of the first way of the set that `line` belongs to."""
    base = max(base, 0)
    return base + HEADER_WORDS + (line & words[base + MASK]) * words[base + STRIDE]  # type: ignore[no-any-return]


@compiled
def find(words: Words, base: int, line: int) -> int:
    """Return the index of the way that holds `line`, or -1. The cache does not notice."""
    base = max(base, 0)
    first = set_of(words, base, line)
    for index in range(first, first + words[base + WAYS]):
        # Unsigned indexes spare what Python's negative ones need. Line 0 and an empty way differ
        # in the state alone.
        if 0 < words[np.uint64(index)] ^ (line << STATE_BITS) <= STATE_MASK:
            return index
    return -1


@compiled
def lookup(words: Words, base: int, line: int) -> int:
    """Use `line`: return the index of its way afterwards, or -1 when it is absent.

    A hit counts for the replacement; a miss changes nothing.
    """
    base = max(base, 0)
    first = set_of(words, base, line)
    ways = words[base + WAYS]
    for index in range(first, first + ways):
        word = words[np.uint64(index)]
        if 0 < word ^ (line << STATE_BITS) <= STATE_MASK:
            policy = words[base + POLICY]
            if policy <= MRU:
                for older in range(index, first, -1):
                    words[np.uint64(older)] = words[np.uint64(older - 1)]
                words[np.uint64(first)] = word
                return first
            if policy == PLRU:
                _plru_touch(words, first, ways, index - first)
            return index
    return -1


@compiled
def fill(words: Words, base: int, line: int, state: int) -> int:
    """Bring in `line`, which is absent, in `state`; return the word that had to go, or 0.

    The line counts as used now. MRU is pycachesim's, mistake included (backend.c, Cache__inject):
    it reports the newest line as replaced but overwrites the last way and moves nothing.
    """
    base = max(base, 0)
    first = set_of(words, base, line)
    ways = words[base + WAYS]
    policy = words[base + POLICY]
    new = line << STATE_BITS | state
    last = first + ways - 1
    if policy == MRU:
        victim = words[np.uint64(first)]
        words[np.uint64(last)] = new
        return victim  # type: ignore[no-any-return]
    if policy <= FIFO:
        victim = words[np.uint64(last)]
        for older in range(last, first, -1):
            words[np.uint64(older)] = words[np.uint64(older - 1)]
        words[np.uint64(first)] = new
        return victim  # type: ignore[no-any-return]
    way = _victim_way(words, base, first)
    victim = words[np.uint64(first + way)]
    words[np.uint64(first + way)] = new
    if policy == PLRU:
        _plru_touch(words, first, ways, way)
    return victim  # type: ignore[no-any-return]


@compiled
def invalidate(words: Words, base: int, line: int) -> int:
    """Drop `line`; return the word it had, or 0 when it was absent.

    In ordered sets the ways behind it move up, so that empty ways are always the last.
    """
    index = find(words, base, line)
    if index < 0:
        return 0
    word = words[index]
    policy = words[base + POLICY]
    if policy > FIFO:
        words[index] = 0
        return word  # type: ignore[no-any-return]
    last = set_of(words, base, line) + words[base + WAYS] - 1
    for newer in range(index, last):
        words[newer] = words[newer + 1]
    words[last] = 0
    return word  # type: ignore[no-any-return]


@compiled
def set_state(words: Words, index: int, state: int) -> None:
    """Give the line in the way at `index` another state, not INVALID."""
    words[index] = (words[index] & ~STATE_MASK) | state


@compiled
def _victim_way(words: Words, base: int, first: int) -> int:
    """Return the way to fill when ways do not stand in order: an empty one if there is one."""
    ways = words[base + WAYS]
    for way in range(ways):
        if words[first + way] == 0:
            return way
    if words[base + POLICY] == RANDOM:
        bits = words[base + LFSR]
        bits = (bits >> 1) ^ (-(bits & 1) & _LFSR_TAPS)
        words[base + LFSR] = bits
        return bits % ways  # type: ignore[no-any-return]
    tree = words[first + ways]
    node = 1
    while node < ways:
        node = 2 * node + ((tree >> node) & 1)
    return node - ways  # type: ignore[no-any-return]


@compiled
def _plru_touch(words: Words, first: int, ways: int, way: int) -> None:
    """Let every node of the tree on the way to `way` point to the other side.

    Node 1 is the root, node n has the children 2n and 2n + 1, the leaves are ways ... 2 ways - 1;
    bit n of the word behind the set is 1 when the older half of node n is the right one.
    """
    tree = words[first + ways]
    node = ways + way
    while node > 1:
        parent = node >> 1
        if node & 1:
            tree &= ~(1 << parent)
        else:
            tree |= 1 << parent
        node = parent
    words[first + ways] = tree
