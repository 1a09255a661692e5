"""What several actors touch as guard mode has it: each access is held against the current step."""

from copy import copy

from mmactors.actors.state.kernel import Kernel
from mmactors.arch.page import PageColumns
from mmactors.engine.baton import Engine
from mmactors.engine.guard import Column, GuardedColumn, GuardedWords
from mmactors.label import PAGES, PCP, VMSTAT


def guard_allocator(kernel: Kernel) -> None:
    """Hold what several CPUs touch of the allocator against what steps declare."""
    guard = kernel.engine.guard
    allocator = kernel.allocator
    for zone in allocator.zones:
        zone.stat_view = GuardedWords(zone.stat_view, VMSTAT, zone.number, guard)
        for cpu, pcp in enumerate(zone.own_pcps):
            pcp.view = GuardedWords(pcp.view, PCP, cpu, guard)
    for cpu, pcp in enumerate(allocator.boot_pageset):
        pcp.view = GuardedWords(pcp.view, PCP, cpu, guard)


def shared(engine: Engine, column: Column, name: str) -> Column:
    """Return a column that several actors touch; in guard mode one that checks each access."""
    return GuardedColumn(column, name, engine.guard) if engine.guard.on else column


def shared_pages(engine: Engine, pages: PageColumns) -> PageColumns:
    """Return the struct pages as several actors reach them: guarded in guard mode."""
    if not engine.guard.on:
        return pages
    guarded = copy(pages)
    for name in ("flags", "refcount", "mapcount", "mapping", "index"):
        column = GuardedColumn(getattr(pages, name).data, PAGES, engine.guard)
        setattr(guarded, f"{name}_view", column)
    return guarded
