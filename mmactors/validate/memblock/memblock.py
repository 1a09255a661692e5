"""Recorded boots: the same firmware and arguments, booted by the model.

Compared is every call in its order, both lists wherever they were dumped, which addresses are in
which zone, each zone's pages and limits after boot, and what the kernel printed about memory.
Where in its caller a call stands depends on the compiler: that is listed, not compared.
"""

import re
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final

from mmactors.mm.boot.boot import boot_kernel
from mmactors.mm.boot.boot_log import (
    boot_log,
    memory_line,
    percpu_lines,
    region_text,
    zone_range_rows,
)
from mmactors.mm.boot.iomem import iomem
from mmactors.mm.boot.memblock import MemblockDump, OutOfBootMemoryError
from mmactors.mm.boot.zone_init import BootedMemory, zone_limits
from mmactors.mm.page_alloc.layout import ZoneLimits, ZoneSettings
from mmactors.mm.page_alloc.watermark import MAX_NR_ZONES, ZONE_NAMES
from mmactors.validate.memblock.memblock_recording import BootRecording, read_recording
from mmactors.validate.result import CaseResult

_NOTHING: Final = "nothing"
_SUFFIX = re.compile(r"(\.(?:constprop|isra|part|cold)(?:\.\d+)?)*(?:\+0x[0-9a-f]+/0x[0-9a-f]+)?$")
_BY_DISTANCE: Final = "Fallback order for Node "
_KINDS: Final = (
    # What is compared of the log: lines by how they begin. Others are about other things.
    "user: [mem",
    " memory size = ",
    "NODE_DATA(",
    "  node ",
    "Initmem setup node ",
    "On node ",
    "pcpu-alloc: ",
    _BY_DISTANCE,
    "Built ",
    "Policy zone: ",
)
_HASH: Final = re.compile(r"(?:Dentry|Inode)-?.*\blinear\)")


def validate_memblock(path: Path) -> Iterator[CaseResult]:
    """Boot one recording; raise UserError for a file that is none."""
    recording = read_recording(path)
    name = path.name.removesuffix(".gz").removesuffix(".json")
    result = CaseResult(topic="memblock", case=name, path=str(path))
    try:
        booted = boot_kernel(recording.firmware, recording.command_line)
    except OutOfBootMemoryError as error:
        result.compare("the boot", "a kernel that runs", f"a kernel that finds {error}")
    else:
        _compare(result, recording, booted)
    yield result


def _compare(result: CaseResult, recording: BootRecording, booted: BootedMemory) -> None:
    content = recording.content
    early = booted.early
    is_printed = early.arguments.is_memblock_debug
    ours = list(map(str, early.memblock.calls[early.debug_from :])) if is_printed else []
    recorded = [_recorded_texts(call) for call in content["calls"]]
    result.listed += len(recorded)
    _compare_rows(result, "calls", recorded, ours)
    theirs = [_recorded_dump_rows(dump) for dump in content["dumps"]]
    our_dumps = early.memblock.dumps if is_printed else []
    dumps = [_dump_rows(dump, early.debug_from) for dump in our_dumps]
    nothing: dict[str, list[str]] = {}
    for nth, (recorded_dump, our_dump) in enumerate(zip_longest(theirs, dumps, fillvalue=nothing)):
        for key in ("after_calls", "memory", "reserved"):
            place = f"dumps[{nth}].{key}"
            _compare_rows(result, place, recorded_dump.get(key, []), our_dump.get(key, []))
    for (name, range_), ours_of_zone in zip_longest(
        content["zone_ranges"], zone_range_rows(booted), fillvalue=(_NOTHING, _NOTHING)
    ):
        result.compare(f"zone_ranges.{name}", (name, range_), ours_of_zone)
    _compare_zones(result, content, booted)
    _compare_log(result, content, booted)


def _compare_rows(result: CaseResult, place: str, recorded: list[str], ours: list[str]) -> None:
    for nth, pair in enumerate(zip_longest(recorded, ours, fillvalue=_NOTHING)):
        result.compare(f"{place}[{nth}]", *pair)


def _recorded_texts(call: list[Any]) -> str:
    """Return a recorded call as the model writes it; the caller without where in it."""
    caller = _SUFFIX.sub("", call[-1])
    if len(call) == 4:
        return f"{call[0]}: [0x{call[1]}-0x{call[2]}] {caller}"
    function, nr_bytes, align, node, start, end, _ = call
    nid = "" if node is None else f" nid={node}"
    return (
        f"{function}: {nr_bytes} bytes align=0x{align}{nid} from=0x{start} max_addr=0x{end} "
        f"{caller}"
    )


def _dump_rows(dump: MemblockDump, debug_from: int) -> dict[str, list[str]]:
    return {
        "after_calls": [str(dump.after_calls - debug_from)],
        **{
            name: [f"[{r.start:016x}-{r.end - 1:016x}] {region_text(r)}" for r in regions]
            for name, regions in (("memory", dump.memory), ("reserved", dump.reserved))
        },
    }


def _recorded_dump_rows(dump: dict[str, Any]) -> dict[str, list[str]]:
    return {
        "after_calls": [str(dump["after_calls"])],
        **{
            name: [f"[{start}-{end}] {text}" for start, end, text in dump[name]]
            for name in ("memory", "reserved")
        },
    }


def _compare_log(result: CaseResult, content: dict[str, Any], booted: BootedMemory) -> None:
    """Compare lines kind by kind; a kind that the recording has no line of is not in it."""
    if "memory_line" in content:
        result.compare("memory_line", content["memory_line"], memory_line(booted))
    if "percpu_line" in content:
        result.compare("percpu_line", content["percpu_line"], next(percpu_lines(booted)))
    if "iomem" in content:
        _compare_rows(result, "iomem", content["iomem"].splitlines(), iomem(booted).splitlines())
    ours = boot_log(booted)
    for kind in _KINDS:
        early = booted.early
        if kind == _BY_DISTANCE and (early.firmware.has_distances or early.nodes.physical_of):
            continue  # it is not known how far nodes are
        recorded = [line for line in content["log"] if line.startswith(kind)]
        if recorded:
            of_kind = [line for line in ours if line.startswith(kind)]
            _compare_rows(result, f"log, {kind.strip()}", recorded, of_kind)
    recorded = [line for line in content["log"] if _HASH.match(line)]
    if recorded:
        of_kind = [line for line in ours if _HASH.match(line)]
        _compare_rows(result, "log, hash tables", recorded, of_kind)


def _compare_zones(result: CaseResult, content: dict[str, Any], booted: BootedMemory) -> None:
    """Compare the lines of each populated zone in zoneinfo with what boot gives it."""
    nr_cpus = booted.early.nr_online_cpus
    limits = zone_limits(
        booted.spans,
        nr_cpus=nr_cpus,
        cpus_of_node=booted.early.cpus_of_node(nr_cpus),
        settings=ZoneSettings(),
    )
    ours = {
        f"Node {span.node}, zone {ZONE_NAMES[span.index]}": {
            "spanned": [span.spanned],
            "present": [span.present],
            "managed": [span.managed],
            "start_pfn": [span.start_pfn],
            **_limit_values(zone, nr_cpus),
        }
        for span, zone in zip(booted.spans, limits.zones, strict=True)
    }
    recorded = _zones_of(content["zoneinfo"])
    for name in dict.fromkeys((*recorded, *ours)):
        theirs, mine = recorded.get(name, {}), ours.get(name, {})
        for key in dict.fromkeys((*mine, *theirs)):  # pages before what follows from them
            result.compare(f"zoneinfo, {name}, {key}", theirs.get(key), mine.get(key))


def _limit_values(limits: ZoneLimits, nr_cpus: int) -> dict[str, list[int]]:
    marks = limits.watermarks
    return {
        "min": [marks.min],
        "low": [marks.low],
        "high": [marks.high],
        "protection": list(limits.lowmem_reserve),
        "pageset high": [limits.pcp_high] * nr_cpus,
        "batch": [limits.pcp_batch] * nr_cpus,
        "threshold": [limits.stat_threshold] * nr_cpus,
    }


_ZONE = re.compile(r"Node +(\d+), zone +(\w+)")
_VALUE = re.compile(r"(min|low|high|spanned|present|managed) +(\d+)")
_OTHER: Final = {
    "high:": "pageset high",
    "batch:": "batch",
    "vm stats threshold:": "threshold",
    "start_pfn:": "start_pfn",
}


def _zones_of(lines: list[str]) -> dict[str, dict[str, list[int]]]:
    """Return by populated zone the values of zoneinfo that boot decides."""
    zones: dict[str, dict[str, list[int]]] = {}
    zone: dict[str, list[int]] = {}
    for line in lines:
        text = line.strip()
        if match := _ZONE.match(text):
            zone = zones[f"Node {int(match[1])}, zone {match[2]}"] = {}
        elif match := _VALUE.fullmatch(text):
            zone[match[1]] = [int(match[2])]
        elif text.startswith("protection:"):
            zone["protection"] = [int(part) for part in re.findall(r"\d+", text)][:MAX_NR_ZONES]
        else:
            for begin, key in _OTHER.items():
                if text.startswith(begin) and text[len(begin) :].strip().isdecimal():
                    zone.setdefault(key, []).append(int(text[len(begin) :]))
    return {name: values for name, values in zones.items() if values.get("present") != [0]}
