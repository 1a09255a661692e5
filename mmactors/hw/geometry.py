"""What a cache may be: the names of replacements, and what makes a geometry impossible.

Apart from the cache itself, so that a scenario can be checked without compiling anything.
"""

from typing import Final

from mmactors.errors import Place, Problem

LRU: Final = 0
MRU: Final = 1
"""Only as pycachesim 0.3.1 does it, see `fill`; not offered for the machine's own caches."""
FIFO: Final = 2
RANDOM: Final = 3
PLRU: Final = 4
"""In this order: up to MRU a hit moves its line to the front, up to FIFO the ways are ordered."""
REPLACEMENT: Final = {"lru": LRU, "mru": MRU, "fifo": FIFO, "random": RANDOM, "plru": PLRU}
"""The name of each replacement in configurations."""


def geometry_problems(
    place: Place, name: str, *, size_bytes: int, ways: int, line_bytes: int, replacement: str
) -> list[Problem]:
    """Return what makes this geometry impossible, all of it; an empty list: it can be built.

    `name` is how the user calls the cache, such as `hardware.l1d`.
    """
    problems = []

    def problem(found: str, legal: str, advice: str) -> None:
        problems.append(Problem(place=place, found=f"{name}.{found}", legal=legal, advice=advice))

    if replacement not in REPLACEMENT:
        legal = f"expected one of {', '.join(REPLACEMENT)}"
        problem(f"replacement is {replacement!r}", legal, "the usual one is lru")
    if ways < 1:
        problem(f"ways is {ways}", "expected at least 1", "1 is a direct-mapped cache")
    if not is_power_of_two(line_bytes):
        legal = "expected a power of two"
        problem(f"line_bytes is {line_bytes}", legal, f"try {_nearest_power_of_two(line_bytes)}")
    if problems:
        return problems
    if size_bytes < ways * line_bytes or size_bytes % (ways * line_bytes):
        legal = f"expected a multiple of ways * line_bytes = {ways * line_bytes}"
        nearest = max(1, round(size_bytes / (ways * line_bytes))) * ways * line_bytes
        problem(f"size_bytes is {size_bytes}", legal, f"try {nearest}")
        return problems
    nr_sets = size_bytes // (ways * line_bytes)
    if not is_power_of_two(nr_sets):
        legal = "expected a power of two: address bits choose the set"
        size = _nearest_power_of_two(nr_sets) * ways * line_bytes
        problem(f"size_bytes / ways / line_bytes is {nr_sets}", legal, f"try size_bytes {size}")
    if replacement == "plru" and not (is_power_of_two(ways) and ways <= 64):
        legal = "expected a power of two up to 64: tree-PLRU is a binary tree in one word"
        problem(f"ways is {ways}", legal, f"try {min(64, _nearest_power_of_two(ways))}, or lru")
    return problems


def is_power_of_two(number: int) -> bool:
    """Return whether `number` is 1, 2, 4, 8 ..."""
    return number > 0 and number & (number - 1) == 0


def _nearest_power_of_two(number: int) -> int:
    if number < 1:
        return 1
    below = 1 << (number.bit_length() - 1)
    return below if number - below <= 2 * below - number else 2 * below
