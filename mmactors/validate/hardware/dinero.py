"""Recordings of dineroIV 4.7 (`dineroIV -informat D OPTIONS`) against a chain of the one cache.

The rules of the tool that the options of `hw.hierarchy` express (ref.c, misc.c, cmdmain.c): an
access is cut at block boundaries, lower part first, and each further part counts as a multi-block
reference; a reference that misses fetches its block, then passes a store on, then writes the block
back that had to go; a store that covers its block fetches nothing; at the end the dirty blocks are
written back from the data side alone, sets and ways from the last to the first.

Left out, and reported as not validated: sub-blocks, prefetching, random replacement, and options
that skip, flush or limit the trace.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from attrs import Factory, define, frozen

from mmactors.arch.trace import Trace
from mmactors.errors import Place, Problem, UserError
from mmactors.hw.hierarchy import (
    LINE_BYTES_MAX,
    LINE_BYTES_MIN,
    CacheOptions,
    CacheStatistics,
    Hierarchy,
    KindCounts,
    Level,
)
from mmactors.validate.result import CaseResult

LEVELS_MAX: Final = 5
"""MAX_LEV of dineroIV's cmdargs.h."""
CACHE_BYTES_MAX: Final = 1 << 30
COLUMNS: Final = ("total", "instruction", "data", "read", "write", "misc")

_CACHE_OPTION: Final = re.compile(
    r"-l([0-9]+)-([uid])(size|bsize|sbsize|assoc|repl|fetch|pfdist|pfabort|walloc|wback|ccc)"
)
_NUMBER: Final = re.compile(r"([0-9]{1,12})([kKmMgG]?)")
_SCALE: Final = {"": 0, "k": 10, "m": 20, "g": 30}
_CHOICES: Final = {"repl": "lfr", "fetch": "dalsmt", "walloc": "anf", "wback": "anf"}
_WRITE_ALLOCATE: Final = {"a": "fetch", "n": "never", "f": "covered"}
_TRACE_OPTIONS: Final = (
    "-skipcount",
    "-flushcount",
    "-maxcount",
    "-stat-interval",
    "-on-trigger",
    "-off-trigger",
)


@frozen(kw_only=True)
class DineroCase:
    """One geometry of a recording."""

    options: str
    result: dict[str, dict[str, list[int]]]
    """By cache (`l1-icache`), by line of the report: one number, or one for each of COLUMNS."""


class NotModelledError(Exception):
    """The geometry is dineroIV's, but not one that is modelled."""


@define
class _Parsed:
    caches: dict[tuple[int, str], dict[str, str]] = Factory(dict)
    """By level and i, d or u: the options that were given."""
    problems: list[tuple[str, str, str]] = Factory(list)
    """What was found, what is legal, what to try."""


def validate_dinero(
    case: str, path: str, trace: Trace, recorded: Sequence[DineroCase]
) -> Iterator[CaseResult]:
    """Compare every number of every geometry; a geometry that is not modelled is its own case."""
    result = CaseResult(topic="traces", case=case, path=path)
    is_modelled = False
    for index, geometry in enumerate(recorded):
        place = f"dinero[{index}]"
        try:
            levels = dinero_levels(Place(path), place, geometry.options)
        except NotModelledError as reason:
            yield CaseResult(
                topic="traces", case=f"{case}[{index}]", path=path, not_validated=str(reason)
            )
            continue
        is_modelled = True
        hierarchy = Hierarchy(levels)
        hierarchy.run(trace)
        hierarchy.flush()
        _compare(result, place, geometry.result, _report(hierarchy, levels))
    if is_modelled:
        yield result


def _compare(
    result: CaseResult,
    place: str,
    recorded: Mapping[str, Mapping[str, Sequence[int]]],
    ours: Mapping[str, Mapping[str, Sequence[int]]],
) -> None:
    for cache, lines in recorded.items():
        for line, values in lines.items():
            our_values = ours.get(cache, {}).get(line, ())
            for column, value in enumerate(values):
                where = f"{place}.{cache}.{line}"
                if len(values) == len(COLUMNS):
                    where += f".{COLUMNS[column]}"
                our_value = our_values[column] if column < len(our_values) else None
                result.compare(where, value, our_value)


def _report(hierarchy: Hierarchy, levels: Sequence[Level]) -> dict[str, dict[str, list[int]]]:
    """Return what dineroIV prints, by cache."""
    report = {}
    for number, level in enumerate(levels, 1):
        if level.instruction is not None:
            statistics = hierarchy.statistics(number - 1, instruction=True)
            report[f"l{number}-icache"] = _report_of(statistics, level.instruction)
        kind = "u" if level.instruction is None else "d"
        report[f"l{number}-{kind}cache"] = _report_of(hierarchy.statistics(number - 1), level.data)
    return report


def _report_of(statistics: CacheStatistics, options: CacheOptions) -> dict[str, list[int]]:
    kinds = (statistics.fetch, statistics.load, statistics.store)

    def columns(counts: Sequence[int]) -> list[int]:
        fetch, load, store = counts
        return [fetch + load + store, fetch, load + store, load, store, 0]

    def multi_block(kind: KindCounts) -> int:
        return kind.pieces - kind.requests

    line_bytes = options.line_bytes
    report = {
        "Demand Fetches": columns([kind.pieces for kind in kinds]),
        "Demand Misses": columns([kind.misses for kind in kinds]),
        "Multi-block refs": [sum(map(multi_block, kinds))],
        "Bytes From Memory": [statistics.fetches * line_bytes],
        "Bytes To Memory": [statistics.write_backs * line_bytes + statistics.write_through_bytes],
    }
    if options.classify:
        report["Compulsory misses"] = columns([kind.compulsory for kind in kinds])
        report["Capacity misses"] = columns([kind.capacity for kind in kinds])
        report["Conflict misses"] = columns([kind.conflict for kind in kinds])
    return report


def dinero_levels(place: Place, name: str, options: str) -> list[Level]:
    """Return the caches that a command line of dineroIV describes, the first level first.

    Raises UserError when dineroIV would refuse it, NotModelledError when it is not modelled.
    `name` is where the command line stands, such as `dinero[2]`.
    """
    parsed = _parse(options)
    levels = _levels(parsed)
    if parsed.problems:
        raise UserError(
            Problem(place=place, found=f"{name}.options: {found}", legal=legal, advice=advice)
            for found, legal, advice in parsed.problems
        )
    for number, kind in parsed.caches:
        given = parsed.caches[number, kind]
        reason = f"{name} has -l{number}-{kind}"
        if _number(given.get("sbsize", given["bsize"])) != _number(given["bsize"]):
            raise NotModelledError(f"{reason}sbsize: sub-blocks are not modelled")
        if given.get("fetch", "d") != "d":
            raise NotModelledError(f"{reason}fetch: prefetching is not modelled")
        if given.get("repl", "l") == "r":
            raise NotModelledError(f"{reason}repl r: dineroIV's random numbers are not modelled")
    unknown = [word for word in options.split() if word in _TRACE_OPTIONS]
    if unknown:
        raise NotModelledError(f"{name} has {unknown[0]}, which is not modelled")
    return [Level(data=data, instruction=instruction) for data, instruction in levels]


def _parse(options: str) -> _Parsed:
    """Collect what is given for each cache; an option may be given twice, the last one counts."""
    parsed = _Parsed()
    words = iter(options.split())
    for word in words:
        if word == "-informat":
            if next(words, "") not in ("D", "d"):
                legal = "expected D, the format of the recordings"
                parsed.problems.append(("-informat is not D", legal, "leave it out"))
            continue
        if word in _TRACE_OPTIONS:
            next(words, None)
            continue
        match = _CACHE_OPTION.fullmatch(word)
        if match is None or not 1 <= int(match[1]) <= LEVELS_MAX:
            legal = f"expected -lN-Toption with a level N from 1 to {LEVELS_MAX} and T of u, i, d"
            parsed.problems.append((f"{word!r} is no option", legal, "try -l1-dsize 32K"))
            return parsed
        given = parsed.caches.setdefault((int(match[1]), match[2]), {})
        option = match[3]
        value = "" if option == "ccc" else next(words, "")
        choices = _CHOICES.get(option)
        if choices is not None and (len(value) != 1 or value not in choices):
            legal = f"expected one of {', '.join(choices)}"
            parsed.problems.append((f"{word} is {value!r}", legal, f"try {choices[0]}"))
        elif choices is None and option != "ccc" and _number(value) is None:
            legal = "expected a number, with K, M or G if it is a size"
            parsed.problems.append((f"{word} is {value!r}", legal, "try 64"))
        given[option] = value
    return parsed


def _levels(parsed: _Parsed) -> list[tuple[CacheOptions, CacheOptions | None]]:
    """Put the caches together; say what is missing or impossible."""
    levels: list[tuple[CacheOptions, CacheOptions | None]] = []
    if parsed.problems:
        return levels
    was_unified = False
    for number in range(1, max((level for level, _ in parsed.caches), default=1) + 1):
        kinds = "".join(kind for kind in "iud" if (number, kind) in parsed.caches)
        if kinds not in ("u", "id") or (was_unified and kinds == "id"):
            found = f"level {number} has the caches {', '.join(kinds) or 'none'}"
            legal = "expected u, or i and d, and no split level below a unified one"
            parsed.problems.append((found, legal, f"give -l{number}-usize and -l{number}-ubsize"))
            continue
        was_unified = kinds == "u"
        caches = {kind: _cache(parsed, number, kind) for kind in kinds}
        data = caches[kinds[-1]]
        instruction = caches.get("i")
        if data is not None and (was_unified or instruction is not None):
            levels.append((data, instruction))
    return levels


def _cache(parsed: _Parsed, number: int, kind: str) -> CacheOptions | None:
    given = parsed.caches[number, kind]
    prefix = f"-l{number}-{kind}"
    size, block, ways = (
        _number(given.get(option, default))
        for option, default in (("size", ""), ("bsize", ""), ("assoc", "1"))
    )
    if size is None or block is None or ways is None:
        legal = "expected a size and a block size for every cache"
        parsed.problems.append(
            (f"{prefix}size or {prefix}bsize is missing", legal, f"add {prefix}size 32K")
        )
        return None
    for option, value, least, most in (
        ("size", size, 1, CACHE_BYTES_MAX),
        ("bsize", block, LINE_BYTES_MIN, LINE_BYTES_MAX),
    ):
        if value & (value - 1) or not least <= value <= most:
            legal = f"expected a power of two from {least} to {most}"
            parsed.problems.append((f"{prefix}{option} is {value}", legal, "try 64 or 32K"))
            return None
    if ways < 1 or block * ways > size:
        legal = f"expected from 1 to {prefix}size / {prefix}bsize = {size // block}"
        parsed.problems.append((f"{prefix}assoc is {ways}", legal, "1 is direct-mapped"))
        return None
    return CacheOptions(
        nr_sets=size // (block * ways),
        ways=ways,
        line_bytes=block,
        replacement="fifo" if given.get("repl") == "f" else "lru",
        write_allocate=_WRITE_ALLOCATE[given.get("walloc", "a")],
        # `f` writes through what would need a fetch, and without sub-blocks nothing does.
        write_back=given.get("wback", "a") != "n",
        classify="ccc" in given,
    )


def _number(text: str) -> int | None:
    match = _NUMBER.fullmatch(text)
    return None if match is None else int(match[1]) << _SCALE[match[2].lower()]
