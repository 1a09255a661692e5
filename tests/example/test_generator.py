"""Generated access patterns."""

import numpy as np
import pytest

from mmactors.arch.trace import KIND_MASK, LOAD, SIZE_SHIFT, STORE
from mmactors.workload.operation.generator import (
    MatrixMultiply,
    PointerChase,
    Sequential,
    Stride,
    Uniform,
    Zipf,
    generate,
    splitmix64,
)
from mmactors.workload.operation.grammar import OperationError

START = 0x7000_0000
UNIFORM = [268288, 92608, 304576, 593728, 724992]
ZIPF = [266240, 151552, 266240, 593920, 999424]
CHASE = [465792, 170432, 594368, 501504, 2368]


def offsets_and_kinds(pattern, length, chunk_rows=1 << 20):
    chunks = list(generate(pattern, start=START, length=length, chunk_rows=chunk_rows))
    address = np.concatenate([chunk.address for chunk in chunks])
    meta = np.concatenate([chunk.meta for chunk in chunks])
    return (address - START).tolist(), (meta & KIND_MASK).tolist()


def test_splitmix64_gives_the_published_numbers():
    """The first three outputs for the seed 0, as every other implementation gives them."""
    states = np.arange(1, 4, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)

    expected = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    assert expected == splitmix64(states).tolist()


def test_sequential_begins_again_at_the_start():
    """Three passes over 32 bytes."""
    offsets, kinds = offsets_and_kinds(Sequential(count=9), 35)

    assert offsets == [0, 8, 16, 24, 0, 8, 16, 24, 0]
    assert {LOAD} == set(kinds)


def test_stride_ends_where_an_access_no_longer_fits():
    """Default: one pass; every access lies in the range."""
    offsets, kinds = offsets_and_kinds(Stride(stride_bytes=100, write_percent=100), 304)

    assert offsets == [0, 100, 200]
    assert {STORE} == set(kinds)


ALL = [
    Sequential(count=1000, write_percent=30),
    Stride(stride_bytes=192, count=1000),
    Uniform(count=1000, seed=3, write_percent=50),
    Zipf(count=1000, seed=3),
    PointerChase(count=1000, seed=5),
    MatrixMultiply(n=6),
    MatrixMultiply(n=6, loops="jki", count=1000),
]


@pytest.mark.parametrize("pattern", ALL, ids=lambda pattern: type(pattern).__name__)
def test_chunks_of_any_size_are_the_same_accesses(pattern):
    """A pattern is a function of its options: pieces made alone fit together."""
    whole = offsets_and_kinds(pattern, 1 << 16)

    assert whole == offsets_and_kinds(pattern, 1 << 16, chunk_rows=37)
    assert max(whole[0]) + 8 <= 1 << 16


def test_a_seed_means_the_same_for_ever():
    """The first draws of every random pattern, as they were when they were first made."""
    assert offsets_and_kinds(Uniform(count=5, seed=1), 1 << 20)[0] == UNIFORM
    assert offsets_and_kinds(Zipf(count=5, seed=1), 1 << 20)[0] == ZIPF
    assert offsets_and_kinds(PointerChase(count=5, seed=1), 1 << 20)[0] == CHASE


def test_uniform_draws_every_grain_alike():
    """The chi-squared statistic of 64 grains stays below its 99.9 % point."""
    offsets, kinds = offsets_and_kinds(Uniform(count=64_000, seed=9, write_percent=25), 4096)

    counts = np.bincount(np.array(offsets) // 64, minlength=64)
    assert ((counts - 1000) ** 2 / 1000).sum() < 103.4
    assert abs(kinds.count(STORE) - 16_000) < 400


def test_zipf_draws_ranks_in_proportion_to_their_power():
    """With the exponent 1 the hottest of four grains takes 12/25 of the accesses."""
    offsets, _ = offsets_and_kinds(Zipf(count=25_000, skew_percent=100, seed=2), 4 * 4096)

    counts = sorted(np.bincount(np.array(offsets) // 4096).tolist(), reverse=True)
    assert all(
        abs(count - expected) < 400
        for count, expected in zip(counts, [12_000, 6_000, 4_000, 3_000], strict=True)
    )


def test_a_chase_visits_every_grain_once_a_round():
    """One cycle through all grains."""
    offsets, _ = offsets_and_kinds(PointerChase(seed=7, count=2000), 64_000)

    assert list(range(0, 64_000, 64)) == sorted(offsets[:1000])
    assert offsets[:1000] == offsets[1000:]


def reference_multiply(n, loops, size=8):
    a, b, c = (lambda row, column, m=m: (m * n * n + row * n + column) * size for m in range(3))
    accesses = []
    for outer in range(n):
        for middle in range(n):
            value = {loops[0]: outer, loops[1]: middle}
            if loops[2] == "j":
                accesses.append((a(value["i"], value["k"]), LOAD))
            if loops[2] == "i":
                accesses.append((b(value["k"], value["j"]), LOAD))
            for inner in range(n):
                i, j, k = ({**value, loops[2]: inner}[name] for name in "ijk")
                if loops[2] == "k":
                    accesses += [(a(i, k), LOAD), (b(k, j), LOAD)]
                else:
                    other = b(k, j) if loops[2] == "j" else a(i, k)
                    accesses += [(other, LOAD), (c(i, j), LOAD), (c(i, j), STORE)]
            if loops[2] == "k":
                accesses.append((c(value["i"], value["j"]), STORE))
    return accesses


@pytest.mark.parametrize("loops", ["ijk", "jik", "ikj", "kij", "jki", "kji"])
def test_matrix_multiply_is_the_three_loops(loops):
    """Access for access what the nested loops do."""
    offsets, kinds = offsets_and_kinds(MatrixMultiply(n=5, loops=loops), 4096)

    assert reference_multiply(5, loops) == list(zip(offsets, kinds, strict=True))


@pytest.mark.parametrize(
    ("pattern", "length", "found"),
    [
        (Sequential(), 7, "the range has 7 bytes; expected 8 or more for one access of 8"),
        (MatrixMultiply(n=10), 2399, "the range has 2399 bytes; expected 2400 or more for three"),
        (MatrixMultiply(), 23, "expected 24 or more for three matrices of 1"),
        (PointerChase(), 7, "the range has 7 bytes; expected 8 or more"),
        (Zipf(grain_bytes=1), 1 << 23, "expected at most 4194304"),
    ],
)
def test_a_range_that_does_not_suit_is_refused(pattern, length, found):
    """The text says what does not fit."""
    with pytest.raises(OperationError, match=found):
        next(generate(pattern, start=START, length=length))


def test_the_size_of_an_access_is_in_every_row():
    """`size_bytes` of the options."""
    (trace,) = generate(Sequential(size_bytes=32), start=START, length=256)

    assert {32} == set((trace.meta >> SIZE_SHIFT).tolist())
