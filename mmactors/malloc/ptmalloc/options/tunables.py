"""What the environment says of malloc: GLIBC_TUNABLES, and the variables that stood for it before.

Models parse_tunables, __tunables_init, tunable_initialize and do_tunable_update_val of
elf/dl-tunables.c and _dl_strtoul of elf/dl-misc.c (glibc 2.36 with 22955ad851, of its release
branch: a value at the end of the text ends it). Left out: programs for which AT_SECURE is set, and
the tunables of other namespaces than glibc.malloc.

glibc says nothing of an entry that it cannot use: it goes on without it. What does not look like a
number is not such an entry, it is 0. `read_tunables` says of each entry that does not do what it
looks like why it does not.
"""

from collections.abc import Callable, Mapping
from typing import Final

from attrs import frozen

from mmactors.malloc.environment import EntryIgnored
from mmactors.units import ULONG_MAX

GLIBC_TUNABLES: Final = "GLIBC_TUNABLES"
"""The variable's name."""
PREFIX: Final = "glibc.malloc."

MAX_TCACHE_SIZE: Final = 1032
"""The largest request, in bytes, that a thread's cache can be told to serve."""
MAX_TCACHE_COUNT: Final = (1 << 16) - 1
MAX_FAST_SIZE: Final = 160
"""The largest request, in bytes, that fastbins can be told to serve."""

_INT32_MAX: Final = (1 << 31) - 1
_SPACES: Final = " \t"
_DIGITS: Final = "0123456789abcdef"


@frozen(kw_only=True)
class Tunable:
    """A number that the environment may set (elf/dl-tunables.list, namespace glibc.malloc)."""

    name: str
    alias: str | None = None
    """The variable that sets it, too, if GLIBC_TUNABLES does not."""
    minimum: int = 0
    maximum: int = ULONG_MAX
    usable_maximum: int = ULONG_MAX
    """Above it malloc does not take what the dynamic linker has let pass."""
    does_nothing: str | None = None
    """Why it makes no difference, if it makes none."""


@frozen(kw_only=True)
class TunablesRead:
    """What an environment says of malloc."""

    values: Mapping[str, int]
    """By name, without the prefix, what was set; a 32-bit number is signed."""
    ignored: tuple[EntryIgnored, ...]


# In the order in which ptmalloc_init asks for them.
TUNABLES: Final = (
    Tunable(name="top_pad", alias="MALLOC_TOP_PAD_"),
    Tunable(name="perturb", alias="MALLOC_PERTURB_", maximum=0xFF),
    Tunable(name="mmap_threshold", alias="MALLOC_MMAP_THRESHOLD_"),
    Tunable(name="trim_threshold", alias="MALLOC_TRIM_THRESHOLD_"),
    Tunable(name="mmap_max", alias="MALLOC_MMAP_MAX_", maximum=_INT32_MAX),
    Tunable(name="arena_max", alias="MALLOC_ARENA_MAX", minimum=1),
    Tunable(name="arena_test", alias="MALLOC_ARENA_TEST", minimum=1),
    Tunable(name="tcache_max", usable_maximum=MAX_TCACHE_SIZE),
    Tunable(name="tcache_count", usable_maximum=MAX_TCACHE_COUNT),
    Tunable(name="tcache_unsorted_limit"),
    Tunable(name="mxfast", usable_maximum=MAX_FAST_SIZE),
    Tunable(name="hugetlb"),
    Tunable(
        name="check",
        alias="MALLOC_CHECK_",
        maximum=3,
        does_nothing="only libc_malloc_debug.so.0 reads it since glibc 2.34",
    ),
)
_BY_NAME: Final = {tunable.name: tunable for tunable in TUNABLES}
_BY_ALIAS: Final = {tunable.alias: tunable for tunable in TUNABLES if tunable.alias is not None}


def strtoul(text: str) -> tuple[int, bool]:
    """Return the number that a text begins with, and whether it is all of the text (_dl_strtoul).

    0x begins a hexadecimal number, 0 an octal one. No digits are 0, too many are ULONG_MAX, and a
    number behind a minus is negative modulo 2**64.
    """
    at = len(text) - len(text.lstrip(_SPACES))
    is_negative = text[at : at + 1] == "-"
    if text[at : at + 1] in {"-", "+"}:
        at += 1
    if text[at : at + 1] not in set("0123456789"):
        return 0, False
    base = 10
    if text[at] == "0":
        base = 16 if text[at + 1 : at + 2] in {"x", "X"} else 8
        at += 2 if base == 16 else 0
    first, result = at, 0
    while at < len(text):
        digit = _DIGITS[:base].find(text[at].lower())
        if digit < 0:
            break
        if result >= (ULONG_MAX - digit) // base:
            # Also what is ULONG_MAX itself: the text then says what is meant.
            return ULONG_MAX, text[first:] == str(ULONG_MAX)
        result = result * base + digit
        at += 1
    is_all = first < at == len(text)
    return (-result & ULONG_MAX if is_negative else result), is_all


def read_tunables(environment: Mapping[str, str]) -> TunablesRead:
    """Return what an environment sets, whose variables stand in its order.

    GLIBC_TUNABLES counts before the older variables, wherever it stands.
    """
    values: dict[str, int] = {}
    ignored: list[EntryIgnored] = []
    for variable, text in environment.items():

        def ignore(entry: str, why: str, legal: str, variable: str = variable) -> None:
            ignored.append(EntryIgnored(variable=variable, entry=entry, why=why, legal=legal))

        if variable == GLIBC_TUNABLES:
            _parse(text, values, ignore)
        elif variable in _BY_ALIAS:
            tunable = _BY_ALIAS[variable]
            if tunable.name in values:
                legal = f"{variable} or {PREFIX}{tunable.name}, not both"
                ignore(f"{variable}={text}", f"{PREFIX}{tunable.name} has been set before", legal)
            else:
                _initialize(tunable, f"{variable}={text}", text, values, ignore)
    return TunablesRead(values=values, ignored=tuple(ignored))


_Ignore = Callable[[str, str, str], None]


def _parse(text: str, values: dict[str, int], ignore: _Ignore) -> None:
    """Take the entries of GLIBC_TUNABLES, with colons between them (parse_tunables)."""
    at = 0
    while at < len(text):
        end = _first_of("=:", text, at)
        if end == len(text) or text[end] == ":":
            if end > at or end < len(text):
                ignore(text[at:end], "it has no `=`", f"{PREFIX}NAME=NUMBER")
            at = end + 1
            continue
        name = text[at:end]
        # A value ends at a colon only: it may have a `=` in it.
        value_end = _first_of(":", text, end + 1)
        entry, value = text[at:value_end], text[end + 1 : value_end]
        tunable = _BY_NAME.get(name.removeprefix(PREFIX)) if name.startswith(PREFIX) else None
        if tunable is not None:
            _initialize(tunable, entry, value, values, ignore)
        elif name.startswith(PREFIX) or not name.startswith("glibc."):
            ignore(entry, "there is no such tunable", f"one of {_names()}")
        else:
            ignore(entry, "malloc does not read it", f"one of {_names()}")
        at = value_end + 1


def _initialize(
    tunable: Tunable, entry: str, text: str, values: dict[str, int], ignore: _Ignore
) -> None:
    """Set a tunable if its value is within its limits (tunable_initialize)."""
    value, is_number = strtoul(text)
    legal = f"a whole number from {tunable.minimum} to {_usable_maximum(tunable)}"
    if not tunable.minimum <= value <= tunable.maximum:
        ignore(entry, f"{value:#x} is out of range", legal)
        return
    values[tunable.name] = value
    if tunable.does_nothing is not None:
        ignore(entry, tunable.does_nothing, "nothing: leave it away")
    elif value > tunable.usable_maximum:
        ignore(entry, f"malloc does not take {value}", legal)
    elif not is_number:
        ignore(entry, f"{text!r} is read as {value:#x}", legal)


def _usable_maximum(tunable: Tunable) -> int:
    return min(tunable.maximum, tunable.usable_maximum)


def _first_of(characters: str, text: str, start: int) -> int:
    """Return where the first of some characters is, from `start` on; the text's end if none is."""
    return min(
        (at for at in (text.find(c, start) for c in characters) if at >= 0), default=len(text)
    )


def _names() -> str:
    return ", ".join(f"{PREFIX}{tunable.name}" for tunable in TUNABLES)
