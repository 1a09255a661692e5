"""What the environment says of jemalloc: MALLOC_CONF (malloc_conf_init, jemalloc 5.3.0, Debian).

Pairs `name:value` with commas between them; of a name that comes twice the last one counts. The
library writes what it does not like on stderr and goes on; `read_malloc_conf` says of each such
pair, and of those that make no difference here, why it does not do what it looks like.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from attrs import frozen

from mmactors.malloc.environment import EntryIgnored
from mmactors.malloc.jemalloc.options import JemallocOptions
from mmactors.malloc.jemalloc.size_classes import LARGE_MAXCLASS

MALLOC_CONF: Final = "MALLOC_CONF"
"""The variable's name."""
_SSIZE_MAX: Final = (1 << 63) - 1
_DECAY_MOST: Final = 18_446_744_072 * 1000
"""NSTIME_SEC_MAX, in ms."""
_DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"
_NAME: Final = "A-Z a-z 0-9 _"


@frozen
class _Number:
    """An option that is a number; one beyond its limits is taken as the limit if `clips`."""

    least: int
    most: int
    clips: bool = True
    is_signed: bool = False


_SIZE_MOST: Final = (1 << 64) - 1
_NUMBERS: Final[Mapping[str, _Number]] = {
    "dirty_decay_ms": _Number(-1, _DECAY_MOST, clips=False, is_signed=True),
    "muzzy_decay_ms": _Number(-1, _DECAY_MOST, clips=False, is_signed=True),
    "narenas": _Number(1, (1 << 32) - 1, clips=False),
    "tcache_max": _Number(0, 8 << 20),
    "tcache_nslots_small_min": _Number(1, 8191),
    "tcache_nslots_small_max": _Number(1, 8191),
    "tcache_nslots_large": _Number(1, 8191),
    "lg_tcache_nslots_mul": _Number(-16, 16, is_signed=True),
    "tcache_gc_incr_bytes": _Number(1024, _SSIZE_MAX),
    "tcache_gc_delay_bytes": _Number(0, _SSIZE_MAX),
    "lg_tcache_flush_small_div": _Number(1, 16),
    "lg_tcache_flush_large_div": _Number(1, 16),
    "oversize_threshold": _Number(0, LARGE_MAXCLASS, clips=False),
    "lg_extent_max_active_fit": _Number(0, 64, clips=False),
}
_TRUTHS: Final = frozenset({"tcache", "cache_oblivious", "retain", "zero"})
_WORDS: Final[Mapping[str, tuple[str, ...]]] = {
    "zero_realloc": ("alloc", "free", "abort"),
    "thp": ("default", "always", "never"),
}
_LEFT_OUT: Final = frozenset(
    {
        *("abort", "abort_conf", "background_thread", "bin_shards", "confirm_conf", "dss", "hpa"),
        *("junk", "max_background_threads", "metadata_thp", "mutex_max_spin", "percpu_arena"),
        *("prof", "prof_active", "slab_sizes", "stats_print", "stats_print_opts", "trust_madvise"),
        *("utrace", "xmalloc", "lg_tcache_max", "stats_interval", "experimental_infallible_new"),
    }
)
"""Options of the library that this model does not follow, among those that people set."""


@frozen
class MallocConfRead:
    """What an environment says of jemalloc."""

    options: JemallocOptions
    ignored: tuple[EntryIgnored, ...]


def read_malloc_conf(environment: Mapping[str, str]) -> MallocConfRead:
    """Return what an environment sets, and what does not do what it looks like."""
    text = environment.get(MALLOC_CONF, "")
    changes: dict[str, Any] = {}
    ignored: list[EntryIgnored] = []
    for entry in text.split(",") if text else ():

        def complain(why: str, legal: str, entry: str = entry) -> None:
            ignored.append(EntryIgnored(variable=MALLOC_CONF, entry=entry, why=why, legal=legal))

        name, colon, value = entry.partition(":")
        if not colon or not name.replace("_", "a").isalnum() or not name.isascii():
            complain("it is no pair, and the library reads no further", f"name:value, of {_NAME}")
            break
        _read_pair(name, value, changes, complain)
    return MallocConfRead(JemallocOptions(**changes), tuple(ignored))


def _read_pair(
    name: str, value: str, changes: dict[str, Any], complain: Callable[[str, str], None]
) -> None:
    number = _NUMBERS.get(name)
    if number is not None:
        _read_number(name, value, number, changes, complain)
    elif name in _TRUTHS:
        if value in ("true", "false"):
            changes[name] = value == "true"
        else:
            complain("the library says `Invalid conf value`", "true or false")
    elif name in _WORDS:
        if value in _WORDS[name]:
            changes[name] = value
        else:
            complain("the library says `Invalid conf value`", " or ".join(_WORDS[name]))
    elif name in _LEFT_OUT:
        complain("this model leaves it out", f"one of {', '.join(sorted({*_NUMBERS, *_TRUTHS}))}")
    else:
        legal = f"one of {', '.join(sorted({*_NUMBERS, *_TRUTHS, *_WORDS}))}"
        complain("the library says `Invalid conf pair`", legal)


def _read_number(
    name: str,
    value: str,
    number: _Number,
    changes: dict[str, Any],
    complain: Callable[[str, str], None],
) -> None:
    """Take a number as strtoumax and strtoimax with base 0 do."""
    legal = f"{number.least} to {number.most}"
    found = _strtoimax(value, is_signed=number.is_signed)
    if found is None:
        complain("the library says `Invalid conf value`", legal)
        return
    within = min(max(found, number.least), number.most)
    if within != found and not number.clips:
        complain("the library says `Out-of-range conf value`", legal)
        return
    if within != found:
        complain(f"the library takes {within}", legal)
    changes[name] = within


def _strtoimax(text: str, *, is_signed: bool) -> int | None:
    """Return what a text says, all of which must be the number; None: it is none."""
    digits = text.strip(" \t").lower()
    sign = -1 if digits.startswith("-") else 1
    digits = digits.removeprefix("-" if sign < 0 else "+")
    base = 16 if digits.startswith("0x") else 8 if digits.startswith("0") else 10
    digits = digits.removeprefix("0x")
    legal = _DIGITS[:base]
    if not digits or any(each not in legal for each in digits):
        return None
    number = sign * int(digits, base)
    if is_signed:
        return number if -_SSIZE_MAX - 1 <= number <= _SSIZE_MAX else None
    return number & _SIZE_MOST if abs(number) <= _SIZE_MOST else None
