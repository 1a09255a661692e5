"""What the command line says about caches of objects (mm/slab_common.c, slab.c, slub.c; v6.1).

Each word counts from where it begins: `slab_nomerge=x` is `slab_nomerge`. The kernel refuses no
value: what is no number is 0, and letters that mean nothing are told of. What it panics of, with
orders that no slab may have, is `why_no_caches`. Each allocator knows words of its own.
"""

import re
from collections.abc import Callable, Iterator
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
_INT_MAX: Final = (1 << 31) - 1
_NUMBER: Final = re.compile(r"(-?)(?:0[xX](?=[0-9a-fA-F])([0-9a-fA-F]+)|(0[0-7]*)|([0-9]+))")


@define
class SlabArguments:
    """What the words that were read so far say."""

    min_order: int = 0
    """These three are unsigned numbers of 32 bits."""
    max_order: int = PAGE_ALLOC_COSTLY_ORDER
    min_objects: int = 0
    merge: bool = True
    debug: SlubDebug = SlubDebug()
    slab_max_order: int | None = None
    """Of SLAB; None: the kernel chooses."""
    has_alien_caches: bool = True
    """Of SLAB."""
    words: list[str] = field(factory=list)
    """All that were read."""
    log: list[tuple[int, str]] = field(factory=list)
    """What the kernel prints of them, with its level."""

    def slub_config(self, *, nr_cpus: int, nr_cpu_ids: int) -> SlubConfig:
        """Return how SLUB makes a machine's caches."""
        return SlubConfig(
            nr_cpus=nr_cpus,
            nr_cpu_ids=nr_cpu_ids,
            min_order=self.min_order,
            max_order=self.max_order,
            min_objects=self.min_objects,
            merge=self.merge,
            debug=self.debug,
        )


def read_slab_word(found: SlabArguments, word: str) -> bool:
    """Read a word of the command line; return whether it is one about caches."""
    for start, read in _WORDS.items():
        if word[: len(start)].replace("-", "_") == start:
            read(found, word[len(start) :])
            found.words.append(word)
            return True
    return False


def foreign_words(found: SlabArguments, kind: str) -> Iterator[tuple[str, str]]:
    """Yield the words that an allocator does not know, and which one knows each."""
    for word in found.words:
        start = next(start for start in _WORDS if word.replace("-", "_").startswith(start))
        knows = "slab" if start in _OF_SLAB else "slub" if start.startswith("slub") else kind
        if knows != kind:
            yield word, knows


def banner(arguments: SlabArguments, *, nr_cpu_ids: int, nr_nodes: int) -> str:
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


def _read_min_order(found: SlabArguments, text: str) -> None:
    found.min_order = _get_option(text, found.min_order)


def _read_max_order(found: SlabArguments, text: str) -> None:
    found.max_order = min(_get_option(text, found.max_order), MAX_ORDER - 1)


def _read_min_objects(found: SlabArguments, text: str) -> None:
    found.min_objects = _get_option(text, found.min_objects)


def _read_debug(found: SlabArguments, text: str) -> None:
    # A word that only begins so, such as slub_debugging, is slub_debug alone.
    value = text.removeprefix("=") if text.startswith("=") else ""
    found.log += [
        (3, f"slub_debug option '{each}' unknown. skipped") for each in unknown_letters(value)
    ]
    found.debug = parse_slub_debug(value, found.debug)
    if found.debug.everywhere & SLAB_POISON:
        taken = "SLAB_POISON will take precedence over init_on_alloc/init_on_free"
        found.log.append((_INFO, f"mem auto-init: {taken}"))


def _read_merge(found: SlabArguments, _text: str) -> None:
    found.merge = True


def _read_nomerge(found: SlabArguments, _text: str) -> None:
    found.merge = False


def _read_slab_max_order(found: SlabArguments, text: str) -> None:
    order = _get_option(text, found.slab_max_order or 0)
    found.slab_max_order = 0 if order > _INT_MAX else min(order, MAX_ORDER - 1)


def _read_noaliencache(found: SlabArguments, _text: str) -> None:
    found.has_alien_caches = False


_OF_SLAB: Final = ("slab_max_order=", "noaliencache")
_WORDS: Final[dict[str, Callable[[SlabArguments, str], None]]] = {
    "slub_debug": _read_debug,
    "slub_min_order=": _read_min_order,
    "slub_max_order=": _read_max_order,
    "slub_min_objects=": _read_min_objects,
    "slab_merge": _read_merge,
    "slab_nomerge": _read_nomerge,
    "slub_merge": _read_merge,
    "slub_nomerge": _read_nomerge,
    "slab_max_order=": _read_slab_max_order,
    "noaliencache": _read_noaliencache,
}
"""By how the word begins: what reads the rest."""
SLAB_WORDS: Final = tuple(start.rstrip("=") for start in _WORDS)
