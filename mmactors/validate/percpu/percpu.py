"""Recorded sequences of the per-CPU allocator, replayed on the one that `run` uses.

The chunk and the offset of each area, and after the sequence every list of chunks in order, every
counter, bit and hint of each; once more after the balance work where that could not run before,
and after all was freed. Where a new chunk is mapped is vmalloc's choice, so the recording says it.
The recorder let the balance work run after each operation, unless it had stopped the machine.
"""

from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from mmactors.mm.page_alloc.gfp import GFP_KERNEL, GFP_NOWAIT, GFP_NOWARN
from mmactors.mm.percpu.alloc import alloc_percpu
from mmactors.mm.percpu.free import free_percpu
from mmactors.mm.percpu.percpu import Percpu
from mmactors.mm.percpu.percpu_state import BLOCK_COLUMNS, dump_chunk, load_chunk
from mmactors.mm.percpu.request import NO_POINTER
from mmactors.mm.percpu.unit_layout import PcpuUnits
from mmactors.validate.percpu.guest import GoesOnForeverError, Guest
from mmactors.validate.percpu.percpu_recording import read_recording
from mmactors.validate.result import CaseResult

_CHUNK_VALUES: Final = (
    "slot", "base_addr", "free_bytes", "start_offset", "end_offset", "nr_pages", "nr_populated",
    "nr_empty_pop_pages", "immutable", "isolated", "populated_runs", "alloc_runs", "bound_bits",
)  # fmt: skip
Held = list[tuple[str, int]]
"""Areas in use as the recorder has them: chunk and offset."""


def validate_percpu(path: Path) -> Iterator[CaseResult]:
    """Replay one recording; raise UserError for a file that is none."""
    content = read_recording(path)
    name = path.name.removesuffix(".gz").removesuffix(".json")
    result = CaseResult(topic="percpu", case=name, path=str(path))
    try:
        _replay(content, result)
    except GoesOnForeverError:
        result.compare("each path has", "an end", "none")
    yield result


def _replay(content: dict[str, Any], result: CaseResult) -> None:
    guest = Guest(_load(content["initial"], content["cpus"]), deque(_new_bases(content)))
    is_atomic = bool(content["atomic"])
    _compare_state("initial", content["initial"], guest.percpu, result)
    held: Held = []
    # After the first difference the two differ, and nothing more can be learnt from them.
    for nth, op in enumerate(content["ops"]):
        ours = _operate(guest, op, held, is_atomic=is_atomic)
        if not result.compare(f"ops[{nth}]", op[-2:], ours):
            return
    _compare_state("final", content["final"], guest.percpu, result)
    if not result.passed:
        return
    if is_atomic:
        guest.flush_work()
        _compare_state("after_balance", content["after_balance"], guest.percpu, result)
    if result.passed:
        while held:
            _free(guest, *held.pop())
        guest.flush_work()
        _compare_state("all_freed", content["all_freed"], guest.percpu, result)


def _load(state: dict[str, Any], nr_cpus: int) -> Percpu:
    """Return the allocator as the recording begins."""
    unit = state["unit"]
    units = PcpuUnits(
        unit_pages=unit["unit_pages"],
        base_addr=int(unit["base_addr"], 16),
        unit_offsets=tuple(cpu * unit["unit_size"] for cpu in range(nr_cpus)),
        group_units=(unit["nr_units"],),
        atom_size=unit["atom_size"],
    )
    chunks = [load_chunk(_by_page(chunk)) for chunk in state["chunks"]]
    first = next(c for c in chunks if c.base_addr == int(unit["first_chunk"], 16))
    reserved = state["reserved"] and load_chunk(_by_page(state["reserved"]))
    percpu = Percpu(units, first, reserved, nr_pages=sum(c.nr_populated for c in chunks))
    percpu.slots.remove(first)
    for chunk, recorded in zip(chunks, state["chunks"], strict=True):
        percpu.slots.move(chunk, recorded["slot"], to_front=False)
    percpu.nr_empty_pop_pages = unit["empty_pop_pages"]
    return percpu


def _by_page(chunk: dict[str, Any]) -> dict[str, Any]:
    """Return a recorded chunk with the hints of each page for themselves."""
    blocks = [values for count, values in chunk["blocks"] for _ in range(count)]
    return chunk | {"blocks": blocks}


def _new_bases(content: dict[str, Any]) -> list[int]:
    """Return where chunks are that there were not before, in the order in which they come up."""
    named = [op[3] for op in content["ops"] if op[0] == "a" and op[3] is not None]
    for name in ("final", "after_balance", "all_freed"):
        named += [chunk["base_addr"] for chunk in content.get(name, {"chunks": ()})["chunks"]]
    known = {chunk["base_addr"] for chunk in content["initial"]["chunks"]}
    return [int(base, 16) for base in dict.fromkeys(named) if base not in known]


def _operate(guest: Guest, op: list[Any], held: Held, *, is_atomic: bool) -> list[Any]:
    """Do an operation; return the chunk and the offset of the area, as they are recorded."""
    base, off = op[-2:]
    if op[0] == "a":
        gfp = GFP_NOWAIT | GFP_NOWARN if is_atomic else GFP_KERNEL
        pointer = guest.perform(alloc_percpu(guest.percpu, op[1], op[2], gfp))
        found = guest.percpu.find(pointer) if pointer != NO_POINTER else None
        base, off = None, -1
        if found is not None:
            base, off = f"{found[0].base_addr:x}", found[1]
            held.append((base, off))
    else:
        nth = held.index((base, off))
        held[nth] = held[-1]
        held.pop()
        _free(guest, base, off)
    if not is_atomic:
        guest.flush_work()
    return [base, off]


def _free(guest: Guest, base: str, off: int) -> None:
    percpu = guest.percpu
    pointer = int(base, 16) + off - percpu.units.base_addr
    if percpu.find(pointer) is not None:
        guest.perform(free_percpu(percpu, pointer))


def _compare_state(name: str, recorded: dict[str, Any], percpu: Percpu, result: CaseResult) -> None:
    """Compare all that the allocator has; runs of bits are one value."""
    unit, slots = recorded["unit"], percpu.slots
    result.compare(f"{name}.unit.nr_slots", unit["nr_slots"], len(slots.lists))
    result.compare(f"{name}.unit.sidelined_slot", unit["sidelined_slot"], slots.sidelined)
    result.compare(
        f"{name}.unit.to_depopulate_slot", unit["to_depopulate_slot"], slots.to_depopulate
    )
    place = f"{name}.unit.empty_pop_pages"
    result.compare(place, unit["empty_pop_pages"], percpu.nr_empty_pop_pages)
    ours = [chunk for chunks in slots.lists for chunk in chunks]
    if result.compare(f"{name}.chunks are", len(recorded["chunks"]), len(ours)):
        for nth, (theirs, chunk) in enumerate(zip(recorded["chunks"], ours, strict=True)):
            _compare_chunk(f"{name}.chunks[{nth}]", theirs, dump_chunk(chunk), result)
    if percpu.reserved is not None:
        ours_reserved = dump_chunk(percpu.reserved) | {"slot": -1}
        _compare_chunk(f"{name}.reserved", recorded["reserved"], ours_reserved, result)


def _compare_chunk(
    place: str, recorded: dict[str, Any], ours: dict[str, Any], result: CaseResult
) -> None:
    for key in _CHUNK_VALUES:
        result.compare(f"{place}.{key}", recorded[key], ours[key])
    for key in BLOCK_COLUMNS:
        result.compare(f"{place}.chunk_md.{key}", recorded["chunk_md"][key], ours["chunk_md"][key])
    for nth, (theirs, values) in enumerate(
        zip(_by_page(recorded)["blocks"], ours["blocks"], strict=True)
    ):
        for key, their_value, value in zip(BLOCK_COLUMNS, theirs, values, strict=True):
            result.compare(f"{place}.blocks[{nth}].{key}", their_value, value)
