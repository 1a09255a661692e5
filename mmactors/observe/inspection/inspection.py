"""A machine at one moment, for notebooks, tests and whoever wants to look inside.

    seen = machine.inspect()
    seen.process(1).areas
    seen.zone("Normal").free_list(0, "Movable")

Nothing is read before it is asked for; what was read is frozen, and stays when the machine goes
on (moment.py). Looking changes nothing in the machine.
"""

from collections.abc import Mapping
from functools import cached_property
from inspect import CORO_CLOSED, getcoroutinestate
from types import MappingProxyType

import numpy as np
from attrs import field, frozen

from mmactors.actors.program.process import Process
from mmactors.actors.state.kernel import Kernel
from mmactors.engine.actor import Actor
from mmactors.engine.lock.lock_stat import LockClassStatistics
from mmactors.observe.inspection.area import VmapArea, inspect_areas
from mmactors.observe.inspection.cache import CacheInspection, inspect_caches
from mmactors.observe.inspection.cpu import CpuInspection, inspect_cpu
from mmactors.observe.inspection.file import File, files_of
from mmactors.observe.inspection.moment import Moment
from mmactors.observe.inspection.page import Page, page_of
from mmactors.observe.inspection.process import ProcessInspection, inspect_process
from mmactors.observe.inspection.table import Table, html_table
from mmactors.observe.inspection.zone import (
    NodeInspection,
    Pcp,
    ZoneInspection,
    inspect_pcps,
    inspect_zone,
)
from mmactors.observe.proc.of_memory import vmstat_lines
from mmactors.units import format_ns


@frozen(kw_only=True)
class ActorView:
    """One actor: who it is, and what it waits for."""

    name: str
    cpu: int | None
    """None: a service with a clock of its own."""
    pid: int | None
    now_ns: int
    label: str
    """What it does when it gets the baton next."""
    ready_ns: int | None
    """When it could go on; None: somebody else has to let it."""
    waits_for: str | None
    has_ended: bool
    is_closed: bool
    """Nothing of its coroutine is left."""


@frozen(eq=False, kw_only=True)
class Inspection:
    """A machine at one moment. Raises UserError for what is first asked for after that moment."""

    _kernel: Kernel = field(repr=False)
    _processes: tuple[Process, ...] = field(repr=False)
    _moment: Moment = field(repr=False)

    @property
    def now_ns(self) -> int:
        """Virtual time of the moment."""
        return self._moment.now_ns

    @property
    def has_passed(self) -> bool:
        """Whether the machine has moved since: only what was looked at is still known."""
        return self._moment.has_passed

    @cached_property
    def processes(self) -> Table[ProcessInspection]:
        """All processes that ever were, in the order in which they began."""
        return self._moment.look(
            lambda: Table(inspect_process(self._moment, each) for each in self._processes)
        )

    @cached_property
    def cpus(self) -> Table[CpuInspection]:
        """By CPU."""
        return self._moment.look(
            lambda: Table(inspect_cpu(self._moment, self._kernel, cpu) for cpu in self._kernel.cpus)
        )

    @cached_property
    def zones(self) -> Table[ZoneInspection]:
        """All zones, those of the first node first."""
        kernel = self._kernel
        return self._moment.look(
            lambda: Table(
                inspect_zone(self._moment, zone, kernel.vmstat) for zone in kernel.allocator.zones
            )
        )

    @cached_property
    def nodes(self) -> Table[NodeInspection]:
        """By node."""
        kernel = self._kernel
        return Table(
            NodeInspection(
                moment=self._moment,
                vmstat=kernel.vmstat,
                number=node,
                cpus=tuple(cpu for cpu, its in enumerate(kernel.cpu_node) if its == node),
            )
            for node in range(kernel.vmstat.nr_nodes)
        )

    @cached_property
    def boot_pageset(self) -> Table[Pcp]:
        """By CPU: the lists that zones share which have none of their own yet."""
        kernel = self._kernel
        return self._moment.look(lambda: inspect_pcps(kernel.pages, kernel.allocator.boot_pageset))

    @cached_property
    def counters(self) -> Mapping[str, int]:
        """/proc/vmstat by name."""
        return self._moment.look(lambda: MappingProxyType(dict(vmstat_lines(self._kernel))))

    @cached_property
    def locks(self) -> Mapping[str, LockClassStatistics]:
        """What /proc/lock_stat says, by class of lock."""
        return self._moment.look(
            lambda: MappingProxyType({one.name: one for one in self._kernel.locks.statistics()})
        )

    @cached_property
    def files(self) -> Mapping[str, File]:
        """All files that have a name, by path."""
        return self._moment.look(lambda: MappingProxyType(files_of(self._kernel.file_system)))

    @cached_property
    def caches(self) -> Table[CacheInspection]:
        """All caches of objects, oldest first."""
        return self._moment.look(lambda: inspect_caches(self._kernel.slab))

    @cached_property
    def areas(self) -> Table[VmapArea]:
        """The kernel's own mappings, those that were freed and not purged at the end."""
        return self._moment.look(lambda: inspect_areas(self._kernel.vmalloc_space))

    @cached_property
    def actors(self) -> Table[ActorView]:
        """All actors: CPUs when they are idle, threads, services."""
        return self._moment.look(lambda: Table(map(_actor, self._kernel.engine.actors)))

    @cached_property
    def mapped_pfns(self) -> tuple[int, ...]:
        """The pages that page-table entries of processes map."""
        pages = self._kernel.pages
        return self._moment.look(lambda: tuple(np.flatnonzero(pages.mapcount).tolist()))

    @cached_property
    def nr_page_tables(self) -> int:
        """Frames that hold page tables, the kernel's own among them."""
        return self._moment.look(lambda: self._kernel.memory.nr_tables)

    def process(self, pid: int) -> ProcessInspection:
        """Return the process of a pid; raise KeyError if there was none."""
        for process in self.processes:
            if process.pid == pid:
                return process
        raise KeyError(pid)

    def cache(self, name: str) -> CacheInspection:
        """Return a cache by its name, or that of an alias; raise KeyError if there is none."""
        for cache in reversed(self.caches):
            if name == cache.name or name in cache.aliases:
                return cache
        raise KeyError(name)

    def zone(self, name: str, *, node: int = 0) -> ZoneInspection:
        """Return a zone of a node, such as `Normal`; raise KeyError if the machine has none."""
        for zone in self.zones:
            if (zone.name, zone.node) == (name, node):
                return zone
        raise KeyError(name)

    def zone_of(self, pfn: int) -> ZoneInspection:
        """Return the zone of a page (page_zone)."""
        number = self.page(pfn).zone
        assert number is not None, f"frame {pfn:#x} has no struct page"
        return self.zones[number]

    def page(self, pfn: int) -> Page:
        """Return the struct page of a frame; raise IndexError if the machine has no such frame."""
        return self._moment.look(lambda: page_of(self._kernel.pages, pfn))

    def _repr_html_(self) -> str:
        rows = [
            (str(each.pid), each.comm, str(each.min_flt), format_ns(each.user_ns))
            for each in self.processes
        ]
        table = html_table(("pid", "comm", "min_flt", "user"), rows)
        return f"<p>a machine at t={format_ns(self.now_ns)}</p>{table}"


def inspect_kernel(kernel: Kernel, processes: tuple[Process, ...]) -> Inspection:
    """Return a machine's inspection at this moment; cheap, since nothing is read yet."""
    return Inspection(kernel=kernel, processes=processes, moment=Moment(kernel.engine))


def _actor(actor: Actor) -> ActorView:
    return ActorView(
        name=actor.name,
        cpu=None if actor.cpu is None else actor.cpu.index,
        pid=actor.pid,
        now_ns=actor.clock.now,
        label=actor.label,
        ready_ns=actor.ready_at,
        waits_for=None if actor.waits_for is None else actor.waits_for.describe(),
        has_ended=actor.finished,
        is_closed=getcoroutinestate(actor.coro) == CORO_CLOSED,
    )
