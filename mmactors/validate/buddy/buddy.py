"""Recorded sequences of the page allocator, replayed on the allocator that `run` uses.

Every allocation's PFN is compared, and of the final state everything: free lists in order, per-CPU
lists with the types their pages go back with, counters and deltas, pageblocks, boost, reserve,
flags. Compaction's scanner positions (`compact`) are listed: no allocation moves them.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from mmactors.mm.page_alloc.allocator import PageAllocator
from mmactors.mm.page_alloc.pcp import pcp_allowed_order
from mmactors.validate.buddy.buddy_recording import BuddyRecording, read_recording
from mmactors.validate.result import CaseResult

_FAILED: Final = -1
"""The recordings' PFN of a failed allocation."""
_LISTED: Final = frozenset({"compact"})


def validate_buddy(path: Path) -> Iterator[CaseResult]:
    """Replay one recording; raise UserError for a file that is none."""
    recording, content = read_recording(path)
    name = path.name.removesuffix(".gz").removesuffix(".json")
    result = CaseResult(topic="buddy", case=name, path=str(path))
    allocator = PageAllocator.load(content["initial"], cpu_node=recording.nodes_of_cpus)
    # After a different PFN the two machines differ, and nothing more can be learnt from them.
    if _replay(allocator, recording, result):
        _compare_state(result, content["final"], allocator.dump())
    yield result


def _replay(allocator: PageAllocator, recording: BuddyRecording, result: CaseResult) -> bool:
    """Replay all operations; return whether every PFN was the recorded one."""
    gfp_flags = recording.gfp_flags
    for nth, op in enumerate(recording.ops):
        if op[0] == "f":
            _, cpu, order, pfn = op
            if not allocator.free_pcp(cpu, pfn, order):
                allocator.perform(allocator.free_pages(cpu, pfn, order))
            continue
        _, cpu, order, gfp_index, recorded = op
        gfp = gfp_flags[gfp_index]
        ours = allocator.alloc_pcp(cpu, order, gfp) if pcp_allowed_order(order) else None
        if ours is None:
            ours = allocator.perform(allocator.alloc_pages(cpu, order, gfp))
        if not result.compare(f"ops[{nth}]", recorded, _FAILED if ours is None else ours):
            return False
    return True


def _compare_state(result: CaseResult, recorded: dict[str, Any], ours: dict[str, Any]) -> None:
    """Compare two states value by value; a list of pages is one value."""
    result.compare("final.zonelists", recorded["zonelists"], ours["zonelists"])
    pairs = zip(recorded["zones"], ours["zones"], strict=True)
    for nth, (recorded_zone, our_zone) in enumerate(pairs):
        place = f"final.zones[{nth}]"
        for key, value in recorded_zone.items():
            if key in _LISTED:
                result.listed += 1
            elif key == "free":
                _compare_lists(result, f"{place}.free", _by_list(value), _by_list(our_zone["free"]))
            elif key == "pcp":
                for recorded_pcp, our_pcp in zip(value, our_zone["pcp"], strict=True):
                    _compare_pcp(result, f"{place}.pcp[{our_pcp['cpu']}]", recorded_pcp, our_pcp)
            else:
                result.compare(f"{place}.{key}", value, our_zone.get(key))


def _by_list(runs: list[dict[str, Any]]) -> dict[str, list[int]]:
    return {f"order {run['order']}, type {run['mt']}": run["pfns"] for run in runs}


def _compare_pcp(
    result: CaseResult, place: str, recorded: dict[str, Any], ours: dict[str, Any]
) -> None:
    for key, value in recorded.items():
        if key == "lists":
            _compare_lists(result, f"{place}.lists", value, ours["lists"])
        else:
            result.compare(f"{place}.{key}", value, ours.get(key))


def _compare_lists(
    result: CaseResult, place: str, recorded: dict[str, Any], ours: dict[str, Any]
) -> None:
    """Compare lists by name; a list that only one side has is empty on the other."""
    for name in dict.fromkeys((*recorded, *ours)):
        result.compare(f"{place}[{name}]", recorded.get(name, []), ours.get(name, []))
