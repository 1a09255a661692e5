"""Recorded caches and sequences of SLAB, replayed on the allocator that `run` uses.

Of `params`: every value of every cache that was created, and of the booted system's. Of the others:
the object of each operation, where its slab's array of indexes lies, the array's and the node's
counters, and of the final state every array and list in order. What is given is the initial state,
the operations, and the pages that new slabs get. In which order CPUs drained their arrays to shrink
a cache is not recorded, so that any will do.
"""

from collections.abc import Iterator
from itertools import permutations
from pathlib import Path
from typing import Any, Final

from attrs import define, field

from mmactors.arch.page import PG_HEAD
from mmactors.mm.page_alloc.gfp import GFP_NOWAIT, GFP_NOWARN
from mmactors.mm.slab.boot_option import SlabArguments, read_slab_word
from mmactors.mm.slab.request import KernelOopsError
from mmactors.mm.slab.slab.cache import KmemCache
from mmactors.mm.slab.slab.layout import SlabConfig, slab_max_order
from mmactors.mm.slab.slab.slab import BootStage
from mmactors.mm.slab.slab.slab_state import dump_cache, load_cache, params_of
from mmactors.mm.slab.slab.struct_slab import (
    AVAIL,
    COLOUR_NEXT,
    FREE_SLABS,
    LIMIT,
    NEXT_REAP,
    OBJECT_FREELIST,
    OFF_SLAB,
    SLABS_PARTIAL,
    TOTAL_SLABS,
)
from mmactors.mm.slab.slab_common import KMALLOC_MAX_CACHE_SIZE, CacheRequest, large_order
from mmactors.units import PAGE_SHIFT
from mmactors.validate.asked_caches import asked_of
from mmactors.validate.guest_boot import nr_bytes_of, nr_frames_of
from mmactors.validate.result import CaseResult
from mmactors.validate.slab.guest import Guest
from mmactors.validate.slab.slab_recording import (
    OPERATION,
    PARAMS,
    flags_of,
    read_recording,
)

_GFP: Final = GFP_NOWAIT | GFP_NOWARN
"""What the recorder allocated with."""
_NO_CACHE: Final = -1
_CPUS_IN_ANY_ORDER: Final = 4
"""With more, CPUs are taken to drain their arrays by number."""


def validate_slab(path: Path) -> Iterator[CaseResult]:
    """Replay one recording; raise UserError for a file that is none."""
    content = read_recording(path)
    nr_cpus = content["boot"]["cpus"]
    result = _result(content, path, ())
    has_shrunk = any(op[0] == "s" for op in content.get("ops", ()))
    if not result.passed and has_shrunk and 1 < nr_cpus <= _CPUS_IN_ANY_ORDER:
        # CPUs drain their arrays at the same time: in which order is not recorded.
        for order in permutations(range(nr_cpus)):
            other = _result(content, path, order)
            if other.passed:
                result = other
                break
    yield result


def _result(content: dict[str, Any], path: Path, drain_order: tuple[int, ...]) -> CaseResult:
    name = path.name.removesuffix(".gz").removesuffix(".json")
    result = CaseResult(topic="slab", case=name, path=str(path))
    guest = Guest(_config_of(content), nr_frames_of(content), drain_order=drain_order)
    if content["scenario"] == "params":
        _compare_caches(guest, content, result)
        return result
    # After the first difference the two differ, and nothing more can be learnt from them.
    replay = _Replay(guest, content, result)
    if replay.load() and replay.run():
        replay.compare_final()
    return result


def _config_of(content: dict[str, Any]) -> SlabConfig:
    """Return how the recorded kernels were built and booted."""
    arguments = SlabArguments()
    for word in content["boot"]["append"].split():
        read_slab_word(arguments, word)
    max_order = arguments.slab_max_order
    if max_order is None:
        max_order = slab_max_order(nr_bytes_of(content))
    return SlabConfig(
        nr_cpus=content["boot"]["cpus"],
        nr_possible_cpus=content["possible_cpus"],
        max_order=content.get("slab", {}).get("slab_max_order", max_order),
        merge=False,
        random=False,
        hardened=False,
    )


def _request_of(name: str, asked: tuple[int, int, int]) -> CacheRequest:
    size, align, bits = asked
    flags, has_ctor = flags_of(bits)
    return CacheRequest(name=name, object_size=size, align=align, flags=flags, has_ctor=has_ctor)


def _compare_caches(guest: Guest, content: dict[str, Any], result: CaseResult) -> None:
    """Compare the booted system's caches, then make and destroy those that were created."""
    slab = guest.slab
    nr_system = len(content["system_caches"])
    for nth, recorded in enumerate(reversed(content["system_caches"])):
        request = CacheRequest(
            name=recorded["name"],
            object_size=recorded["object_size"],
            align=recorded["align"],
            flags=recorded["flags"] & ~(OBJECT_FREELIST | OFF_SLAB),
            has_ctor=bool(recorded["ctor"]),
        )
        s = slab.make(request)
        place = f"system_caches[{nr_system - 1 - nth}]"
        if not result.compare(f"{place} can be made", True, s is not None) or s is None:
            return
        _compare_params(place, recorded, s, result)
    slab.stage = BootStage.ALL
    columns = content["created_columns"]
    for nth, row in enumerate(content["created"]):
        recorded = dict(zip(columns, row, strict=True))
        asked = asked_of(recorded["asked"])
        assert asked is not None, f"created[{nth}] was read"
        s = slab.create(_request_of(f"lab{nth}", asked))
        if s is None:
            result.compare(f"created[{nth}]", recorded["asked"], None)
            return
        _compare_params(f"created[{nth}]", recorded, s, result)
        guest.perform(guest.kmalloc.kmem_cache_destroy(int, s))


def _compare_params(place: str, recorded: dict[str, Any], s: KmemCache, result: CaseResult) -> None:
    ours = params_of(s)
    for name in PARAMS:
        if name in recorded:
            result.compare(f"{place}.{name}", recorded[name], ours[name])


@define(eq=False)
class _Replay:
    """A sequence on its way."""

    guest: Guest
    content: dict[str, Any]
    result: CaseResult
    caches: list[KmemCache] = field(factory=list)
    """As in `initial`."""
    asked: list[KmemCache] = field(factory=list)
    things: dict[int, int] = field(factory=dict)
    """By number of an object in use: its address."""

    def load(self) -> bool:
        """Make the caches that were used, and give them what they had; say whether it was done."""
        guest, result, initial = self.guest, self.result, self.content["initial"]
        guest.slab.stage = BootStage.ALL
        for nth, asked in enumerate(self.content["caches_asked"]):
            s = guest.slab.create(_request_of(f"lab{nth}", tuple(asked)))
            if s is None:
                result.compare(f"caches_asked[{nth}]", asked, None)
                return False
            self.asked.append(s)
        by_name = {s.name: s for s in guest.slab.caches}
        for nth, state in enumerate(initial):
            s = by_name.get(state["params"]["name"])
            if s is None:
                result.compare(f"initial[{nth}].params.name", state["params"]["name"], None)
                return False
            self.caches.append(s)
            _compare_params(f"initial[{nth}].params", state["params"], s, result)
            self._compare_arrays(f"initial[{nth}]", state, s)
        if not result.passed:
            return False
        # Arrays of indexes lie in kmalloc's objects, whose slabs must be known first.
        for s, state in reversed(list(zip(self.caches, initial, strict=True))):
            load_cache(s, state, self._thing_of)
        for number, _, size, pfn, index in self.content["held"]:
            is_slab = guest.slab.slabs.is_slab(pfn)
            if not is_slab:
                self._load_large(pfn, size)
            self.things[number] = self._thing_of(pfn, index) if is_slab else pfn << PAGE_SHIFT
        return True

    def _compare_arrays(self, place: str, state: dict[str, Any], s: KmemCache) -> None:
        """Compare how large arrays are."""
        ours = dump_cache(s, self._place_of)
        for key in ("limit", "batchcount"):
            for cpu, own in zip(state["cpus"], ours["cpus"], strict=True):
                self.result.compare(f"{place}.cpus.{key}", cpu[key], own[key])
            recorded, own = state["shared"], ours["shared"]
            if recorded is None or own is None:
                self.result.compare(f"{place}.shared", recorded, own)
            else:
                self.result.compare(f"{place}.shared.{key}", recorded[key], own[key])

    def _load_large(self, pfn: int, size: int) -> None:
        """Let pages of kmalloc be in use."""
        pages = self.guest.pages
        pages.flags_view[pfn] |= PG_HEAD
        pages.order_view[pfn] = large_order(size)
        pages.refcount_view[pfn] = 1

    def _thing_of(self, pfn: int, index: int) -> int:
        s = self.guest.slab.cache_of(pfn)
        return s.first_object(pfn) + index * s.size

    def _place_of(self, thing: int) -> list[int]:
        pfn, s = self.guest.slab.slab_of(thing)
        return [pfn, thing if s is None else s.index_of(pfn, thing)]

    def run(self) -> bool:
        """Replay all operations; return whether each gave the recorded object and counters."""
        pages_before = self.content["pages_at_start"]
        for nth, op in enumerate(self.content["ops"]):
            kind, pages, cache = op[0], op[8], op[7]
            own_before = self.guest.named.nr_pages
            try:
                place = self._do(op)
            except KernelOopsError as oops:
                self.result.compare(f"ops[{nth}]", op, str(oops))
                return False
            recorded: list[Any] = [*op[5:8], *op[15:]]
            ours: list[Any] = [*place]
            if cache != _NO_CACHE:
                recorded += op[9:15]
                ours += self._counters(self.caches[cache], op[1])
            if kind in "af":
                recorded.append(pages - pages_before)
                ours.append(self.guest.named.nr_pages - own_before)
            else:
                # Other caches of the machine gave pages back, too.
                self.result.listed += 1
            pages_before = pages
            if not self.result.compare(f"ops[{nth}]", recorded, ours):
                return False
        return True

    def _do(self, op: list[Any]) -> list[int]:
        """Do an operation; return slab, object and cache, and where the slab's indexes lie."""
        kind, cpu = op[:2]
        nr_more = len(op) - len(OPERATION)
        if kind == "a":
            return self._alloc(op)
        if kind == "f":
            thing = self.things.pop(op[3])
            place = [*self._place_of(thing), self._cache_at(thing)]
            if place[2] == _NO_CACHE:
                place[:2] = [thing >> PAGE_SHIFT, 0]
            self._free(cpu, thing)
            return [*place, *[-1] * nr_more]
        if kind == "s":
            for s in self.asked:
                self.guest.perform(self.guest.slab.shrink(s, cpu))
        else:
            self._reap(cpu, node_is_due=op[4] == 1)
        return [-1, 0, op[7], *[-1] * nr_more]

    def _alloc(self, op: list[Any]) -> list[int]:
        guest, slab = self.guest, self.guest.slab
        _, cpu, asked, number, size, pfn = op[:6]
        nr_more = len(op) - len(OPERATION)
        guest.named.next_pfns = [pfn, *op[len(OPERATION) :][:1]]
        s = self.asked[asked] if asked >= 0 else None
        if s is None and size <= KMALLOC_MAX_CACHE_SIZE:
            s = guest.kmalloc.cache_for(size, _GFP)
        if s is None:
            thing = guest.perform(guest.kmalloc.kmalloc(lambda: cpu, size, _GFP))
        else:
            thing = slab.alloc_local(s, cpu, _GFP)
            thing = thing or guest.perform(slab.alloc(s, lambda: cpu, _GFP))
        if not thing:
            return [-1, 0, _NO_CACHE, *[-1] * nr_more]
        self.things[number] = thing
        if s is None:
            return [thing >> PAGE_SHIFT, 0, _NO_CACHE, *[-1] * nr_more]
        own_pfn, index = self._place_of(thing)
        more = [-1] * nr_more
        if nr_more and s.layout.is_off_slab:
            more = self._place_of(guest.pages.index_view[own_pfn])
        return [own_pfn, index, self._number_of(s), *more]

    def _free(self, cpu: int, thing: int) -> None:
        slab = self.guest.slab
        pfn, s = slab.slab_of(thing)
        if s is None:
            self.guest.perform(self.guest.kmalloc.kfree(lambda: cpu, thing))
        elif not slab.free_local(s, cpu, pfn, thing):
            self.guest.perform(slab.free(s, lambda: cpu, pfn, thing))

    def _reap(self, cpu: int, *, node_is_due: bool) -> None:
        """Let a CPU's reaper pass, at jiffy 0; whether nodes are due is given."""
        slab = self.guest.slab
        for s in slab.caches:
            slab.slabs.view[s.node(0) + NEXT_REAP] = 0 if node_is_due else 1
        self.guest.perform(slab.cache_reap(lambda: cpu, jiffies=0))

    def _cache_at(self, thing: int) -> int:
        _, s = self.guest.slab.slab_of(thing)
        return _NO_CACHE if s is None else self._number_of(s)

    def _number_of(self, s: KmemCache) -> int:
        return self.caches.index(s) if s in self.caches else _NO_CACHE

    def _counters(self, s: KmemCache, cpu: int) -> list[int]:
        view, n, shared = s.slabs.view, s.node(0), s.shared(0)
        return [
            view[s.cpu_cache(cpu) + AVAIL],
            view[shared + AVAIL] if view[shared + LIMIT] else -1,
            view[n + TOTAL_SLABS],
            len(s.node_slabs(0, SLABS_PARTIAL)),
            view[n + FREE_SLABS],
            view[n + COLOUR_NEXT],
        ]

    def compare_final(self) -> None:
        """Compare what caches have; an array, a slab is one value."""
        for nth, (state, s) in enumerate(zip(self.content["final"], self.caches, strict=True)):
            place, ours = f"final[{nth}]", dump_cache(s, self._place_of)
            _compare_params(f"{place}.params", state["params"], s, self.result)
            for name in ("cpus", "partial", "free", "full"):
                self.result.compare(f"{place}.{name} has", len(state[name]), len(ours[name]))
                for mth, (theirs, own) in enumerate(zip(state[name], ours[name], strict=False)):
                    self.result.compare(f"{place}.{name}[{mth}]", theirs, own)
            self.result.compare(f"{place}.shared", state["shared"], ours["shared"])
            for key, value in state["node"].items():
                self.result.compare(f"{place}.node.{key}", value, ours["node"].get(key))
