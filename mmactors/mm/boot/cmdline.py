"""The kernel's command line, as far as it is about memory (init/main.c, v6.1).

Words are separated by spaces; what stands in double quotes is one word. Early parameters take
effect in the order in which they stand. Sizes are numbers with K, M, G, T, P or E behind them
(lib/cmdline.c, memparse).

Left out: bootconfig, parameters of modules, and all that moves no memory at boot.
"""

import re
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from mmactors.mm.boot.e820 import (
    E820_ACPI,
    E820_PRAM,
    E820_RAM,
    E820_RESERVED,
    ULLONG_MAX,
    E820Table,
)
from mmactors.mm.boot.kernel_parameters import is_known
from mmactors.mm.slab.boot_option import SLAB_WORDS, SlabArguments, read_slab_word

DEFAULT_COMMAND_LINE: Final = "console=ttyS0 nokaslr norandmaps mitigations=off quiet nowatchdog"

_NR_CPUS: Final = 8192
_SET_FOR_INIT: Final = ("HOME", "TERM")
"""What the kernel sets itself; another value takes its place."""
_LOG_BUF_MAX: Final = 1 << 31
_NUMBER = re.compile(r"0[xX][0-9a-fA-F]+|[0-9]+")
_SHIFTS: Final = {"k": 10, "m": 20, "g": 30, "t": 40, "p": 50, "e": 60}
_MEMMAP_TYPES: Final = {"@": E820_RAM, "#": E820_ACPI, "$": E820_RESERVED, "!": E820_PRAM}


def memparse(text: str) -> tuple[int, str]:
    """Return the size at the beginning of a text, and the rest; without a number 0 and the text."""
    match = _NUMBER.match(text)
    if match is None:
        return 0, text
    digits, rest = match[0], text[match.end() :]
    if digits[:2].lower() == "0x":
        value = int(digits, 16)
    else:
        octal = digits.startswith("0") and set(digits) <= set("01234567")
        value = int(digits, 8 if octal else 10)
    shift = _SHIFTS.get(rest[:1].lower(), 0)
    return value << shift & ULLONG_MAX, rest[1:] if shift else rest


class CoreSize(NamedTuple):
    """What `kernelcore=` or `movablecore=` asks for: bytes, or a percentage of all memory."""

    nr_bytes: int = 0
    percent: int = 0


class BootArguments:
    """What the command line says, as the kernel understands it."""

    kernelcore: CoreSize = CoreSize()
    movablecore: CoreSize = CoreSize()
    is_kernelcore_mirror: bool = False
    is_movable_node: bool = False
    is_memblock_debug: bool = False
    log_buf_len: int = 0
    """Bytes; 0: not given."""
    nr_huge_pages: int = 0
    """`hugepages=` of the default size."""
    is_numa_off: bool = False
    numa_fake: str | None = None
    """What `numa=fake=` says."""
    is_acpi_off: bool = False
    possible_cpus: int | None = None
    nr_cpus: int = _NR_CPUS
    """As many as the kernel has room for, at most."""
    maxcpus: int = _NR_CPUS
    """So many are brought up while it boots."""
    swiotlb_slabs: int = 0
    is_swiotlb_forced: bool = False
    is_swiotlb_off: bool = False
    dentry_entries: int = 0
    inode_entries: int = 0
    is_hash_distributed: bool | None = None
    is_page_ext_early: bool = False
    """Struct pages are all initialised at once."""

    def __init__(self, text: str) -> None:
        self.text: Final = text
        """As it stands in /proc/cmdline."""
        self.map_changes: list[tuple[str, str]] = []
        """`mem` and `memmap` with their values, in order."""
        self.crashkernel: list[str] = []
        """Values, in order; the last one of its kind counts."""
        self.unknown: list[str] = []
        """Words that the kernel does not know: they go to init, and are printed once."""
        self.slab: Final = SlabArguments()
        """What is said about caches of objects."""
        self.refused: list[str] = []
        """Words whose value the kernel does not understand: it goes on without them."""

    @property
    def changes_map(self) -> bool:
        """Whether the user changes the memory map."""
        return bool(self.map_changes)


def words_of(text: str) -> Iterator[tuple[str, str | None]]:
    """Yield each word's name and value; None: it has no `=` (lib/cmdline.c, next_arg)."""
    for word in re.findall(r'(?:[^\s"]|"[^"]*"?)+', text):
        name, equals, value = word.partition("=")
        yield name.strip('"').replace("-", "_"), value.strip('"') if equals else None


def parse_command_line(text: str) -> BootArguments:
    """Return what a command line says; nothing in it is an error for the kernel."""
    found = BootArguments(text)
    variables: dict[str, str] = {}  # of a variable of init's only the last value counts
    for word, (name, value) in zip(_raw_words(text), words_of(text), strict=True):
        if word == "--":
            break
        parse = _PARSERS.get(name)
        if parse is not None:
            if not parse(found, value):
                found.refused.append(word)
        elif read_slab_word(found.slab, word.replace('"', "")):
            continue
        elif not is_known(word):
            if value is None:
                found.unknown.append(word)
            elif name not in _SET_FOR_INIT:
                variables[name] = word
    found.unknown += variables.values()
    return found


def _raw_words(text: str) -> list[str]:
    return re.findall(r'(?:[^\s"]|"[^"]*"?)+', text)


def apply_map_changes(table: E820Table, arguments: BootArguments) -> None:
    """Change the kernel's map as `mem=` and `memmap=` say, in their order."""
    for name, value in arguments.map_changes:
        if name == "mem":
            _limit(table, memparse(value)[0])
            continue
        for part in value.split(","):
            _apply_memmap(table, part)
    if arguments.changes_map:
        table.update()


def _limit(table: E820Table, nr_bytes: int) -> None:
    table.change(nr_bytes, ULLONG_MAX - nr_bytes, E820_RAM, None)


def _apply_memmap(table: E820Table, part: str) -> None:
    """Do one part of `memmap=` (parse_memmap_one)."""
    if part.startswith("exactmap"):
        table.entries = []
        return
    nr_bytes, rest = memparse(part)
    if rest == part:
        return
    sign, rest = rest[:1], rest[1:]
    if sign in _MEMMAP_TYPES:
        table.add(memparse(rest)[0], nr_bytes, _MEMMAP_TYPES[sign])
    elif sign == "%":
        start, rest = memparse(rest)
        old, new = _types_of_change(rest)
        if old and new:
            table.change(start, nr_bytes, old, new)
        elif new:
            table.add(start, nr_bytes, new)
        else:
            table.change(start, nr_bytes, old or None, None)
    else:
        _limit(table, nr_bytes)


def _types_of_change(text: str) -> tuple[int, int]:
    """Return the two types of `%-OLD+NEW`; 0: not given."""
    match = re.fullmatch(r"(?:-(\w+))?(?:\+(\w+))?", text)
    if match is None:
        return 0, 0
    return memparse(match[1] or "0")[0], memparse(match[2] or "0")[0]


def _parse_mem(found: BootArguments, value: str | None) -> bool:
    if value is None or value == "nopentium" or not memparse(value)[0]:
        return False
    found.map_changes.append(("mem", value))
    return True


def _parse_memmap(found: BootArguments, value: str | None) -> bool:
    if value is None:
        return False
    found.map_changes.append(("memmap", value))
    return all(
        part.startswith("exactmap") or memparse(part)[1] != part for part in value.split(",")
    )


def _core_size(value: str | None) -> CoreSize | None:
    if value is None:
        return None
    number, rest = memparse(value)
    if rest == value:
        return None
    return CoreSize(percent=number) if rest.startswith("%") else CoreSize(nr_bytes=number)


def _parse_kernelcore(found: BootArguments, value: str | None) -> bool:
    if value is not None and "mirror" in value.split(","):
        found.is_kernelcore_mirror = True
        return True
    size = _core_size(value)
    found.kernelcore = size or found.kernelcore
    return size is not None


def _parse_movablecore(found: BootArguments, value: str | None) -> bool:
    size = _core_size(value)
    found.movablecore = size or found.movablecore
    return size is not None


def _parse_crashkernel(found: BootArguments, value: str | None) -> bool:
    if value is None:
        return False
    found.crashkernel.append(value)
    return memparse(value)[1] != value


def _parse_swiotlb(found: BootArguments, value: str | None) -> bool:
    slabs, _, mode = (value or "").partition(",")
    if slabs[:1].isdigit():
        found.swiotlb_slabs = memparse(slabs)[0]
    else:
        mode = slabs
    found.is_swiotlb_forced |= mode.endswith("force") and not mode.endswith("noforce")
    found.is_swiotlb_off |= mode.endswith("noforce")
    return True


def _parse_numa(found: BootArguments, value: str | None) -> bool:
    if value is not None and value.startswith("fake="):
        found.numa_fake = value.removeprefix("fake=")
        return True
    found.is_numa_off |= value == "off"
    return value == "off"


def _parse_possible_cpus(found: BootArguments, value: str | None) -> bool:
    number = memparse(value or "")[0]
    found.possible_cpus = min(number, _NR_CPUS) or None
    return number > 0


def _parse_nr_cpus(found: BootArguments, value: str | None) -> bool:
    number = memparse(value or "")[0]
    if 0 < number < _NR_CPUS:
        found.nr_cpus = number
    return number > 0


def _parse_maxcpus(found: BootArguments, value: str | None) -> bool:
    number, rest = memparse(value or "")
    found.maxcpus = number
    return rest != value


def _parse_nosmp(found: BootArguments, _value: str | None) -> bool:
    found.maxcpus = 0
    return True


def _number(name: str, maximum: int = ULLONG_MAX) -> "_Parser":
    """Return a parser of a size or number into a field; no number is 0, as for the kernel."""

    def parse(found: BootArguments, value: str | None) -> bool:
        number, rest = memparse(value or "")
        setattr(found, name, min(number, maximum))
        return rest != (value or "")

    return parse


def _flag(name: str, value_of_flag: str | None = None) -> "_Parser":
    """Return a parser of a word that switches a field on, or of one value that does."""

    def parse(found: BootArguments, value: str | None) -> bool:
        if value_of_flag is None or value_of_flag in (value or "").split(","):
            setattr(found, name, True)
        return True

    return parse


def _parse_hashdist(found: BootArguments, value: str | None) -> bool:
    found.is_hash_distributed = bool(memparse(value or "")[0])
    return True


_Parser = Callable[[BootArguments, str | None], bool]
"""Returns whether the kernel understands the value."""
_PARSERS: Final[dict[str, _Parser]] = {
    "mem": _parse_mem,
    "memmap": _parse_memmap,
    "kernelcore": _parse_kernelcore,
    "movablecore": _parse_movablecore,
    "movable_node": _flag("is_movable_node"),
    "memblock": _flag("is_memblock_debug", "debug"),
    "crashkernel": _parse_crashkernel,
    "log_buf_len": _number("log_buf_len", _LOG_BUF_MAX),
    "hugepages": _number("nr_huge_pages"),
    "numa": _parse_numa,
    "acpi": _flag("is_acpi_off", "off"),
    "possible_cpus": _parse_possible_cpus,
    "nr_cpus": _parse_nr_cpus,
    "maxcpus": _parse_maxcpus,
    "nosmp": _parse_nosmp,
    "swiotlb": _parse_swiotlb,
    "dhash_entries": _number("dentry_entries"),
    "ihash_entries": _number("inode_entries"),
    "hashdist": _parse_hashdist,
    "early_page_ext": _flag("is_page_ext_early"),
}
MODELLED: Final = (*_PARSERS, *SLAB_WORDS)
