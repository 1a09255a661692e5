"""Recordings of pycachesim 0.3.1's C backend against a chain of the one cache.

The rules of the tool that the options of `hw.hierarchy` express (backend.c: Cache__load,
Cache__store, Cache__inject): only data is seen; a store that hits does not count for the
replacement; a store that misses and allocates loads the whole line, and is counted as a load of it
too; a store that is passed on is not cut at the end of the line it starts in; dirty lines are not
written back at the end. `MRU` is what `hw.cache` says at its `fill`.

`Cache.load` and `Cache.store` parse the address as an unsigned int (format "I") into a long that
was never written: lines are told apart by its low 32 bits, and the high ones are any.

Left out, and reported as not validated: random replacement, which draws from the C library, and
numbers of sets that are no power of two, where the high bits of the address choose the set.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from attrs import frozen

from mmactors.arch.trace import FETCH, KIND_MASK, Trace
from mmactors.errors import Place, Problem, UserError
from mmactors.hw.hierarchy import (
    LINE_BYTES_MAX,
    LINE_BYTES_MIN,
    CacheOptions,
    CacheStatistics,
    Hierarchy,
    Level,
)
from mmactors.validate.result import CaseResult

_ADDRESS_MASK: Final = 0xFFFF_FFFF
_REPLACEMENT: Final = {"LRU": "lru", "FIFO": "fifo", "MRU": "mru"}
_RANDOM: Final = "RR"
_LINES_MAX: Final = 1 << 26
_WRITE_ALLOCATE: Final = {
    (True, True): "fetch_always",
    (True, False): "no_fetch",
    (False, False): "never",
}
"""By write_back and write_allocate; pycachesim refuses the fourth combination."""


@frozen(kw_only=True)
class PycachesimLevel:
    """One level of a recorded hierarchy."""

    name: str
    sets: int
    ways: int
    line: int
    policy: str


@frozen(kw_only=True)
class PycachesimCase:
    """One geometry of a recording; the levels from the CPU outwards."""

    levels: list[PycachesimLevel]
    write_back: bool
    write_allocate: bool
    stats: dict[str, dict[str, int]]
    """`Cache.stats()` by the name of the level, and of `MEM`."""


def validate_pycachesim(
    case: str, path: str, trace: Trace, recorded: Sequence[PycachesimCase]
) -> Iterator[CaseResult]:
    """Compare every number of every geometry; a geometry that is not modelled is its own case."""
    result = CaseResult(topic="traces", case=case, path=path)
    is_modelled = False
    is_data = trace.meta & KIND_MASK != FETCH
    data = Trace(address=trace.address[is_data] & _ADDRESS_MASK, meta=trace.meta[is_data])
    for index, geometry in enumerate(recorded):
        place = f"pycachesim[{index}]"
        problems = _problems(Place(path), place, geometry)
        if problems:
            raise UserError(problems)
        reason = _not_modelled(place, geometry)
        if reason is not None:
            yield CaseResult(
                topic="traces", case=f"{case}[{index}]", path=path, not_validated=reason
            )
            continue
        is_modelled = True
        hierarchy = Hierarchy(pycachesim_levels(geometry))
        hierarchy.run(data)
        ours = _stats(geometry, hierarchy)
        for level, values in geometry.stats.items():
            for name, value in values.items():
                where = f"{place}.{level}.{name}"
                result.compare(where, value, ours.get(level, {}).get(name))
    if is_modelled:
        yield result


def pycachesim_levels(geometry: PycachesimCase) -> list[Level]:
    """Return the caches of a geometry that has no problems."""
    return [
        Level(
            data=CacheOptions(
                nr_sets=level.sets,
                ways=level.ways,
                line_bytes=level.line,
                replacement=_REPLACEMENT[level.policy],
                write_allocate=_WRITE_ALLOCATE[geometry.write_back, geometry.write_allocate],
                write_back=geometry.write_back,
                store_moves=False,
                uncut_write_through=True,
            )
        )
        for level in geometry.levels
    ]


def _not_modelled(name: str, geometry: PycachesimCase) -> str | None:
    """Return why a geometry that pycachesim accepts is not modelled, or None."""
    for level in geometry.levels:
        if level.policy == _RANDOM:
            return f"{name}.{level.name} has random replacement, which draws from the C library"
        if level.sets & (level.sets - 1):
            return (
                f"{name}.{level.name} has {level.sets} sets, no power of two: they are chosen by"
                " address bits that pycachesim never wrote"
            )
    return None


def _problems(place: Place, name: str, geometry: PycachesimCase) -> list[Problem]:
    """Return what pycachesim would refuse."""
    problems = []

    def problem(found: str, legal: str, advice: str) -> None:
        problems.append(Problem(place=place, found=f"{name}.{found}", legal=legal, advice=advice))

    if not geometry.levels:
        problem("levels is empty", "expected at least one level", "name the caches of the run")
    if (geometry.write_back, geometry.write_allocate) not in _WRITE_ALLOCATE:
        legal = "expected write_allocate to be false, too: pycachesim has no such cache"
        problem("write_back is false and write_allocate true", legal, "record it again")
    before = LINE_BYTES_MIN
    for index, level in enumerate(geometry.levels):
        where = f"levels[{index}]"
        if level.policy not in (*_REPLACEMENT, _RANDOM):
            legal = f"expected one of {', '.join(_REPLACEMENT)}, {_RANDOM}"
            problem(f"{where}.policy is {level.policy!r}", legal, "the usual one is LRU")
        if level.sets < 1 or level.ways < 1 or level.sets * level.ways > _LINES_MAX:
            found = f"{where} has {level.sets} sets of {level.ways} ways"
            problem(found, f"expected from 1 to {_LINES_MAX} lines", "64 sets of 8 ways are usual")
        if level.line & (level.line - 1) or not before <= level.line <= LINE_BYTES_MAX:
            legal = f"expected a power of two from {before} to {LINE_BYTES_MAX}"
            problem(f"{where}.line is {level.line}", legal, "64 at every level is usual")
        else:
            before = level.line
    return problems


def _stats(geometry: PycachesimCase, hierarchy: Hierarchy) -> dict[str, dict[str, int]]:
    """Return `Cache.stats()` of all levels and of main memory, by name."""
    stats = {}
    last = len(geometry.levels) - 1
    for index, level in enumerate(geometry.levels):
        statistics = hierarchy.statistics(index)
        stats[level.name] = _stats_of(statistics, level.line, is_last=index == last)
    below = stats[geometry.levels[last].name]
    memory = dict.fromkeys(below, 0)
    for unit in ("count", "byte"):
        memory[f"LOAD_{unit}"] = memory[f"HIT_{unit}"] = below[f"MISS_{unit}"]
        memory[f"STORE_{unit}"] = below[f"EVICT_{unit}"]
    return stats | {"MEM": memory}


def _stats_of(statistics: CacheStatistics, line_bytes: int, *, is_last: bool) -> dict[str, int]:
    load, store = statistics.load, statistics.store
    allocated = statistics.store_fetches
    # The last level counts the lines it writes back, but not the stores it passes on.
    passed_on = 0 if is_last else statistics.write_throughs
    passed_on_bytes = 0 if is_last else statistics.write_through_bytes
    return {
        "LOAD_count": load.requests + allocated,
        "LOAD_byte": load.request_bytes + allocated * line_bytes,
        "STORE_count": store.requests,
        "STORE_byte": store.request_bytes,
        "HIT_count": load.pieces - load.misses,
        "HIT_byte": statistics.hit_bytes,
        "MISS_count": load.misses + allocated,
        "MISS_byte": statistics.miss_bytes + allocated * line_bytes,
        "EVICT_count": statistics.write_backs + passed_on,
        "EVICT_byte": statistics.write_backs * line_bytes + passed_on_bytes,
    }
