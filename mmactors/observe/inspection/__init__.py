"""A machine looked at from outside: frozen values, read when they are asked for.

`Machine.inspect()` gives an `Inspection`. The map: `inspection` is where one begins; `process`
(areas, page-table entries), `page`, `zone` (free lists, per-CPU lists, counters), `cpu` (TLBs),
`cache` (slabs, objects) and `file` are what can be seen; `moment` says when a look comes too late;
`table` is for notebooks.
"""

from mmactors.observe.inspection.area import VmapArea
from mmactors.observe.inspection.cache import CacheInspection
from mmactors.observe.inspection.cpu import CpuInspection, LoadedAsid, TlbEntry
from mmactors.observe.inspection.entry import Entry
from mmactors.observe.inspection.file import File
from mmactors.observe.inspection.inspection import ActorView, Inspection, inspect_kernel
from mmactors.observe.inspection.page import Page
from mmactors.observe.inspection.process import Area, Memory, OpenFile, ProcessInspection
from mmactors.observe.inspection.table import Table
from mmactors.observe.inspection.zone import (
    Counter,
    FreeList,
    NodeInspection,
    Pcp,
    PcpList,
    ZoneInspection,
)

__all__ = [
    "ActorView",
    "Area",
    "CacheInspection",
    "Counter",
    "CpuInspection",
    "Entry",
    "File",
    "FreeList",
    "Inspection",
    "LoadedAsid",
    "Memory",
    "NodeInspection",
    "OpenFile",
    "Page",
    "Pcp",
    "PcpList",
    "ProcessInspection",
    "Table",
    "TlbEntry",
    "VmapArea",
    "ZoneInspection",
    "inspect_kernel",
]
