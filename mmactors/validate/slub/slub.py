"""Recorded caches and sequences of SLUB, replayed on the allocator that `run` uses.

Of `params`: every value of every cache that was created, and of the booted system's. Of the others:
the slab and the object of each operation and its node's counters, and of the final state and that
after shrinking every list in order. What was random (in which order a cache's objects come, where a
new slab begins with it) is taken from the recording, as are the slabs' pages. In which order CPUs
gave back their slabs to shrink a cache is not recorded, so that any will do.
"""

from collections.abc import Iterator
from itertools import permutations
from pathlib import Path
from typing import Any, Final

import numpy as np
from attrs import evolve

from mmactors.mm.page_alloc.gfp import GFP_NOWAIT, GFP_NOWARN
from mmactors.mm.page_alloc.order import PAGE_ALLOC_COSTLY_ORDER
from mmactors.mm.slab.flags import (
    CMPXCHG_DOUBLE,
    OBJECT_POISON,
    SLAB_HWCACHE_ALIGN,
    SLAB_NOLEAKTRACE,
    SLAB_TYPESAFE_BY_RCU,
)
from mmactors.mm.slab.request import KernelOopsError
from mmactors.mm.slab.slab_common import KMALLOC_MAX_CACHE_SIZE, CacheRequest
from mmactors.mm.slab.slub.cache import KmemCache
from mmactors.mm.slab.slub.layout import SlubConfig
from mmactors.mm.slab.slub.slub_state import dump_cache, load_cache, params_of
from mmactors.mm.slab.slub.struct_slab import NR_PARTIAL, NR_SLABS
from mmactors.units import PAGE_SHIFT
from mmactors.validate.guest_boot import nr_frames_of
from mmactors.validate.result import CaseResult
from mmactors.validate.slub.guest import Guest
from mmactors.validate.slub.slub_recording import (
    PARAMS,
    asked_of,
    node_starts_of,
    nodes_of_cpus,
    read_recording,
)

_KMALLOC_SIZES: Final = (8, 16, 32, 64, 96, 128, 192, 256, 512, 1024, 2048, 4096, 8192)
_GFP: Final = GFP_NOWAIT | GFP_NOWARN
"""What the recorder allocated with."""
_AFTER_SHRINK: Final = "after_shrink"
_CPUS_IN_ANY_ORDER: Final = 4
"""With more, CPUs are taken to flush by number."""
_FAILED: Final = -1
_NO_CACHE: Final = -1
_DERIVED_FLAGS: Final = CMPXCHG_DOUBLE | OBJECT_POISON


def validate_slub(path: Path) -> Iterator[CaseResult]:
    """Replay one recording; raise UserError for a file that is none."""
    content = read_recording(path)
    result = _result(content, path, ())
    nr_cpus = content["boot"]["cpus"]
    if _is_of_shrinking(result) and nr_cpus <= _CPUS_IN_ANY_ORDER:
        # CPUs flush at the same time: in which order they came to the node is not recorded.
        for order in permutations(range(nr_cpus)):
            other = _result(content, path, order)
            if other.passed:
                result = other
                break
    yield result


def _is_of_shrinking(result: CaseResult) -> bool:
    return (result.first_difference or "").startswith(_AFTER_SHRINK)


def _result(content: dict[str, Any], path: Path, flush_order: tuple[int, ...]) -> CaseResult:
    name = path.name.removesuffix(".gz").removesuffix(".json")
    result = CaseResult(topic="slub", case=name, path=str(path))
    guest = Guest(
        _config_of(content),
        nr_frames_of(content),
        node_starts=node_starts_of(content),
        node_of_cpu=nodes_of_cpus(content),
        flush_order=flush_order,
    )
    if content["scenario"] == "params":
        _compare_caches(guest, content, result)
        return result
    # After the first difference the two differ, and nothing more can be learnt from them.
    caches = _load(guest, content, result)
    if result.passed and _replay(guest, caches, content["ops"], result):
        _compare_states("final", content["final"], caches, result)
        if result.passed and _AFTER_SHRINK in content:
            for s in caches:
                guest.perform(guest.slub.shrink(s, 0))
            _compare_states(_AFTER_SHRINK, content[_AFTER_SHRINK], caches, result)
    return result


def _config_of(content: dict[str, Any]) -> SlubConfig:
    boot, built = content["boot"], content.get("slub", {})
    return SlubConfig(
        nr_cpus=boot["cpus"],
        nr_cpu_ids=built.get("nr_cpu_ids", boot["cpus"]),
        min_order=built.get("min_order", 0),
        max_order=built.get("max_order", PAGE_ALLOC_COSTLY_ORDER),
        min_objects=built.get("min_objects", 0),
        merge=not set(boot["append"].split()) & {"slab_nomerge", "slub_nomerge"},
    )


def _compare_caches(guest: Guest, content: dict[str, Any], result: CaseResult) -> None:
    """Compare the booted system's caches, then make and destroy those that were created."""
    slub = guest.slub
    nr_system = len(content["system_caches"])
    for nth, recorded in enumerate(reversed(content["system_caches"])):
        request = CacheRequest(
            name=recorded["name"],
            object_size=recorded["object_size"],
            align=recorded["align"],
            flags=recorded["flags"] & ~_DERIVED_FLAGS,
            has_ctor=bool(recorded["ctor"]),
            useroffset=recorded["useroffset"],
            usersize=recorded["usersize"],
        )
        layout = slub.layout_of(request)
        place = f"system_caches[{nr_system - 1 - nth}]"
        if not result.compare(f"{place} can be made", True, layout is not None) or layout is None:
            return
        s = slub.add(request, layout, refcount=recorded["refcount"])
        listed: frozenset[str] = frozenset()
        if recorded["refcount"] > 1:
            # An alias has let the object grow since; the pointer stays in the middle of the first.
            listed = frozenset({"offset"})
            s.layout = evolve(layout, offset=recorded["offset"])
        _compare_params(place, recorded, s, result, listed)
    columns = content["created_columns"]
    for nth, row in enumerate(content["created"]):
        recorded = dict(zip(columns, row, strict=True))
        asked = asked_of(recorded["asked"])
        assert asked is not None, f"created[{nth}] was read"
        s_or_none = slub.create(
            CacheRequest(
                name=f"lab{nth}",
                object_size=asked.size,
                align=asked.align,
                flags=asked.flags,
                has_ctor=asked.has_ctor,
            )
        )
        if s_or_none is None:
            result.compare(f"created[{nth}]", recorded["name"], None)
            return
        _compare_params(f"created[{nth}]", recorded, s_or_none, result)
        guest.perform(guest.kmalloc.kmem_cache_destroy(int, s_or_none))


def _compare_params(
    place: str,
    recorded: dict[str, Any],
    s: KmemCache,
    result: CaseResult,
    listed: frozenset[str] = frozenset(),
) -> None:
    ours = params_of(s)
    for name in PARAMS:
        if name in listed:
            result.listed += 1
        else:
            result.compare(f"{place}.{name}", recorded[name], ours[name])


def _load(guest: Guest, content: dict[str, Any], result: CaseResult) -> list[KmemCache]:
    """Make the caches that were used, and give them what they had."""
    if content["scenario"] == "kmalloc":
        guest.kmalloc.create_caches()
        caches = [guest.kmalloc.kmalloc_slab(size, GFP_NOWAIT) for size in _KMALLOC_SIZES]
    else:
        flags = SLAB_NOLEAKTRACE
        flags |= SLAB_TYPESAFE_BY_RCU if content["rcu"] else 0
        flags |= SLAB_HWCACHE_ALIGN if content["hwalign"] else 0
        s = guest.slub.create(
            CacheRequest(
                name="labcache",
                object_size=content["size"],
                align=content["align"],
                flags=flags,
                has_ctor=bool(content["ctor"]),
            )
        )
        caches = [] if s is None else [s]
    initial = content["initial"]
    if not result.compare("initial has caches", len(initial), len(caches)):
        return []
    for nth, (s, state) in enumerate(zip(caches, initial, strict=True)):
        _compare_params(f"initial[{nth}].params", state["params"], s, result)
    if result.passed:
        for s, state in zip(caches, initial, strict=True):
            s.random_seq = np.array(state.get("random_seq", ()), np.int64)
            load_cache(s, state)
    return caches


def _replay(
    guest: Guest, caches: list[KmemCache], ops: list[list[Any]], result: CaseResult
) -> bool:
    """Replay all operations; return whether each gave the recorded object and counters."""
    for nth, op in enumerate(ops):
        recorded = (*op[2:4], op[6] if len(caches) > 1 else 0, *op[4:6])
        try:
            ours = (_alloc if op[0] == "a" else _free)(guest, caches, op)
        except KernelOopsError as oops:
            result.compare(f"ops[{nth}]", recorded, str(oops))
            return False
        if not result.compare(f"ops[{nth}]", recorded, ours):
            return False
    return True


Outcome = tuple[int, int, int, int, int]
"""Slab, object, cache, and afterwards nr_slabs and nr_partial of node 0."""


def _alloc(guest: Guest, caches: list[KmemCache], op: list[Any]) -> Outcome:
    slub = guest.slub
    cpu, pfn, index = op[1:4]
    size = op[7] if len(caches) > 1 else None
    guest.named.next_pfns = [pfn]
    if size is not None and size > KMALLOC_MAX_CACHE_SIZE:
        thing = guest.perform(guest.kmalloc.kmalloc(lambda: cpu, size, _GFP))
        return thing >> PAGE_SHIFT if thing else _FAILED, 0, _NO_CACHE, 0, 0
    s = caches[0] if size is None else guest.kmalloc.kmalloc_slab(size, _GFP)
    # Which place in the random order is the first, says the object.
    guest.next_position = int((s.random_seq == index).argmax()) if len(s.random_seq) else 0
    thing = slub.alloc_local(s, cpu) or guest.perform(slub.alloc(s, lambda: cpu, _GFP))
    if not thing:
        return _FAILED, 0, caches.index(s), *_counters(s)
    head = slub.slabs.head_of(thing)
    assert head is not None, f"object {thing:#x} of {s.name} is in no slab"
    return head, s.index_of(head, thing), caches.index(s), *_counters(s)


def _free(guest: Guest, caches: list[KmemCache], op: list[Any]) -> Outcome:
    slub = guest.slub
    cpu, pfn, index = op[1:4]
    if not slub.slabs.is_slab(pfn):
        guest.perform(guest.kmalloc.kfree(lambda: cpu, pfn << PAGE_SHIFT))
        return pfn, 0, _NO_CACHE, 0, 0
    s = slub.cache_of(pfn)
    thing = s.first_object(pfn) + index * s.size
    if not slub.free_local(s, cpu, pfn, thing):
        guest.perform(slub.free(s, lambda: cpu, pfn, thing))
    return pfn, index, caches.index(s), *_counters(s)


def _counters(s: KmemCache) -> tuple[int, int]:
    word = s.node(0)
    return s.slabs.view[word + NR_SLABS], s.slabs.view[word + NR_PARTIAL]


def _compare_states(
    name: str, recorded: list[dict[str, Any]], caches: list[KmemCache], result: CaseResult
) -> None:
    """Compare what caches have; a list is one value."""
    for nth, (state, s) in enumerate(zip(recorded, caches, strict=True)):
        ours = dump_cache(s)
        place = f"{name}[{nth}]"
        _compare_params(f"{place}.params", state["params"], s, result)
        for part in ("cpus", "nodes"):
            result.compare(f"{place}.{part} are", len(state[part]), len(ours[part]))
            for mth, (theirs, own) in enumerate(zip(state[part], ours[part], strict=False)):
                _compare_part(f"{place}.{part}[{mth}]", theirs, own, result)


def _compare_part(
    place: str, recorded: dict[str, Any], ours: dict[str, Any], result: CaseResult
) -> None:
    """Compare a CPU's or a node's part: values, its slab's values, its slabs one by one."""
    for key, value in recorded.items():
        if key == "partial":
            result.compare(f"{place}.partial has", len(value), len(ours[key]))
            for nth, (slab, own) in enumerate(zip(value, ours[key], strict=False)):
                _compare_part(f"{place}.partial[{nth}]", slab, own, result)
        elif isinstance(value, dict) and isinstance(ours.get(key), dict):
            _compare_part(f"{place}.{key}", value, ours[key], result)
        else:
            result.compare(f"{place}.{key}", value, ours.get(key))
