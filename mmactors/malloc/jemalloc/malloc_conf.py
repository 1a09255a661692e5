"""What the environment says of jemalloc: MALLOC_CONF (malloc_conf_init, jemalloc 5.3.0, Debian).

Pairs `name:value` with commas between them; of a name that comes twice the last one counts. Names
and values of a few options may be cut short. The library writes what it does not like on stderr
and goes on; `read_malloc_conf` says of each such pair what it writes, and of those that this model
does not follow that it does not.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from attrs import frozen

from mmactors.malloc.environment import EntryIgnored
from mmactors.malloc.jemalloc.conf_number import (
    SIZE_MOST,
    SSIZE_MAX,
    Sizes,
    fixed_point_of,
    number_of,
    sizes_of,
)
from mmactors.malloc.jemalloc.options import JemallocOptions
from mmactors.malloc.jemalloc.size_classes import (
    LARGE_MAXCLASS,
    NR_BINS,
    SMALL_MAXCLASS,
    index2size,
    size2index,
)
from mmactors.malloc.jemalloc.statics import ARENAS_MOST
from mmactors.units import PAGE_SIZE

MALLOC_CONF: Final = "MALLOC_CONF"
"""The variable's name."""
_DECAY_MOST: Final = 18_446_744_072 * 1000
"""NSTIME_SEC_MAX, in ms."""
_NAME: Final = "A-Z a-z 0-9 _"
_LG_TCACHE_MOST: Final = 23
_SLAB_REGIONS_MOST: Final = 512
_SHARDS_MOST: Final = 64
_INT_BITS: Final = 32

Changes = dict[str, Any]
Complain = Callable[[str, str], None]


@frozen
class _Number:
    """An option that is a number; one beyond its limits is taken as the limit if `clips`."""

    least: int
    most: int
    clips: bool = True
    is_signed: bool = False
    is_int: bool = False
    """Only 32 bits are kept of it, after its limits were looked at."""


_NUMBERS: Final[Mapping[str, _Number]] = {
    "dirty_decay_ms": _Number(-1, _DECAY_MOST, clips=False, is_signed=True),
    "muzzy_decay_ms": _Number(-1, _DECAY_MOST, clips=False, is_signed=True),
    "narenas": _Number(1, SIZE_MOST, clips=False, is_int=True),
    "mutex_max_spin": _Number(-1, SSIZE_MAX, clips=False, is_signed=True),
    "tcache_max": _Number(0, 1 << _LG_TCACHE_MOST),
    "tcache_nslots_small_min": _Number(1, 2048),
    "tcache_nslots_small_max": _Number(1, 2048),
    "tcache_nslots_large": _Number(1, 2048),
    "lg_tcache_nslots_mul": _Number(-16, 16, clips=False, is_signed=True),
    "tcache_gc_incr_bytes": _Number(1024, SIZE_MOST),
    "tcache_gc_delay_bytes": _Number(0, SIZE_MOST),
    "lg_tcache_flush_small_div": _Number(1, 16),
    "lg_tcache_flush_large_div": _Number(1, 16),
    "oversize_threshold": _Number(0, LARGE_MAXCLASS, clips=False),
    "lg_extent_max_active_fit": _Number(0, 64, clips=False),
}
_TRUTHS: Final = frozenset({"tcache", "retain", "zero"})
_ZERO_REALLOC: Final = ("alloc", "free", "abort")
_OTHERS: Final = ("lg_tcache_max", "narenas_ratio", "slab_sizes", "bin_shards", "zero_realloc")
_FOLLOWED: Final = ", ".join(sorted({*_NUMBERS, *_TRUTHS, *_OTHERS}))
_SHORT_NAMES: Final = ("metadata_thp", "dss", "percpu_arena")
"""Options whose names may be cut short, in the order in which they are tried."""
_SHORT_VALUES: Final[Mapping[str, tuple[str, ...]]] = {
    "metadata_thp": ("disabled", "auto", "always"),
    "dss": ("disabled", "primary", "secondary"),
    "percpu_arena": ("percpu", "phycpu", "disabled"),
    "thp": ("default", "always", "never", "not supported"),
}
"""Of options whose values may be cut short: the first that begins so is meant."""
_USUAL: Final[Mapping[str, str | None]] = {
    **dict.fromkeys(("abort", "confirm_conf", "trust_madvise", "background_thread"), "false"),
    **dict.fromkeys(("stats_print", "junk", "hpa", "prof", "experimental_infallible_new"), "false"),
    **dict.fromkeys(("san_guard_small", "san_guard_large"), "0"),
    "metadata_thp": "disabled",
    "dss": "secondary",
    "percpu_arena": "disabled",
    "thp": "default",
    "stats_interval": "-1",
    "max_background_threads": None,
}
"""Options that this model does not follow: the value that each has by default; None: the number
of CPUs. Those of profiling and of hpa (huge pages) are others."""
_NO_MATTER: Final = frozenset({"abort_conf", "stats_print_opts", "stats_interval_opts"})
"""Options that make no difference as long as all others are as they should be."""
_LEFT_OUT_PREFIXES: Final = ("prof_", "lg_prof_", "hpa_")


@frozen
class MallocConfRead:
    """What an environment says of jemalloc."""

    options: JemallocOptions
    ignored: tuple[EntryIgnored, ...]


def read_malloc_conf(environment: Mapping[str, str]) -> MallocConfRead:
    """Return what an environment sets, and what does not do what it looks like."""
    changes: Changes = {}
    ignored: list[EntryIgnored] = []
    rest = environment.get(MALLOC_CONF, "")
    while rest:
        entry, comma, behind = rest.partition(",")

        def complain(why: str, legal: str, entry: str = entry) -> None:
            ignored.append(EntryIgnored(variable=MALLOC_CONF, entry=entry, why=why, legal=legal))

        name, colon, value = entry.partition(":")
        if not all(each.isascii() and (each.isalnum() or each == "_") for each in name):
            _say("Malformed conf string", f"a name of {_NAME}", complain)
            break
        if not colon:
            message = "Malformed conf string" if comma else "Conf string ends with key"
            _say(message, "name:value", complain)
            break
        _read_pair(name, value, changes, complain)
        if comma and not behind:
            _say("Conf string ends with comma", "a pair behind each comma", complain)
        rest = behind
    return MallocConfRead(JemallocOptions(**changes), tuple(ignored))


def _say(message: str, legal: str, complain: Complain) -> None:
    complain(f"the library says `<jemalloc>: {message}`", legal)


def _read_pair(name: str, value: str, changes: Changes, complain: Complain) -> None:
    """Take a pair; what the library writes of it names it as it stands."""
    pair = f"{name}:{value}"

    def invalid(legal: str, message: str = "Invalid conf value") -> None:
        _say(f"{message}: {pair}", legal, complain)

    number = _NUMBERS.get(name)
    if name == "narenas" and value == "default":
        changes.pop(name, None)
    elif number is not None:
        _read_number(name, value, number, changes, complain)
    elif name in _TRUTHS:
        if value in {"true", "false"}:
            changes[name] = value == "true"
        else:
            invalid("true or false")
    elif name == "zero_realloc":
        if value in _ZERO_REALLOC:
            changes[name] = value
        else:
            invalid(" or ".join(_ZERO_REALLOC))
    elif name == "lg_tcache_max":
        lg = number_of(value)
        if lg is None:
            invalid(f"0 to {_LG_TCACHE_MOST}")
        else:
            changes["tcache_max"] = 1 << min(lg, _LG_TCACHE_MOST)
    elif name == "narenas_ratio":
        ratio = fixed_point_of(value)
        if ratio is None:
            invalid("a decimal number below 65536")
        else:
            changes[name] = ratio
    elif name == "slab_sizes":
        _read_slab_sizes(value, changes, invalid)
    elif name == "bin_shards":
        _read_bin_shards(value, changes, invalid)
    else:
        _left_out(name, value, complain, invalid)


def _left_out(
    name: str, value: str, complain: Complain, invalid: Callable[[str, str], None]
) -> None:
    """Say of an option that this model does not follow what it would do."""
    name = next((full for full in _SHORT_NAMES if full.startswith(name)), name)
    if name in _NO_MATTER:
        return
    if name in _SHORT_VALUES:
        words = _SHORT_VALUES[name]
        word = next((word for word in words if word.startswith(value)), None)
        if word is None:
            invalid(f"{_USUAL[name]}, the only one that this model follows", "Invalid conf value")
            return
        value = word
    if name in _USUAL:
        usual = _USUAL[name]
        if value != usual:
            complain("this model leaves it out", f"{name}:{usual}" if usual else "none")
    elif name.startswith(_LEFT_OUT_PREFIXES):
        complain("this model leaves it out", f"one of {_FOLLOWED}")
    else:
        invalid(f"one of {_FOLLOWED}", "Invalid conf pair")


def _read_number(
    name: str, value: str, number: _Number, changes: Changes, complain: Complain
) -> None:
    """Take a number, within its limits if it is to be."""
    legal = f"{number.least} to {number.most}"
    found = number_of(value, is_signed=number.is_signed)
    if found is None:
        _say(f"Invalid conf value: {name}:{value}", legal, complain)
        return
    within = min(max(found, number.least), number.most)
    if within != found and not number.clips:
        _say(f"Out-of-range conf value: {name}:{value}", legal, complain)
        return
    taken = within & (1 << _INT_BITS) - 1 if number.is_int else within
    if taken != found:
        complain(f"the library takes {taken}", legal)
    if name == "narenas" and taken >= ARENAS_MOST:
        most = ARENAS_MOST - 1
        _say(f"Reducing narenas to limit ({most})", f"1 to {most}", complain)
    changes[name] = taken


def _read_slab_sizes(value: str, changes: Changes, invalid: Callable[[str, str], None]) -> None:
    """Take pages of slabs: as many as a region needs at least, as 512 of them need at most."""
    if value == "default":
        changes["slab_bytes"] = {}
        return
    slab_bytes = dict(changes.get("slab_bytes", {}))
    segments, is_whole = sizes_of(value)
    for segment in segments:
        for index in range(NR_BINS):
            region = index2size(index)
            if segment.first <= region <= segment.last:
                # The number passes through an int: what is negative there is large.
                pages = segment.number & (1 << _INT_BITS) - 1
                most = _SLAB_REGIONS_MOST * region // PAGE_SIZE
                slab_bytes[index] = max(min(pages, most), -(-region // PAGE_SIZE)) * PAGE_SIZE
    changes["slab_bytes"] = slab_bytes
    if not is_whole:
        _invalid_sizes("slab_sizes", "FIRST-LAST:PAGES, more of them behind |", invalid)


def _read_bin_shards(value: str, changes: Changes, invalid: Callable[[str, str], None]) -> None:
    shards = dict(changes.get("bin_shards", {}))
    segments, is_whole = sizes_of(value)
    for segment in segments:
        if not _has_shards(segment):
            is_whole = False
            break
        if segment.first <= SMALL_MAXCLASS:
            last = size2index(min(segment.last, SMALL_MAXCLASS))
            indices = range(size2index(segment.first), last + 1)
            shards |= dict.fromkeys(indices, segment.number)
    changes["bin_shards"] = shards
    if not is_whole:
        _invalid_sizes("bin_shards", "FIRST-LAST:SHARDS of 1 to 64, more of them behind |", invalid)


def _has_shards(segment: Sizes) -> bool:
    return 1 <= segment.number <= _SHARDS_MOST


def _invalid_sizes(name: str, legal: str, invalid: Callable[[str, str], None]) -> None:
    invalid(legal, f"Invalid settings for {name}")
