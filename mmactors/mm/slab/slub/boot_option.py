"""What the command line says about caches of objects (mm/slub.c, mm/slab_common.c, __setup; v6.1).

Each word counts from where it begins: `slab_nomerge=x` is `slab_nomerge`. The kernel refuses no
value: what is no number is 0, and letters that mean nothing are told of. What it panics of, with
orders that no slab may have, is `why_no_caches`.
"""

import re
from collections.abc import Callable
from typing import Final

from attrs import define, field

from mmactors.mm.page_alloc.order import (
    MAX_ORDER,
    PAGE_ALLOC_COSTLY_ORDER,
)
from mmactors.mm.slab.flags import SLAB_POISON
from mmactors.mm.slab.slab_common import CACHE_LINE_SIZE, boot_requests, kmalloc_requests
from mmactors.mm.slab.slub.debug.debug_option import SlubDebug, parse_slub_debug, unknown_letters
from mmactors.mm.slab.slub.layout import SlubConfig, layout_of

_ERR, _INFO = 3, 6
_UINT_MAX: Final = (1 << 32) - 1
_NUMBER: Final = re.compile(r"(-?)(?:0[xX](?=[0-9a-fA-F])([0-9a-fA-F]+)|(0[0-7]*)|([0-9]+))")


@define
class SlubArguments:
    """What the words that were read so far say."""

    min_order: int = 0
    """These three are unsigned numbers of 32 bits."""
    max_order: int = PAGE_ALLOC_COSTLY_ORDER
    min_objects: int = 0
    merge: bool = True
    debug: SlubDebug = SlubDebug()
    log: list[tuple[int, str]] = field(factory=list)
    """What the kernel prints of them, with its level."""

    def config(self, *, nr_cpus: int, nr_cpu_ids: int) -> SlubConfig:
        """Return how a machine's caches are made."""
        return SlubConfig(
            nr_cpus=nr_cpus,
            nr_cpu_ids=nr_cpu_ids,
            min_order=self.min_order,
            max_order=self.max_order,
            min_objects=self.min_objects,
            merge=self.merge,
            debug=self.debug,
        )


def read_slub_word(found: SlubArguments, word: str) -> bool:
    """Read a word of the command line; return whether it is one about caches."""
    for start, read in _WORDS.items():
        if word[: len(start)].replace("-", "_") == start:
            read(found, word[len(start) :])
            return True
    return False


def banner(arguments: SlubArguments, *, nr_cpu_ids: int, nr_nodes: int) -> str:
    """Return the line that SLUB is there (kmem_cache_init)."""
    return (
        f"SLUB: HWalign={CACHE_LINE_SIZE}, Order={arguments.min_order}-{arguments.max_order}, "
        f"MinObjects={arguments.min_objects}, CPUs={nr_cpu_ids}, Nodes={nr_nodes}"
    )


def why_no_caches(config: SlubConfig, nr_nodes: int) -> str | None:
    """Return what the kernel panics of when it makes its first caches; None: it does not."""
    if config.min_order < MAX_ORDER:
        return None
    requests = [*boot_requests(nr_nodes), *(request for _, _, request in kmalloc_requests())]
    for request in requests:
        if layout_of(request, config) is None:
            size = request.object_size
            return f"Creation of kmalloc slab {request.name} size={size} failed. Reason -22"
    return None


def _get_option(text: str, otherwise: int) -> int:
    """Return the number at the beginning of a text as 32 bits; of no text, what was before."""
    if not text:
        return otherwise
    match = _NUMBER.match(text)
    if match is None:
        return 0
    sign, hexadecimal, octal, decimal = match.groups()
    digits, base = next((d, b) for d, b in ((hexadecimal, 16), (octal, 8), (decimal, 10)) if d)
    value = int(digits, base)
    return (-value if sign else value) & _UINT_MAX


def _read_min_order(found: SlubArguments, text: str) -> None:
    found.min_order = _get_option(text, found.min_order)


def _read_max_order(found: SlubArguments, text: str) -> None:
    found.max_order = min(_get_option(text, found.max_order), MAX_ORDER - 1)


def _read_min_objects(found: SlubArguments, text: str) -> None:
    found.min_objects = _get_option(text, found.min_objects)


def _read_debug(found: SlubArguments, text: str) -> None:
    # A word that only begins so, such as slub_debugging, is slub_debug alone.
    value = text.removeprefix("=") if text.startswith("=") else ""
    found.log += [
        (3, f"slub_debug option '{each}' unknown. skipped") for each in unknown_letters(value)
    ]
    found.debug = parse_slub_debug(value, found.debug)
    if found.debug.everywhere & SLAB_POISON:
        taken = "SLAB_POISON will take precedence over init_on_alloc/init_on_free"
        found.log.append((_INFO, f"mem auto-init: {taken}"))


def _read_merge(found: SlubArguments, _text: str) -> None:
    found.merge = True


def _read_nomerge(found: SlubArguments, _text: str) -> None:
    found.merge = False


_WORDS: Final[dict[str, Callable[[SlubArguments, str], None]]] = {
    "slub_debug": _read_debug,
    "slub_min_order=": _read_min_order,
    "slub_max_order=": _read_max_order,
    "slub_min_objects=": _read_min_objects,
    "slab_merge": _read_merge,
    "slab_nomerge": _read_nomerge,
    "slub_merge": _read_merge,
    "slub_nomerge": _read_nomerge,
}
"""By how the word begins: what reads the rest."""
SLUB_WORDS: Final = tuple(start.rstrip("=") for start in _WORDS)
