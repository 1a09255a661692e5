"""Who injects the faults of a scenario: answers what paths ask of the engine (engine/chance.py).

What it says depends on the scenario, the seed and the order of the questions alone, so that a
schedule that is replayed has the same faults.
"""

from collections.abc import Callable, Container, Mapping
from typing import Final

from mmactors.engine.actor import Actor
from mmactors.engine.baton import Engine
from mmactors.engine.chance import (
    ALLOCATION_FAILS,
    FAULTS,
    IPI_IS_LATE,
    WAKE_UP_IS_SPURIOUS,
    SentIpi,
    Sleepers,
)
from mmactors.engine.probe import EngineProbe
from mmactors.events import FaultInjection
from mmactors.mm.page_alloc.alloc_site import PageAllocation
from mmactors.mm.page_alloc.gfp import GFP_DIRECT_RECLAIM, GFP_HIGHMEM, GFP_NOFAIL
from mmactors.mm.slab.alloc_site import SlabAllocation
from mmactors.scenario.faults.config import FOR_EVER, FailPageAlloc, FailSlab, FaultsConfig
from mmactors.scenario.faults.fault_attr import FaultAttr
from mmactors.scenario.faults.spurious import SpuriousWakeUps


class FaultInjector:
    """Decides on all faults of one machine."""

    def __init__(
        self,
        config: FaultsConfig,
        *,
        seed: int,
        engine: Engine,
        probe: EngineProbe,
        make_it_fail: Callable[[], Container[int | None]],
    ) -> None:
        """`make_it_fail`: gives the pids that task_filter lets through."""
        seed = seed if config.seed is None else config.seed
        self._config: Final = config
        self._engine: Final = engine
        self._probe: Final = probe
        self._make_it_fail: Final = make_it_fail
        self._attrs: Final = {
            fault: FaultAttr(fault, getattr(config, fault), seed=seed) for fault in FAULTS
        }
        wants: dict[str, int] = {}
        for fault, attr in self._attrs.items():
            if attr.config.is_on:
                others = wants.get(FAULTS[fault], 0)
                is_endless = FOR_EVER in (others, attr.times)
                wants[FAULTS[fault]] = FOR_EVER if is_endless else others + attr.times
        self.wants: Final[Mapping[str, int]] = wants
        """What may happen, by name."""
        self._spurious: Final = (
            SpuriousWakeUps(engine) if WAKE_UP_IS_SPURIOUS in self.wants else None
        )

    def happens(self, what: str, about: object) -> bool:
        """Return whether `what` happens: an allocation that fails, or nothing."""
        if what not in self.wants:
            return False
        assert what == ALLOCATION_FAILS, f"nobody decides whether {what}"
        if isinstance(about, SlabAllocation):
            return self._object_fails(about)
        assert isinstance(about, PageAllocation), f"an allocation, not {about}"
        attr = self._attrs["fail_page_alloc"]
        if not attr.config.is_on or _is_ignored(self._config.fail_page_alloc, about):
            return False
        if not self._should_fail(attr, 1 << about.order, about.site):
            return False
        self._inject(attr, about.site, order=about.order, gfp_flags=about.gfp)
        return True

    def _object_fails(self, asked: SlabAllocation) -> bool:
        attr = self._attrs["failslab"]
        if not attr.config.is_on or _is_object_ignored(self._config.failslab, asked):
            return False
        if not self._should_fail(attr, asked.object_size, asked.site):
            return False
        self._inject(attr, asked.site, cache=asked.cache, gfp_flags=asked.gfp)
        return True

    def late_ns(self, what: str, about: object) -> int:
        """Return by how much an IPI to a CPU comes later, in ns."""
        assert what == IPI_IS_LATE, f"nobody says how late it is that {what}"
        assert isinstance(about, SentIpi), f"an interrupt between CPUs, not {about}"
        attr = self._attrs["late_ipi"]
        if what not in self.wants or not self._should_fail(attr, 1, about.vector):
            return 0
        late_ns = attr.draw_ns(self._config.late_ipi.delay)
        self._inject(attr, about.vector, late_ns=late_ns, target_cpu=about.target)
        return late_ns

    def sleeping(self, queue: Sleepers) -> None:
        """Wake the running actor later on for nothing, if it still sleeps then."""
        attr = self._attrs["spurious_wake_up"]
        if self._spurious is None or not self._should_fail(attr, 1, queue.name):
            return
        late_ns = attr.draw_ns(self._config.spurious_wake_up.delay)
        self._inject(attr, queue.name, late_ns=late_ns)
        sleeper = self._engine.current
        self._spurious.add(queue, sleeper, at_ns=sleeper.clock.now + late_ns)

    def counts(self) -> Mapping[str, int]:
        """Return how often each fault was injected."""
        return {attr.name: attr.nr_injected for attr in self._attrs.values()}

    def _should_fail(self, attr: FaultAttr, size: int, site: str) -> bool:
        actor = self._engine.current
        filtered: Container[int | None] = ()
        if attr.config.task_filter:
            filtered = self._make_it_fail()
        return attr.should_fail(actor, size, (site, _call_of(actor)), filtered=filtered)

    def _inject(
        self,
        attr: FaultAttr,
        site: str,
        *,
        order: int | None = None,
        gfp_flags: int | None = None,
        cache: str | None = None,
        late_ns: int | None = None,
        target_cpu: int | None = None,
    ) -> None:
        if self._probe.on:
            self._probe.emit(
                FaultInjection(
                    name_=attr.name,
                    interval=attr.config.interval,
                    probability=attr.config.probability,
                    space=attr.space,
                    times=attr.times,
                    site=site,
                    order=order,
                    gfp_flags=gfp_flags,
                    cache=cache,
                    late_ns=late_ns,
                    target_cpu=target_cpu,
                )
            )
        attr.inject()


def _is_ignored(config: FailPageAlloc, asked: PageAllocation) -> bool:
    """Say whether an allocation never fails (__should_fail_alloc_page)."""
    return (
        asked.order < config.min_order
        or asked.gfp & GFP_NOFAIL != 0
        or (config.ignore_gfp_highmem and asked.gfp & GFP_HIGHMEM != 0)
        or (config.ignore_gfp_wait and asked.gfp & GFP_DIRECT_RECLAIM != 0)
    )


def _is_object_ignored(config: FailSlab, asked: SlabAllocation) -> bool:
    """Say whether an object never fails (__should_failslab)."""
    is_other = len(config.cache_filter) > 0 and asked.cache not in config.cache_filter
    return is_other or (config.ignore_gfp_wait and asked.gfp & GFP_DIRECT_RECLAIM != 0)


def _call_of(actor: Actor) -> str:
    """Return the verb of the operation that a thread is doing; empty: it does none."""
    return str(actor.doing).partition(" ")[0] if actor.doing is not None else ""
