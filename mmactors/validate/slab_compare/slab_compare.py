"""One list of requests on SLAB, SLOB and SLUB, and the sums of each, against the recorded ones.

Of each allocator: its caches' sizes; after each request the pages of all objects, the pages of
slabs with an object that is out, and the object's bytes; each sample and each sum of these. Which
room kmalloc's caches had before is not recorded (SLOB had none). What depends on it is listed, not
compared: of SLAB and SLUB, the pages and those in use if anything is asked of kmalloc; of SLAB,
the pages if it takes the index arrays of a cache from kmalloc.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from attrs import frozen

from mmactors.mm.slab.request import KernelOopsError
from mmactors.observe.object_usage import SAMPLE, SUMMARY, Usage
from mmactors.validate.guest_boot import nr_frames_of
from mmactors.validate.result import CaseResult
from mmactors.validate.slab_compare.compare_recording import (
    ALLOCATORS,
    read_comparison,
)
from mmactors.validate.slab_compare.lone_kernel import LoneKernel
from mmactors.validate.slob.slob import cache_request

_EACH: Final = ("pages", "pages_in_use", "object_bytes")
"""What is recorded after each request."""
_ON_PAGES: Final = frozenset({"pages", "peak_pages", "pages_at_end", "mean_pages"})
_ON_PAGES_IN_USE: Final = frozenset(
    {"pages_in_use", "external", "peak_pages_in_use", "mean_pages_in_use", "external_mean"}
)
_KMALLOC: Final = -1
_SAMPLED: Final = 100
"""Every so many requests there is a sample."""


def validate_slab_compare(path: Path) -> Iterator[CaseResult]:
    """Replay one recording on all three; raise UserError for a file that is none."""
    content = read_comparison(path)
    name = path.name.removesuffix(".gz").removesuffix(".json")
    result = CaseResult(topic="slab-compare", case=name, path=str(path))
    for kind in ALLOCATORS:
        _compare(kind, content, result)
    yield result


@frozen
class _Object:
    cache: Any
    thing: int
    size: int
    slab: int
    nr_pages: int
    nr_bytes: int


class _Replay:
    """Requests on their way through an allocator."""

    def __init__(self, kernel: LoneKernel, caches: Sequence[Any]) -> None:
        self.usage: Final = Usage()
        self.object_bytes: Final[list[int]] = []
        """Of the object that was asked for, or freed, by request."""
        self._kernel: Final = kernel
        self._caches: Final = caches
        self._pages_before: Final = kernel.nr_pages
        self._held: Final[dict[int, _Object]] = {}
        """By id."""
        self._nr_objects: Final[dict[int, int]] = {}
        """By first page of a slab, how many are out."""
        self._requested = self._allocated = self._in_use = 0

    def do(self, kind: str, cpu: int, cache: int, number: int, size: int) -> None:
        """Do a request, and note what is taken then."""
        nr_bytes = 0
        if kind == "a":
            nr_bytes = self._alloc(cpu, cache, number, size)
        elif kind == "f":
            nr_bytes = self._free(cpu, number)
        elif kind == "s":
            for s in self._caches:
                self._kernel.shrink(s)
        self.usage.add(
            requested=self._requested,
            allocated=self._allocated,
            pages=self._kernel.nr_pages - self._pages_before,
            pages_in_use=self._in_use,
        )
        self.object_bytes.append(nr_bytes)

    def _alloc(self, cpu: int, cache: int, number: int, size: int) -> int:
        s = None if cache == _KMALLOC else self._caches[cache]
        thing = self._kernel.alloc(s, cpu, size)
        if not thing:
            raise KernelOopsError("no memory")
        it = _Object(s, thing, size, *self._kernel.place_of(s, thing, size))
        self._held[number] = it
        self._requested += size
        self._allocated += it.nr_bytes
        nr_before = self._nr_objects.get(it.slab, 0)
        self._nr_objects[it.slab] = nr_before + 1
        self._in_use += 0 if nr_before else it.nr_pages
        return it.nr_bytes

    def _free(self, cpu: int, number: int) -> int:
        it = self._held.pop(number)
        self._kernel.free(it.cache, cpu, it.thing)
        self._requested -= it.size
        self._allocated -= it.nr_bytes
        self._nr_objects[it.slab] -= 1
        self._in_use -= 0 if self._nr_objects[it.slab] else it.nr_pages
        return it.nr_bytes


def _compare(kind: str, content: dict[str, Any], result: CaseResult) -> None:
    """Run the requests on one allocator and compare all that is determined."""
    recorded, requests = content[kind], content["requests"]
    kernel = LoneKernel(
        kind,
        nr_frames=nr_frames_of(content),
        nr_cpus=content["boot"]["cpus"],
        nr_cpu_ids=content["possible_cpus"],
    )
    caches = []
    for nth, (asked, params) in enumerate(
        zip(content["caches_asked"], recorded["caches"], strict=True)
    ):
        s = kernel.create(cache_request(f"lab{nth}", *asked))
        if s is None:
            result.compare(f"{kind}.caches[{nth}]", asked, None)
            return
        own = kernel.params_of(s)
        for name, value in params.items():
            result.compare(f"{kind}.caches[{nth}].{name}", value, own.get(name))
        caches.append(s)
    replay = _Replay(kernel, caches)
    listed = _undetermined(kind, kernel, caches, requests)
    usage = replay.usage
    found: dict[str, Sequence[int]] = {
        "pages": usage.pages,
        "pages_in_use": usage.pages_in_use,
        "object_bytes": replay.object_bytes,
    }
    known = [name for name in _EACH if name not in listed]
    for nth, request in enumerate(requests):
        try:
            replay.do(*request)
        except KernelOopsError as oops:
            result.compare(f"{kind}.requests[{nth}]", request, str(oops))
            return
        result.listed += len(_EACH) - len(known)
        values = tuple(recorded[name][nth] for name in known)
        ours = tuple(found[name][nth] for name in known)
        if not result.compare(f"{kind}, {', '.join(known)} [{nth}]", values, ours):
            return
    if requests:
        _compare_sums(kind, content, usage, listed, result)


def _undetermined(
    kind: str, kernel: LoneKernel, caches: Iterable[Any], requests: Iterable[Sequence[Any]]
) -> frozenset[str]:
    """Return which figures depend on what kmalloc's caches had before."""
    if kind == "slob":
        return frozenset()
    if any(cache == _KMALLOC for what, _, cache, *_ in requests if what in "af"):
        return _ON_PAGES | _ON_PAGES_IN_USE
    return _ON_PAGES if any(map(kernel.takes_of_kmalloc, caches)) else frozenset()


def _compare_sums(
    kind: str,
    content: dict[str, Any],
    usage: Usage,
    listed: frozenset[str],
    result: CaseResult,
) -> None:
    """Compare the samples and the sums of all requests."""
    first = 2 + ALLOCATORS.index(kind) * len(SAMPLE)
    for nth, row in enumerate(content["samples"]):
        at = (nth + 1) * _SAMPLED - 1
        place = f"samples[{nth}]"
        result.compare(f"{place}.requested_bytes", row[1], usage.requested[at])
        ours = zip(SAMPLE, row[first:], usage.sample(at), strict=False)
        for name, value, own in ours:
            _compare_one(f"{place}.{kind}_{name}", name, value, own, listed, result)
    summary = usage.summary()
    for name in SUMMARY:
        value = content[kind]["summary"][name]
        _compare_one(f"{kind}.summary.{name}", name, value, summary[name], listed, result)


def _compare_one(
    place: str,
    name: str,
    recorded: object,
    ours: object,
    listed: frozenset[str],
    result: CaseResult,
) -> None:
    if name in listed:
        result.listed += 1
    else:
        result.compare(place, recorded, ours)
