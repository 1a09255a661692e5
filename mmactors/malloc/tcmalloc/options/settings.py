"""What the environment says of libtcmalloc_minimal: its variables, all of which begin TCMALLOC_.

Models the StringTo functions of src/base/commandlineflags.h and who uses them (gperftools 2.10, as
Debian 12 has built it). The library says nothing of a text that it cannot use: of a number it takes
what the text begins with, 0 if that is no number, and any text is a truth. `read_settings` says of
each that does not do what it looks like why.

Some are read when the first block is asked for, the others when the library's constructors run:
after the C++ library's own, which has asked for its block of 72704 bytes by then.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from attrs import frozen

from mmactors.malloc.environment import EntryIgnored
from mmactors.units import GIB, KIB, ULONG_MAX

PREFIX: Final = "TCMALLOC_"
READ: Final = (
    "TCMALLOC_MAX_TOTAL_THREAD_CACHE_BYTES",
    "TCMALLOC_TRANSFER_NUM_OBJ",
    "TCMALLOC_AGGRESSIVE_DECOMMIT",
    "TCMALLOC_RELEASE_RATE",
    "TCMALLOC_HEAP_LIMIT_MB",
    "TCMALLOC_SKIP_SBRK",
    "TCMALLOC_SKIP_MMAP",
    "TCMALLOC_DISABLE_MEMORY_RELEASE",
    "TCMALLOC_DEVMEM_START",
)
"""Variables that make a difference."""
LEAST_CACHE_BYTES: Final = 512 * KIB
MOST_CACHE_BYTES: Final = GIB
MOST_TRANSFER_OBJ: Final = 8192
"""So many of the smallest blocks are 64 KiB, more than which are never moved at once. With 0 the
library divides by zero when it begins."""
RATE_MOST: Final = 1e6
_INT_MAX: Final = (1 << 31) - 1
_UINT_MAX: Final = (1 << 32) - 1
_LONG_MAX: Final = (1 << 63) - 1

_DEBUG: Final = "only libtcmalloc_debug reads it"
_NOT_IN_MINIMAL: Final = "libtcmalloc_minimal is built without it"
_NO_FILES: Final = "heaps in files are not simulated"
DO_NOTHING: Final[Mapping[str, str]] = {
    f"{PREFIX}SAMPLE_PARAMETER": _NOT_IN_MINIMAL,
    f"{PREFIX}LARGE_ALLOC_REPORT_THRESHOLD": "Debian's library is built without such reports",
    f"{PREFIX}STACKTRACE_METHOD": _NOT_IN_MINIMAL,
    f"{PREFIX}STACKTRACE_METHOD_VERBOSE": _NOT_IN_MINIMAL,
    f"{PREFIX}ENABLE_SIZED_DELETE": _NOT_IN_MINIMAL,
    f"{PREFIX}DEVMEM_LIMIT": "no allocator that would take memory from /dev/mem is set up",
    f"{PREFIX}TRACE": _DEBUG,
    f"{PREFIX}TRACE_FILE": _DEBUG,
    f"{PREFIX}PAGE_FENCE": _DEBUG,
    f"{PREFIX}PAGE_FENCE_NEVER_RECLAIM": _DEBUG,
    f"{PREFIX}PAGE_FENCE_READABLE": _DEBUG,
    f"{PREFIX}RECLAIM_MEMORY": _DEBUG,
    f"{PREFIX}MAX_FREE_QUEUE_SIZE": _DEBUG,
    f"{PREFIX}SYMBOLIZE_STACKTRACE": _DEBUG,
    f"{PREFIX}MEMFS_MALLOC_PATH": _NO_FILES,
    f"{PREFIX}MEMFS_LIMIT_MB": _NO_FILES,
    f"{PREFIX}MEMFS_ABORT_ON_FAIL": _NO_FILES,
    f"{PREFIX}MEMFS_IGNORE_MMAP_FAIL": _NO_FILES,
    f"{PREFIX}MEMFS_MAP_PRIVATE": _NO_FILES,
    f"{PREFIX}MEMFS_DISABLE_FALLBACK": _NO_FILES,
}
"""Variables that gperftools knows and that make no difference here, and why."""
VARIABLES: Final = (*READ, *DO_NOTHING)
"""Of the environment, what gperftools reads."""


@frozen(kw_only=True)
class Settings:
    """What tcmalloc is set to."""

    # From the first block on.
    max_total_thread_cache_bytes: int | None = None
    """Of all threads' caches; None: 32 MiB, of which a cache's share is reckoned later."""
    transfer_num_obj: int = 32
    """So many blocks of a class at most go from and to threads' caches at once; signed."""
    aggressive_decommit: bool = False
    """Free pages are given back at once."""
    # From the library's constructors on.
    release_rate: float = 1.0
    """How fast free pages are given back; up to 1e-6: never."""
    heap_limit_mb: int = 0
    """MiB; up to 0: there is none."""
    skip_sbrk: bool = False
    skip_mmap: bool = False
    disable_memory_release: bool = False
    devmem_start_mb: int = 0
    """Nothing of /dev/mem is used, but where this is not 0 nothing is given back either."""

    @property
    def releases(self) -> bool:
        """Whether free pages may be given back (TCMalloc_SystemRelease)."""
        return not self.disable_memory_release and self.devmem_start_mb == 0


@frozen(kw_only=True)
class SettingsRead:
    """What an environment says of tcmalloc."""

    settings: Settings
    ignored: tuple[EntryIgnored, ...]


def strtol(text: str) -> tuple[int, bool]:
    """Return the number that a text begins with, and whether it is all of it (strtol, base 10).

    No digits are 0; a number that is too large is the largest that a long has.
    """
    found = re.match(r"[ \t\n\v\f\r]*([+-]?[0-9]+)", text)
    if found is None:
        return 0, False
    number = int(found[1])
    return max(min(number, _LONG_MAX), -_LONG_MAX - 1), found.end() == len(text)


def strtod(text: str) -> tuple[float, bool]:
    """Return the number that a text begins with, and whether it is all of it (strtod)."""
    blanks = len(text) - len(text.lstrip(" \t\n\v\f\r"))
    number = r"[+-]?(?:0[xX](?:[0-9a-fA-F]+\.?[0-9a-fA-F]*|\.[0-9a-fA-F]+)(?:[pP][+-]?[0-9]+)?|"
    number += r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|(?i:inf(?:inity)?|nan))"
    found = re.compile(number).match(text, blanks)
    if found is None:
        return 0.0, False
    digits = found[0]
    value = float.fromhex(digits) if "x" in digits.lower() else float(digits)
    return value, found.end() == len(text)


_Complain = Callable[[str, str], None]
"""Is told why a text does not do what it looks like, and what is legal."""


def _number(text: str, least: int, most: int, complain: _Complain) -> int:
    """Return what is taken for an int (StringToInt), which keeps the low 32 bits of a long."""
    number, is_all = strtol(text)
    taken = (number & _UINT_MAX ^ 1 << 31) - (1 << 31)
    if not is_all or not least <= number <= most:
        complain(f"it is taken for {taken}", f"a number from {least} to {most}")
    return taken


def _truth(text: str, complain: _Complain) -> bool:
    """Return what is taken for a truth (StringToBool)."""
    is_true = text[:1] in {"t", "T", "y", "Y", "1", ""}
    if text.lower() not in {"t", "true", "y", "yes", "1", "f", "false", "n", "no", "0"}:
        means = "true" if is_true else "false"
        complain(f"it is taken for {means}", "true or false, yes or no, 1 or 0")
    return is_true


def _rate(text: str, complain: _Complain) -> float:
    """Return what is taken for a rate; that of what is no number is 0."""
    rate, is_all = strtod(text)
    if not is_all or not 0 <= rate <= RATE_MOST:
        complain(f"it is taken for {rate:g}", f"a number from 0 to {RATE_MOST:.0f}")
    return rate


def _cache_bytes(text: str, complain: _Complain) -> int:
    """Return what all caches may have (ThreadCache::set_overall_thread_cache_size)."""
    nr_bytes, is_all = strtol(text)
    # A negative number is a very large size_t.
    clipped = min(max(nr_bytes & ULONG_MAX, LEAST_CACHE_BYTES), MOST_CACHE_BYTES)
    if not is_all or clipped != nr_bytes:
        legal = f"a number from {LEAST_CACHE_BYTES} to {MOST_CACHE_BYTES}"
        complain(f"it is taken for {clipped}", legal)
    return clipped


def read_settings(environment: Mapping[str, str]) -> SettingsRead:
    """Return what an environment sets, and what does not do what it looks like."""
    changes: dict[str, Any] = {}
    ignored: list[EntryIgnored] = []
    for variable, text in environment.items():

        def complain(why: str, legal: str, variable: str = variable, text: str = text) -> None:
            entry = EntryIgnored(variable=variable, entry=text, why=why, legal=legal)
            ignored.append(entry)

        match variable:
            case "TCMALLOC_MAX_TOTAL_THREAD_CACHE_BYTES":
                changes["max_total_thread_cache_bytes"] = _cache_bytes(text, complain)
            case "TCMALLOC_TRANSFER_NUM_OBJ":
                changes["transfer_num_obj"] = _number(text, 1, MOST_TRANSFER_OBJ, complain)
            case "TCMALLOC_AGGRESSIVE_DECOMMIT":
                changes["aggressive_decommit"] = _truth(text, complain)
            case "TCMALLOC_RELEASE_RATE":
                changes["release_rate"] = _rate(text, complain)
            case "TCMALLOC_HEAP_LIMIT_MB":
                changes["heap_limit_mb"] = _number(text, 0, _INT_MAX, complain)
            case "TCMALLOC_SKIP_SBRK":
                changes["skip_sbrk"] = _truth(text, complain)
            case "TCMALLOC_SKIP_MMAP":
                changes["skip_mmap"] = _truth(text, complain)
            case "TCMALLOC_DISABLE_MEMORY_RELEASE":
                changes["disable_memory_release"] = _truth(text, complain)
            case "TCMALLOC_DEVMEM_START":
                changes["devmem_start_mb"] = _number(text, 0, _INT_MAX, complain)
            case _ if variable.startswith(PREFIX):
                why = DO_NOTHING.get(variable, "tcmalloc has no such variable")
                complain(why, f"one of {', '.join(READ)}")
    return SettingsRead(settings=Settings(**changes), ignored=tuple(ignored))
