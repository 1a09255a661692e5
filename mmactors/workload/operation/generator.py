"""Synthetic access patterns over a range of addresses: data accesses only, no fetches.

Every pattern is a function of its options and the length of the range. Randomness is splitmix64
(Steele, Lea, Flood: Fast splittable pseudorandom number generators, OOPSLA 2014) used as a counter:
draw number i of a stream is mix(key + (i + 1) * golden), so that any piece of a pattern can be
made alone and no release of any library changes it. A draw below n is floor(u * n), where u is the
upper 53 bits of a draw as a fraction; its bias is below n / 2**53.

Distributions:
- sequential, stride: access i is at (i mod pass) * step; a pass is the steps that fit the range
- uniform: each grain of the range is equally likely
- zipf: the grain of rank k = 1, 2, ... has a weight proportional to k ** -skew (rounded down to
  2**-40 of the first, but never 0); ranks are scattered over the range by a random permutation
- chase: one random cycle through all grains; the pointer lies at the start of its grain
- matmul: C = A * B of n * n elements by rows, A, B, C one after the other; the operand that does
  not depend on the inner loop's index is held in a register
"""

import math
from collections.abc import Callable, Iterator
from typing import Final

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from mmactors.arch.trace import LOAD, SIZE_MASK, SIZE_SHIFT, STORE, Trace, as_signed
from mmactors.option import option
from mmactors.units import PAGE_SIZE, format_bytes
from mmactors.workload.operation.grammar import OperationError
from mmactors.workload.trace.input import CHUNK_ROWS

GRAINS_MAX: Final = 1 << 22
"""Grains of a range that a table is made for: 32 MiB a table."""

_N_MAX: Final = 1 << 20
_DRAW_END_MAX: Final = 1 << 52
_POINTER_BYTES: Final = 8

_GOLDEN: Final = 0x9E37_79B9_7F4A_7C15
_MASK: Final = (1 << 64) - 1
_WEIGHT_ONE: Final = float(1 << 40)

_PLACE_STREAM: Final = 0
_KIND_STREAM: Final = 1
_PERMUTATION_STREAM: Final = 2

_COUNT_DOC: Final = "accesses; left out: one pass (as many as there are places)"
_SIZE_DOC: Final = "bytes of an access"
_WRITE_DOC: Final = "share of stores among the accesses, in percent, drawn one by one"
_SEED_DOC: Final = "seed of all that is random here"
_GRAIN_DOC: Final = "the range is cut into grains of this size; an access is at a grain's start"
_SEED_MAX: Final = _MASK


@frozen(kw_only=True)
class Sequential:
    """One access after the other, from the start of the range to its end."""

    count: int | None = option(None, doc=_COUNT_DOC, minimum=1)
    size_bytes: int = option(8, doc=_SIZE_DOC, unit="bytes", minimum=1, maximum=SIZE_MASK)
    write_percent: int = option(0, doc=_WRITE_DOC, minimum=0, maximum=100)
    seed: int = option(0, doc=_SEED_DOC, minimum=0, maximum=_SEED_MAX)


@frozen(kw_only=True)
class Stride:
    """Accesses at a constant distance."""

    stride_bytes: int = option(64, doc="distance of two accesses", unit="bytes", minimum=1)
    count: int | None = option(None, doc=_COUNT_DOC, minimum=1)
    size_bytes: int = option(8, doc=_SIZE_DOC, unit="bytes", minimum=1, maximum=SIZE_MASK)
    write_percent: int = option(0, doc=_WRITE_DOC, minimum=0, maximum=100)
    seed: int = option(0, doc=_SEED_DOC, minimum=0, maximum=_SEED_MAX)


@frozen(kw_only=True)
class Uniform:
    """Accesses to grains drawn with equal probability."""

    grain_bytes: int = option(64, doc=_GRAIN_DOC, unit="bytes", minimum=1)
    count: int | None = option(None, doc=_COUNT_DOC, minimum=1)
    size_bytes: int = option(8, doc=_SIZE_DOC, unit="bytes", minimum=1, maximum=SIZE_MASK)
    write_percent: int = option(0, doc=_WRITE_DOC, minimum=0, maximum=100)
    seed: int = option(0, doc=_SEED_DOC, minimum=0, maximum=_SEED_MAX)


@frozen(kw_only=True)
class Zipf:
    """Accesses to grains of which few are hot: rank k is drawn in proportion to k ** -skew."""

    skew_percent: int = option(
        99, doc="a hundred times the exponent; 0 is uniform", minimum=0, maximum=1000
    )
    grain_bytes: int = option(PAGE_SIZE, doc=_GRAIN_DOC, unit="bytes", minimum=1)
    count: int | None = option(None, doc=_COUNT_DOC, minimum=1)
    size_bytes: int = option(8, doc=_SIZE_DOC, unit="bytes", minimum=1, maximum=SIZE_MASK)
    write_percent: int = option(0, doc=_WRITE_DOC, minimum=0, maximum=100)
    seed: int = option(0, doc=_SEED_DOC, minimum=0, maximum=_SEED_MAX)


@frozen(kw_only=True)
class PointerChase:
    """Loads of 8 bytes along one random cycle through all grains."""

    grain_bytes: int = option(64, doc=_GRAIN_DOC, unit="bytes", minimum=8)
    count: int | None = option(None, doc=_COUNT_DOC, minimum=1)
    seed: int = option(0, doc=_SEED_DOC, minimum=0, maximum=_SEED_MAX)


@frozen(kw_only=True)
class MatrixMultiply:
    """The loads and stores of C = A * B, three nested loops."""

    n: int | None = option(
        None, doc="rows of a matrix; left out: the most that fit the range", minimum=1
    )
    loops: str = option(
        "ijk",
        doc="nesting, the inner loop last; i: rows of C, j: columns of C, k: the sum",
        choices=("ijk", "jik", "ikj", "kij", "jki", "kji"),
    )
    element_bytes: int = option(8, doc="bytes of an element", unit="bytes", minimum=1, maximum=64)
    count: int | None = option(
        None, doc="accesses; left out: one multiplication; more: again from its start", minimum=1
    )


Pattern = Sequential | Stride | Uniform | Zipf | PointerChase | MatrixMultiply

PATTERNS: Final[dict[str, type[Pattern]]] = {
    "sequential": Sequential,
    "stride": Stride,
    "uniform": Uniform,
    "zipf": Zipf,
    "chase": PointerChase,
    "matmul": MatrixMultiply,
}

_Rows = Callable[[int, int], tuple[NDArray[np.int64], NDArray[np.int64]]]
"""Give (offset in the range, kind) of `count` accesses from number `first` on."""


@frozen
class _Plan:
    nr_pass: int
    size_bytes: int
    rows: _Rows


def splitmix64(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return the output of splitmix64 for each state (which has already been stepped)."""
    x = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58_476D_1CE4_E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D0_49BB_1331_11EB)
    return x ^ (x >> np.uint64(31))


def draws(seed: int, stream: int, first: int, count: int) -> NDArray[np.uint64]:
    """Return draws first..first+count-1 of a stream."""
    # Streams of one seed start at mixed keys, so that they do not overlap in practice.
    words = np.array([seed & _MASK, stream], np.uint64)
    key = splitmix64(splitmix64(words)[:1] + words[1:] * np.uint64(_GOLDEN))
    counter = np.arange(first + 1, first + count + 1, dtype=np.uint64)
    return splitmix64(key + counter * np.uint64(_GOLDEN))


def draws_below(end: int, seed: int, stream: int, first: int, count: int) -> NDArray[np.int64]:
    """Return draws from 0 to end-1, equally likely."""
    assert 0 < end <= _DRAW_END_MAX, f"end is {end}"
    fraction = (draws(seed, stream, first, count) >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return (fraction * end).astype(np.int64)


def _permutation(seed: int, length: int) -> NDArray[np.int64]:
    return np.argsort(draws(seed, _PERMUTATION_STREAM, 0, length), kind="stable").astype(np.int64)


def _kinds(seed: int, write_percent: int, first: int, count: int) -> NDArray[np.int64]:
    if write_percent in {0, 100}:
        return np.full(count, STORE if write_percent else LOAD, np.int64)
    is_store = draws_below(100, seed, _KIND_STREAM, first, count) < write_percent
    return np.where(is_store, STORE, LOAD).astype(np.int64)


def _distance(step: int, nr_places: int) -> int:
    """Return how far places lie apart; a single one may have a step that columns do not hold."""
    return step if nr_places > 1 else 0


def _plan_stride(pattern: Sequential | Stride, length: int) -> _Plan:
    step = pattern.stride_bytes if isinstance(pattern, Stride) else pattern.size_bytes
    nr_pass = (length - pattern.size_bytes) // step + 1
    step = _distance(step, nr_pass)

    def rows(first: int, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        index = np.arange(first, first + count, dtype=np.int64) % nr_pass
        return index * step, _kinds(pattern.seed, pattern.write_percent, first, count)

    return _Plan(nr_pass, pattern.size_bytes, rows)


def _plan_uniform(pattern: Uniform, length: int) -> _Plan:
    nr_grains = (length - pattern.size_bytes) // pattern.grain_bytes + 1

    def rows(first: int, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        grain = draws_below(nr_grains, pattern.seed, _PLACE_STREAM, first, count)
        kind = _kinds(pattern.seed, pattern.write_percent, first, count)
        return grain * _distance(pattern.grain_bytes, nr_grains), kind

    return _Plan(nr_grains, pattern.size_bytes, rows)


def _plan_zipf(pattern: Zipf, length: int) -> _Plan:
    nr_grains = (length - pattern.size_bytes) // pattern.grain_bytes + 1
    rank = np.arange(1, nr_grains + 1, dtype=np.float64)
    # Whole weights: a pow() that differs in its last bit on another machine changes no draw.
    weight = np.maximum(1, (_WEIGHT_ONE * rank ** (-pattern.skew_percent / 100)).astype(np.int64))
    cumulative = np.cumsum(weight)
    grain_of_rank = _permutation(pattern.seed, nr_grains)

    def rows(first: int, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        total = int(cumulative[-1])
        drawn = draws(pattern.seed, _PLACE_STREAM, first, count) >> np.uint64(11)
        point = (drawn.astype(np.float64) * 2.0**-53 * total).astype(np.int64)
        # The product may round up to the total itself when the total is above 2**53.
        point = np.minimum(point, total - 1)
        grain = grain_of_rank[np.searchsorted(cumulative, point, side="right")]
        kind = _kinds(pattern.seed, pattern.write_percent, first, count)
        return grain * _distance(pattern.grain_bytes, nr_grains), kind

    return _Plan(nr_grains, pattern.size_bytes, rows)


def _plan_chase(pattern: PointerChase, length: int) -> _Plan:
    nr_grains = (length - _POINTER_BYTES) // pattern.grain_bytes + 1
    cycle = _permutation(pattern.seed, nr_grains)

    def rows(first: int, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        index = np.arange(first, first + count, dtype=np.int64) % nr_grains
        offset = cycle[index] * _distance(pattern.grain_bytes, nr_grains)
        return offset, np.full(count, LOAD, np.int64)

    return _Plan(nr_grains, _POINTER_BYTES, rows)


def _order(pattern: MatrixMultiply, length: int) -> int:
    """Return n of the n * n matrices: as configured, or what three of them fit the range with."""
    if pattern.n is not None:
        return pattern.n
    return math.isqrt(length // (3 * pattern.element_bytes))


def _plan_matmul(pattern: MatrixMultiply, length: int) -> _Plan:
    element = pattern.element_bytes
    n = _order(pattern, length)
    inner = pattern.loops[2]
    in_sum = inner == "k"
    width = 2 * n + 1 if in_sum else 3 * n + 1
    nr_pass = n * n * width

    def rows(first: int, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        pair, within = np.divmod(np.arange(first, first + count, dtype=np.int64) % nr_pass, width)
        if in_sum:
            # A[i,k], B[k,j] for every k, then the sum is stored in C[i,j].
            turn, part = np.divmod(within, 2)
            matrix = np.where(within == 2 * n, 2, part)
            is_store = matrix == 2
        else:
            # The held operand once; then the other one, C[i,j], and C[i,j] again as a store.
            turn, part = np.divmod(within - 1, 3)
            held, other = (0, 1) if inner == "j" else (1, 0)
            matrix = np.where(within == 0, held, np.where(part == 0, other, 2))
            is_store = (within > 0) & (part == 2)
        outer, middle = np.divmod(pair, n)
        value = dict(zip(pattern.loops, (outer, middle, turn), strict=True))
        row = np.where(matrix == 1, value["k"], value["i"])
        column = np.where(matrix == 0, value["k"], value["j"])
        return (
            (matrix * (n * n) + row * n + column) * element,
            np.where(is_store, STORE, LOAD).astype(np.int64),
        )

    return _Plan(nr_pass, element, rows)


def must_suit(pattern: Pattern, length: int) -> None:
    """Raise OperationError if the pattern cannot be made in a range of `length` bytes."""
    if isinstance(pattern, MatrixMultiply):
        n, element = max(_order(pattern, length), 1), pattern.element_bytes
        if n > _N_MAX:
            raise OperationError(f"n is {n}", f"expected at most {_N_MAX}", "choose a smaller n")
        needed = 3 * n * n * element
        what = f"three matrices of {n} * {n} elements of {element} bytes"
        advice = f"map {format_bytes(-(-needed // PAGE_SIZE) * PAGE_SIZE)}, or use a smaller n"
    else:
        needed = _POINTER_BYTES if isinstance(pattern, PointerChase) else pattern.size_bytes
        what = f"one access of {needed} bytes"
        advice = "use a longer range"
    if length < needed:
        raise OperationError(
            f"the range has {length} bytes", f"expected {needed} or more for {what}", advice
        )
    if isinstance(pattern, Uniform | Zipf | PointerChase):
        nr_grains = (length - needed) // pattern.grain_bytes + 1
        nr_grains_max = _DRAW_END_MAX if isinstance(pattern, Uniform) else GRAINS_MAX
        if nr_grains > nr_grains_max:
            raise OperationError(
                f"the range has {nr_grains} grains of {pattern.grain_bytes} bytes",
                f"expected at most {nr_grains_max}",
                "use a larger grain_bytes, or a shorter range",
            )


def _plan(pattern: Pattern, length: int) -> _Plan:
    must_suit(pattern, length)
    match pattern:
        case Sequential() | Stride():
            return _plan_stride(pattern, length)
        case Uniform():
            return _plan_uniform(pattern, length)
        case Zipf():
            return _plan_zipf(pattern, length)
        case PointerChase():
            return _plan_chase(pattern, length)
        case MatrixMultiply():
            return _plan_matmul(pattern, length)


def generate(
    pattern: Pattern, *, start: int, length: int, chunk_rows: int = CHUNK_ROWS
) -> Iterator[Trace]:
    """Yield the accesses of a pattern to the bytes start..start+length-1.

    Raises OperationError if the range does not suit the pattern (`must_suit`).
    """
    assert chunk_rows > 0, f"chunk_rows is {chunk_rows}"
    plan = _plan(pattern, length)
    count = plan.nr_pass if pattern.count is None else pattern.count
    for first in range(0, count, chunk_rows):
        offset, kind = plan.rows(first, min(chunk_rows, count - first))
        yield Trace(address=as_signed(start) + offset, meta=kind | (plan.size_bytes << SIZE_SHIFT))
