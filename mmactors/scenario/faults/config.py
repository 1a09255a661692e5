"""Options of fault injection, named as in /sys/kernel/debug/fail_page_alloc and failslab (6.1).

Defaults are the kernel's (FAULT_ATTR_INITIALIZER, include/linux/fault-inject.h, fail_page_alloc,
mm/page_alloc.c, and failslab, mm/failslab.c). Left out: verbose, and stack traces by address;
functions and operations have names here.
"""

from typing import Final

from attrs import frozen

from mmactors.mm.page_alloc.alloc_site import (
    ALLOC_SITES,
    ALLOC_SLAB_PAGE,
    PAGE_FAULT_SITES,
    TABLE_SITES,
)
from mmactors.mm.slab.alloc_site import ANON_VMA_PREPARE, SLAB_SITES, XAS_NOMEM
from mmactors.option import option
from mmactors.workload.operation import all as op

FOR_EVER: Final = -1
_SAFE_INTERVAL: Final = 4
"""A fault that is tried again makes up to three allocations before it has got anywhere."""
_OF_FAULTS: Final = frozenset({"anon_vma", "anon_vma_chain", "radix_tree_node"})
"""Caches of which a page fault needs objects."""
_CALLS: Final = tuple(op.OPERATIONS)
_FAULTING: Final = (
    op.Touch,
    op.Generate,
    op.RunTrace,
    op.RunHeapTrace,
    op.Churn,
    op.Faultloop,
    op.Fragment,
)


@frozen(kw_only=True)
class FaultAttrConfig:
    """When a fault is injected (struct fault_attr)."""

    probability: int = option(
        0,
        doc="How likely it is where nothing below speaks against it, in percent; 0: never.",
        minimum=0,
        maximum=100,
    )
    interval: int = option(
        1, doc="Only every so manieth time is one at all.", minimum=1, maximum=1 << 31
    )
    times: int = option(
        1,
        doc="How often it happens at most; -1: no limit.",
        minimum=FOR_EVER,
        maximum=(1 << 31) - 1,
    )
    space: int = option(
        0,
        doc="Room for what passes first: what asks for less than is left (pages; 1 where there "
        "are none) takes that off and passes.",
        minimum=0,
        maximum=(1 << 31) - 1,
    )
    task_filter: bool = option(
        False, doc="Only what processes do with `make_it_fail`, and their children; no interrupts."
    )
    require: tuple[str, ...] = option(
        (),
        doc="Only what these operations of a program do; empty: whatever. As in 6.1 it is looked "
        "at last, when interval and probability have said yes.",
        choices=_CALLS,
    )
    reject: tuple[str, ...] = option(
        (), doc="Nothing that these operations do; asked as `require`.", choices=_CALLS
    )

    @property
    def is_on(self) -> bool:
        """Whether it can happen at all."""
        return self.probability > 0 and self.times != 0


@frozen(kw_only=True)
class FailPageAlloc(FaultAttrConfig):
    """Allocations of pages that fail (fail_page_alloc), before any zone is looked at."""

    require: tuple[str, ...] = option(
        (),
        doc="Only allocations of these functions, or that these operations of a program make; "
        "empty: whatever. As in 6.1 it is looked at last, when interval and probability have "
        "said yes.",
        choices=(*ALLOC_SITES, *_CALLS),
    )
    reject: tuple[str, ...] = option(
        (),
        doc="No allocations of these functions or operations; asked as `require`.",
        choices=(*ALLOC_SITES, *_CALLS),
    )
    ignore_gfp_wait: bool = option(
        True, doc="Let allocations pass that may wait for reclaim: nearly all for programs."
    )
    ignore_gfp_highmem: bool = option(
        True, doc="Let allocations of user pages pass (GFP_HIGHUSER...)."
    )
    min_order: int = option(
        1,
        doc="Let smaller blocks pass; 0: single pages fail, too, which nearly all are.",
        minimum=0,
        maximum=10,
    )

    @property
    def never_ends(self) -> bool:
        """Whether a page fault may be tried again for ever: each time an allocation fails."""
        sites = {*PAGE_FAULT_SITES, *TABLE_SITES, ALLOC_SLAB_PAGE, *(op.verb for op in _FAULTING)}
        if self.ignore_gfp_highmem:
            sites -= set(PAGE_FAULT_SITES)
        return (
            self.probability == 100
            and self.times == FOR_EVER
            and self.interval < _SAFE_INTERVAL
            and self.min_order == 0
            and not self.ignore_gfp_wait
            and (not self.require or not sites.isdisjoint(self.require))
        )


@frozen(kw_only=True)
class FailSlab(FaultAttrConfig):
    """Allocations of objects that fail (failslab), before anything is taken."""

    space: int = option(
        0,
        doc="Room for what passes first: what asks for less than is left takes it off and passes.",
        unit="bytes",
        minimum=0,
        maximum=(1 << 31) - 1,
    )
    require: tuple[str, ...] = option(
        (),
        doc="Only allocations of these functions, or that these operations of a program make; "
        "empty: whatever. As in 6.1 it is looked at last, when interval and probability have "
        "said yes.",
        choices=(*SLAB_SITES, *_CALLS),
    )
    reject: tuple[str, ...] = option(
        (),
        doc="No allocations of these functions or operations; asked as `require`.",
        choices=(*SLAB_SITES, *_CALLS),
    )
    ignore_gfp_wait: bool = option(
        True, doc="Let allocations pass that may wait for reclaim: nearly all (GFP_KERNEL)."
    )
    cache_filter: tuple[str, ...] = option(
        (),
        doc="Only objects of these caches; empty: of all. In 6.1 these have "
        "/sys/kernel/slab/NAME/failslab set, which no alias may have, and cache-filter is on.",
    )

    @property
    def never_ends(self) -> bool:
        """Whether a page fault may be tried again for ever: each time an object is refused."""
        sites = {ANON_VMA_PREPARE, XAS_NOMEM} | {each.verb for each in _FAULTING}
        return (
            self.probability == 100
            and self.times == FOR_EVER
            and self.interval < _SAFE_INTERVAL
            and not self.ignore_gfp_wait
            and (not self.require or not sites.isdisjoint(self.require))
            and (not self.cache_filter or not _OF_FAULTS.isdisjoint(self.cache_filter))
        )


@frozen(kw_only=True)
class LateIpi(FaultAttrConfig):
    """Interrupts between CPUs that come later than they could."""

    delay: int = option(
        100_000,
        doc="Each is later by a time that the seed draws, up to this.",
        unit="ns",
        minimum=1,
        maximum=1 << 40,
    )


@frozen(kw_only=True)
class SpuriousWakeUp(FaultAttrConfig):
    """Sleepers of a wait queue that wake though nobody woke them."""

    delay: int = option(
        100_000,
        doc="Who still sleeps after a time that the seed draws, up to this, wakes then.",
        unit="ns",
        minimum=1,
        maximum=1 << 40,
    )


@frozen(kw_only=True)
class FaultsConfig:
    """What goes wrong on purpose; docs/faults.md. A search takes no notice of it."""

    seed: int | None = option(
        None, doc="Of the draws of all faults; empty: that of the engine.", minimum=0
    )
    fail_page_alloc: FailPageAlloc = option(
        factory=FailPageAlloc, doc="Allocations of pages that fail."
    )
    failslab: FailSlab = option(factory=FailSlab, doc="Allocations of objects that fail.")
    late_ipi: LateIpi = option(factory=LateIpi, doc="Interrupts between CPUs that come late.")
    spurious_wake_up: SpuriousWakeUp = option(
        factory=SpuriousWakeUp, doc="Sleepers that wake though nobody woke them."
    )
