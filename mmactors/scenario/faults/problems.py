"""What is wrong in the faults of a scenario although each value by itself is legal."""

from collections.abc import Iterator, Sequence

from mmactors.errors import Problem
from mmactors.mm.slab.kernel_caches import KERNEL_CACHES
from mmactors.mm.slab.slab_common import boot_requests, kmalloc_requests
from mmactors.scenario.document import Node
from mmactors.scenario.faults.config import FailPageAlloc, FailSlab
from mmactors.scenario.process_meaning import place_of
from mmactors.scenario.structure import did_you_mean
from mmactors.workload.operation.all import By, KmemCacheCreate, Operation

_LEGAL = (
    "expected an end: times, a probability below 100, an interval of 4 or more, or a `require` "
    "without what page faults do"
)


def page_problems(config: FailPageAlloc | None, root: Node) -> Iterator[Problem]:
    """Yield the problems of fail_page_alloc; None: it is not legal by itself."""
    if config is not None and config.never_ends:
        yield _endless("fail_page_alloc", root)


def object_problems(
    config: FailSlab | None,
    programs: Sequence[Sequence[Operation | None] | None],
    root: Node,
    slab: str,
) -> Iterator[Problem]:
    """Yield the problems of failslab with an allocator; None is what is not legal by itself."""
    if config is None:
        return
    if slab != "slub":
        yield from _without_slub(config, root, slab)
        return
    if config.never_ends:
        yield _endless("failslab", root)
    if not config.cache_filter or any(each is None or None in each for each in programs):
        return
    operations = [step for program in programs for step in program or ()]
    plain = [step.operation if isinstance(step, By) else step for step in operations]
    made = [each.name for each in plain if isinstance(each, KmemCacheCreate)]
    classes = [request.name for _, _, request in kmalloc_requests()]
    kernels = [request.name for request in (*boot_requests(1), *KERNEL_CACHES)]
    for index, name in enumerate(config.cache_filter):
        if name not in (*made, *classes, *kernels):
            path = f"faults.failslab.cache_filter[{index}]"
            yield Problem(
                place=place_of(root, path),
                found=f"{path} is {name!r}, which is no cache",
                legal=f"expected one that a program creates, one of kmalloc such as {classes[3]}, "
                f"or one of {', '.join(kernels)}",
                advice=did_you_mean(
                    name, [*made, *classes, *kernels], otherwise="write one of them"
                ),
            )


def _without_slub(config: FailSlab, root: Node, slab: str) -> Iterator[Problem]:
    """Yield what only other allocators have: SLOB asks nobody, SLAB's caches cannot be chosen."""
    if slab == "slob" and config.is_on:
        yield Problem(
            place=place_of(root, "faults.failslab"),
            found="faults.failslab makes objects fail, and kernel.slab is slob, which asks nobody",
            legal="expected an allocator that asks (CONFIG_FAILSLAB): slub or slab",
            advice="write `kernel: {slab: slub}`, or make pages fail: faults.fail_page_alloc",
        )
    elif slab == "slab" and config.never_ends:
        yield _endless("failslab", root)
    elif slab == "slab" and config.cache_filter:
        path = "faults.failslab.cache_filter"
        yield Problem(
            place=place_of(root, path),
            found=f"{path} chooses caches, and kernel.slab is slab, whose caches have no such file",
            legal="expected no filter: /sys/kernel/slab/NAME/failslab is SLUB's",
            advice="leave it out, or write `kernel: {slab: slub}`",
        )


def _endless(fault: str, root: Node) -> Problem:
    return Problem(
        place=place_of(root, f"faults.{fault}"),
        found=f"faults.{fault} makes page faults fail for ever: Linux tries them again",
        legal=_LEGAL,
        advice="write `times: 1`, or `interval: 10`",
    )
