"""Heap traces on machines: scenarios that run one, and what each of its rows did, by the log."""

import bisect

import numpy as np
import orjson
from attrs import define, evolve, field
from machines import run, scenario_of

from mmactors.arch.heap_trace import HEAP_OPERATIONS
from mmactors.units import GIB, MIB

BRK, MMAP, MUNMAP, MREMAP, MADVISE, MPROTECT = range(6)
"""System calls, as recordings number them."""
NUMBERS = {12: BRK, 9: MMAP, 11: MUNMAP, 25: MREMAP, 28: MADVISE, 10: MPROTECT}
MAP_STACK = 0x20000
HEAP_MAX_SIZE = 64 * MIB
LOGGED = ("sys_enter", "sys_exit", "page_fault_user")


def heap_scenario(path, *options, cpus=2, metadata_in_memory=True, events=LOGGED, size=GIB, **rest):
    """Return a scenario in which `p0` runs a heap trace, its threads with stacks of 256 KiB."""
    scenario = scenario_of(
        [" ".join(["heap_trace", str(path), "stack=256K", *options])], cpus=cpus, size=size, **rest
    )
    process = evolve(scenario.processes[0], metadata_in_memory=metadata_in_memory)
    return evolve(
        scenario, processes=(process,), record=evolve(scenario.record, events=tuple(events))
    )


@define(eq=False)
class Regions:
    """Mappings, numbered as recordings number them, of calls that are told one by one."""

    base: int | None = None
    """The first program break."""
    bases: dict[int, int] = field(factory=dict)
    stacks: set[int] = field(factory=set)
    heaps: set[int] = field(factory=set)
    """Of which the ends are unmapped that are not aligned: 128 MiB when they are mapped."""
    resident: set[int] = field(factory=set)
    """Pages that somebody has touched, by `touch`."""
    _extents: list[tuple[int, int, int]] = field(factory=list)

    def place_of(self, address):
        """Return the region of an address, and its offset there; of a heap its own offset."""
        nth = bisect.bisect_right(self._extents, (address, 1 << 62, 0)) - 1
        if nth >= 0 and address < self._extents[nth][1]:
            region = self._extents[nth][2]
            if region in self.heaps:
                return region, address % HEAP_MAX_SIZE
            return region, address - self.bases[region]
        return 0, address - self.base

    def see(self, call, args, ret):
        """Return a call as a row without its operation, and what it answered if that counts."""
        if call == BRK:
            if self.base is None:
                self.base = ret
            self._drop(ret, self.base + (1 << 40))
            return call, 0, args[0] - self.base if args[0] else 0, bool(args[0]), 0, ret - self.base
        if call == MMAP:
            region = len(self.bases) + 1
            self.bases[region] = ret
            bisect.insort(self._extents, (ret, ret + _pages(args[1]), region))
            if args[3] & MAP_STACK:
                self.stacks.add(region)
            if args[1] == 2 * HEAP_MAX_SIZE:
                self.heaps.add(region)
            return call, region, 0, args[1], args[2] + 256 * args[3], 0
        region, offset = self.place_of(args[0])
        end = args[0] + _pages(args[1])
        if call == MREMAP:
            self.bases[region] = ret - (args[0] - self.bases[region])
            self._cut(args[0], end)
            bisect.insort(self._extents, (ret, ret + args[2], region))
            kept = {each for each in self.resident if args[0] <= each << 12 < end}
            self.resident -= kept
            self.resident |= {each - (args[0] >> 12) + (ret >> 12) for each in kept}
            return call, region, offset, args[1], args[2], 0
        if call != MPROTECT:
            self._drop(args[0], end)
        if call == MUNMAP:
            self._cut(args[0], end)
            return call, region, offset, args[1], 0, ret
        return call, region, offset, args[1], args[2], ret

    def touch(self, address):
        """Return how many faults it is to write a byte."""
        is_new = address >> 12 not in self.resident
        self.resident.add(address >> 12)
        return int(is_new)

    def is_trim(self, row):
        """Return whether a call only lets a heap be aligned, which depends on its address."""
        call, region, offset, length, _, _ = row
        if call != MUNMAP or region not in self.heaps:
            return False
        del offset
        return length < HEAP_MAX_SIZE

    def _drop(self, start, end):
        self.resident = {each for each in self.resident if not start <= each << 12 < end}

    def _cut(self, start, end):
        kept = []
        for first, last, region in self._extents:
            if last <= start or end <= first:
                kept.append((first, last, region))
                continue
            kept += [(first, start, region)] if first < start else []
            kept += [(end, last, region)] if end < last else []
        self._extents = sorted(kept)


def _pages(length):
    return -(-length // 4096) * 4096


@define(eq=False)
class RowsDone:
    """What the rows of a heap trace did on a machine."""

    places: list[tuple[int, int]]
    """By row: region and offset of what it returned; (-100, 0): nothing."""
    calls: list[tuple[int, ...]]
    """Row, then call, region, offset, length, argument, answer; without those of stacks."""
    faults: list[int]
    """By row."""
    touches: list[int]
    """By row: faults if nobody but the program touched anything."""


def rows_done(ran, sizes):
    """Return what the rows did that the log of a machine shows; `sizes`: what they asked for."""
    n = len(sizes)
    done, regions = RowsDone([], [], [0] * n, [0] * n), Regions()
    row, entered, began = -1, None, False
    is_inside = False
    for event in map(orjson.loads, ran.log.splitlines()[1:]):
        kind, call = event["event"], event.get("call", "")
        verb, _, rest = call.partition(" ")
        is_row = verb in HEAP_OPERATIONS and bool(rest)
        if verb == "heap_trace":
            began = True
        elif kind == "sys_enter" and is_row:
            row, is_inside = row + 1, True
        elif kind == "sys_enter":
            entered = event
        elif kind == "sys_exit" and is_row:
            address, is_inside = event["ret"], False
            done.places.append(regions.place_of(address) if address > 0 else (-100, 0))
            if address > 0 and sizes[row]:
                done.touches[row] = regions.touch(address)
        elif kind == "sys_exit" and event["nr"] in NUMBERS and (is_inside or row < 0):
            seen = regions.see(NUMBERS[event["nr"]], entered["args"], event["ret"])
            if seen[1] not in regions.stacks and not regions.is_trim(seen):
                done.calls.append((row, *seen))
        elif kind == "page_fault_user" and began and is_inside:
            done.faults[row] += 1
    return done


def recorded_rows(path):
    """Return what a recording says that glibc's rows did, as `rows_done` does of a machine."""
    arrays = np.load(path)
    sizes = arrays["size"].tolist()
    done, regions = RowsDone([], [], [], []), Regions(base=0)
    pairs = zip(arrays["glibc.region"].tolist(), arrays["glibc.offset"].tolist(), strict=True)
    calls = [row for row in arrays["glibc.sys"].tolist() if row[0] < len(sizes)]
    bases = {row[2]: row[6] for row in calls if row[1] == MMAP}
    for op, call, region, offset, length, argument, ret in calls:
        if call == MMAP and argument >> 8 & MAP_STACK:
            regions.stacks.add(region)
        if call == MMAP and length == 2 * HEAP_MAX_SIZE:
            regions.heaps.add(region)
        if region in regions.heaps and call != MMAP:
            place = (bases[region] + offset) % HEAP_MAX_SIZE
        else:
            place = offset
        seen = call, region, place, length, argument, 0 if call in (MMAP, MREMAP) else ret
        if region not in regions.stacks and not regions.is_trim(seen):
            done.calls.append((op, *seen))
    for region, offset in pairs:
        in_heap = region in regions.heaps
        place = (bases[region] + offset) % HEAP_MAX_SIZE if in_heap else offset
        done.places.append((region, place if region != -100 else 0))
    return done


def run_rows(path, *options, **rest):
    """Run a recording's trace, and return what its rows did, and the machine."""
    ran = run(heap_scenario(path, *options, **rest))
    return rows_done(ran, np.load(path)["size"].tolist()), ran
