"""Recordings of SLUB: reading one, and saying what is wrong with it.

The form is that of linux-6.1/kernel (topic `slub`): caches that were created, or the complete state
of caches before and after operations with their results. What is read here can be replayed: an
object is in use or free once, every number has its range.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from attrs import frozen

from mmactors.mm.slab import flags as slab_flags
from mmactors.validate.asked_caches import CREATED, SIZE_MAX, check_created
from mmactors.validate.document import read_object
from mmactors.validate.form import (
    Either,
    Form,
    ListOf,
    OrNull,
    Problems,
    Record,
    TableOf,
    Text,
    Whole,
)
from mmactors.validate.guest_boot import BOOT, nr_frames_of
from mmactors.validate.limits import CPUS_MAX, MEMORY_MIB_MAX

_ADVICE: Final = "tests/reference/linux-6.1/kernel/slub/README.md describes the fields"
_OPERATIONS_MAX: Final = 200_000
_OBJECTS_MAX: Final = 32767
_ORDER_MAX: Final = 10
_NODES_MAX: Final = 64
_NR_KMALLOC: Final = 13
_ASKED: Final = re.compile(
    r"(\d{1,7})/(\d{1,7})/([A-Z0-9_]+(?:\+[A-Z0-9_]+)*|none|all_debug)/([01])"
)
_FLAGS: Final = {
    "none": 0,
    "all_debug": slab_flags.DEBUG_DEFAULT_FLAGS,
    "HWCACHE_ALIGN": slab_flags.SLAB_HWCACHE_ALIGN,
    "TYPESAFE_BY_RCU": slab_flags.SLAB_TYPESAFE_BY_RCU,
    "RECLAIM_ACCOUNT": slab_flags.SLAB_RECLAIM_ACCOUNT,
    # The recorder asks for this one with SLAB_PANIC.
    "ACCOUNT": slab_flags.SLAB_ACCOUNT | slab_flags.SLAB_PANIC,
    "CACHE_DMA": slab_flags.SLAB_CACHE_DMA,
    "CACHE_DMA32": slab_flags.SLAB_CACHE_DMA32,
    "NOLEAKTRACE": slab_flags.SLAB_NOLEAKTRACE,
    "POISON": slab_flags.SLAB_POISON,
    "RED_ZONE": slab_flags.SLAB_RED_ZONE,
    "STORE_USER": slab_flags.SLAB_STORE_USER,
    "CONSISTENCY_CHECKS": slab_flags.SLAB_CONSISTENCY_CHECKS,
}

_COUNT: Final = Whole(0, 1 << 40)
_BYTES: Final = Whole(0, SIZE_MAX)
_BIT: Final = Whole(0, 1)
_ORDER: Final = Whole(0, _ORDER_MAX)
_OBJECTS: Final = Whole(0, _OBJECTS_MAX)
_PARAMS: Final[dict[str, Form]] = {
    "name": Text(chars_max=64),
    "size": Whole(8, SIZE_MAX),
    "object_size": Whole(1, SIZE_MAX),
    "inuse": _BYTES,
    "offset": _BYTES,
    "align": Whole(1, 1 << 20),
    "order": _ORDER,
    "objects": Whole(1, _OBJECTS_MAX),
    "min_order": _ORDER,
    "min_objects": Whole(1, _OBJECTS_MAX),
    "cpu_partial": _COUNT,
    "cpu_partial_slabs": _COUNT,
    "min_partial": _COUNT,
    "flags": Whole(0, (1 << 32) - 1),
    "allocflags": Whole(0, (1 << 32) - 1),
    "ctor": _BIT,
    "refcount": Whole(-(1 << 20), 1 << 20),
    "red_left_pad": _BYTES,
    "useroffset": _BYTES,
    "usersize": _BYTES,
}
PARAMS: Final = tuple(_PARAMS)
"""What is recorded of each cache."""

_INDICES: Final = ListOf(_OBJECTS, maximum=_OBJECTS_MAX)
_PARTIAL_SLAB: Final[dict[str, Form]] = {
    "pfn": Whole(1, MEMORY_MIB_MAX << 8),
    "inuse": _OBJECTS,
    "objects": Whole(1, _OBJECTS_MAX),
    "freelist": _INDICES,
}
_CPU_SLAB: Final = Record(
    {
        **{key: form for key, form in _PARTIAL_SLAB.items() if key != "freelist"},
        "frozen": Whole(1, 1),
        "cpu_freelist": _INDICES,
        "slab_freelist": _INDICES,
    }
)


_STATE: Final = Record(
    {
        "params": Record(_PARAMS),
        "cpus": ListOf(
            Record(
                {
                    "cpu": Whole(0, CPUS_MAX - 1),
                    "slab": OrNull(_CPU_SLAB),
                    "partial": ListOf(Record({**_PARTIAL_SLAB, "slabs": Whole(1, 1 << 20)})),
                }
            ),
            maximum=CPUS_MAX,
        ),
        "nodes": ListOf(
            Record(
                {
                    "node": Whole(0, _NODES_MAX - 1),
                    "nr_partial": _COUNT,
                    "nr_slabs": _COUNT,
                    "total_objects": _COUNT,
                    "partial": ListOf(Record(_PARTIAL_SLAB)),
                }
            ),
            minimum=1,
            maximum=_NODES_MAX,
        ),
    },
    {"random_seq": _INDICES},
)
_HEAD: Final[dict[str, Form]] = {
    "topic": Text("the text slub", re.compile("slub")),
    "scenario": Text("params, kmalloc, fill, mix, partial or cross"),
    "boot": BOOT,
}
_CACHES: Final = ListOf(Record(_PARAMS), maximum=1024)
_CREATED: Final = Record(
    {
        **_HEAD,
        "slub": Record(
            {
                "min_order": _ORDER,
                "max_order": _ORDER,
                "min_objects": _OBJECTS,
                "nr_cpu_ids": Whole(1, 8192),
            }
        ),
        "system_caches": _CACHES,
        **CREATED,
    }
)
_SEQUENCE: Final = Record(
    {
        **_HEAD,
        "size": _BYTES,
        "align": Whole(0, 1 << 20),
        "ctor": _BIT,
        "rcu": _BIT,
        "hwalign": _BIT,
        "initial": ListOf(_STATE, minimum=1, maximum=_NR_KMALLOC),
        "final": ListOf(_STATE, minimum=1, maximum=_NR_KMALLOC),
        "ops": ListOf(
            ListOf(Either(number=Whole(-1, 1 << 32), text=Text("a or f", re.compile("[af]")))),
            maximum=_OPERATIONS_MAX,
        ),
    },
    {
        "after_shrink": ListOf(_STATE, minimum=1, maximum=_NR_KMALLOC),
        "cpu_node": TableOf(Whole(0, _NODES_MAX - 1)),
        "node_start_pfn": ListOf(Whole(0, MEMORY_MIB_MAX << 8), minimum=1, maximum=_NODES_MAX),
    },
)


@frozen(kw_only=True)
class Asked:
    """What a cache was created with."""

    size: int
    align: int
    flags: int
    has_ctor: bool


def asked_of(text: str) -> Asked | None:
    """Return what `size/align/flags/ctor` means, None: nothing."""
    match = _ASKED.fullmatch(text)
    if match is None:
        return None
    flags = 0
    for name in match[3].split("+"):
        if name not in _FLAGS:
            return None
        flags |= _FLAGS[name]
    size, align = int(match[1]), int(match[2])
    if not 0 < size <= SIZE_MAX or align & (align - 1):
        return None
    return Asked(size=size, align=align, flags=flags, has_ctor=match[4] == "1")


def read_recording(path: Path) -> dict[str, Any]:
    """Return a recording; raise UserError with all that is wrong."""
    content = read_object(path)
    problems = Problems(path=path, advice=_ADVICE)
    is_params = content.get("scenario") == "params"
    (_CREATED if is_params else _SEQUENCE).check(content, "", problems)
    problems.raise_any()
    if is_params:
        check_created(content, _PARAMS, problems, asked="size/align/flags/ctor", asked_of=asked_of)
    else:
        _check_states(content, problems)
        problems.raise_any()
        _check_ops(content, problems)
    problems.raise_any()
    return content


def node_starts_of(content: dict[str, Any]) -> list[int]:
    """Return by node the PFN that its memory begins with."""
    starts: list[int] = content.get("node_start_pfn", [0])
    return starts


def nodes_of_cpus(content: dict[str, Any]) -> list[int]:
    """Return by CPU its node."""
    nodes = content.get("cpu_node", {})
    return [nodes.get(str(cpu), 0) for cpu in range(content["boot"]["cpus"])]


def _check_states(content: dict[str, Any], problems: Problems) -> None:
    """Check that states can be: each page is of one slab, each object in one place."""
    is_kmalloc = content["scenario"] == "kmalloc"
    nr_caches = _NR_KMALLOC if is_kmalloc else 1
    if not is_kmalloc and not content["size"] > 0:
        problems.add(f"size is {content['size']}", "at least 1")
    if content["align"] & (content["align"] - 1):
        problems.add(f"align is {content['align']}", "0 or a power of two")
    nr_frames, starts = nr_frames_of(content), node_starts_of(content)
    if starts != sorted(set(starts)) or starts[0] != 0 or starts[-1] >= nr_frames:
        legal = f"0 and what follows in order, below {nr_frames}"
        problems.add(f"node_start_pfn is {starts[:8]}", legal)
    if max(nodes_of_cpus(content)) >= len(starts):
        problems.add(f"cpu_node is {nodes_of_cpus(content)[:8]}", f"nodes below {len(starts)}")
    for name in ("initial", "final", "after_shrink"):
        states = content.get(name)
        if states is None:
            continue
        if len(states) != nr_caches:
            problems.add(f"{name} has {len(states)} caches", f"{nr_caches}")
        used: set[int] = set()
        for nth, state in enumerate(states):
            place = f"{name}[{nth}]"
            params = state["params"]
            sequence = state.get("random_seq", [])
            if sequence and sorted(sequence) != list(range(params["objects"])):
                legal = f"each number below {params['objects']} once"
                problems.add(f"{place}.random_seq has {len(sequence)} numbers", legal)
            numbers = [cpu["cpu"] for cpu in state["cpus"]]
            if numbers != sorted(set(numbers) & set(range(content["boot"]["cpus"]))):
                problems.add(f"{place}.cpus are {numbers}", "some of the guest's, in order")
            numbers = [node["node"] for node in state["nodes"]]
            if numbers != list(range(len(starts))):
                problems.add(f"{place}.nodes are {numbers}", f"{list(range(len(starts)))}")
            for mth, node in enumerate(state["nodes"]):
                nr_slabs = len(node["partial"])
                if node["nr_partial"] != nr_slabs:
                    found = f"{place}.nodes[{mth}].nr_partial is {node['nr_partial']}"
                    problems.add(found, f"{nr_slabs}, as many as are on the list")
            for where, slab, lists in _slabs_of(state):
                _check_slab(f"{place}.{where}", slab, lists, params, problems)
                pages = set(range(slab["pfn"], slab["pfn"] + (1 << params["order"])))
                if pages & used or max(pages) >= nr_frames:
                    problems.add(f"{place}.{where}.pfn is {slab['pfn']}", "pages of no other slab")
                used |= pages


def _slabs_of(state: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], list[list[int]]]]:
    """Yield the slabs of a state: place, slab, its lists; the first is of what nobody uses."""
    for nth, cpu in enumerate(state["cpus"]):
        slab = cpu["slab"]
        if slab is not None:
            yield f"cpus[{nth}].slab", slab, [slab["slab_freelist"], slab["cpu_freelist"]]
        for mth, slab in enumerate(cpu["partial"]):
            yield f"cpus[{nth}].partial[{mth}]", slab, [slab["freelist"]]
    for nth, node in enumerate(state["nodes"]):
        for mth, slab in enumerate(node["partial"]):
            yield f"nodes[{nth}].partial[{mth}]", slab, [slab["freelist"]]


def _check_slab(
    place: str,
    slab: dict[str, Any],
    lists: list[list[int]],
    params: dict[str, Any],
    problems: Problems,
) -> None:
    objects = slab["objects"]
    if objects not in (params["objects"], params["min_objects"]):
        legal = f"{params['objects']}, or {params['min_objects']} of a smaller slab"
        problems.add(f"{place}.objects is {objects}", legal)
    indices = [index for each in lists for index in each]
    if len(set(indices)) < len(indices) or any(index >= objects for index in indices):
        problems.add(f"{place} has free objects {indices[:8]}", f"each below {objects}, once")
    if not indices and "slab_freelist" not in slab:
        problems.add(f"{place} has no free objects", "at least one on each partial slab")
    if slab["inuse"] != objects - len(lists[0]):
        found = f"{place}.inuse is {slab['inuse']}"
        problems.add(found, f"{objects - len(lists[0])}: {objects} without those on its list")
    if slab["pfn"] % (1 << params["order"]):
        problems.add(f"{place}.pfn is {slab['pfn']}", f"a multiple of {1 << params['order']}")


def _check_ops(content: dict[str, Any], problems: Problems) -> None:
    """Check that what is freed was allocated before, and not freed since."""
    nr_words = 8 if content["scenario"] == "kmalloc" else 6
    nr_frames, nr_cpus = nr_frames_of(content), content["boot"]["cpus"]
    held: set[tuple[int, int]] = set()
    for nth, op in enumerate(content["ops"]):
        kinds = [type(word) for word in op]
        if kinds != [str, *[int] * (nr_words - 1)]:
            problems.add(f"ops[{nth}] is {op!r}"[:200], f"a or f, and {nr_words - 1} numbers")
            continue
        kind, cpu, pfn, index, nr_slabs, nr_partial = op[:6]
        if not (0 <= cpu < nr_cpus and -1 <= pfn < nr_frames and 0 <= index < _OBJECTS_MAX):
            legal = f"a CPU below {nr_cpus}, a page below {nr_frames}, an object"
            problems.add(f"ops[{nth}] is {op!r}", legal)
            continue
        if min(nr_slabs, nr_partial) < 0:
            problems.add(f"ops[{nth}] is {op!r}", "counters of at least 0")
        if nr_words == 8 and not _is_class(op[6], op[7], kind):
            problems.add(f"ops[{nth}] is {op!r}", f"a class below {_NR_KMALLOC} or -1, and a size")
        thing = (pfn, index)
        if kind == "a" and pfn >= 0:
            if thing in held:
                problems.add(f"ops[{nth}] is {op!r}", "an object that is not in use")
            held.add(thing)
        elif kind == "f":
            if thing not in held:
                problems.add(f"ops[{nth}] is {op!r}", "an object that was allocated before")
            held.discard(thing)


def _is_class(index: int, size: int, kind: str) -> bool:
    return -1 <= index < _NR_KMALLOC and (kind == "f" or 0 < size <= SIZE_MAX)
