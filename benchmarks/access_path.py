"""How fast the access path is: on recorded traces, beside other simulators, and on many CPUs.

    python benchmarks/access_path.py [FOLDER]

prints JSON. References are instructions and data; each passes TLBs, page walk, L1, L2 and LLC, and
the page faults of the first touches are in the time. Beside it: pycachesim (data only, no TLBs),
if installed, on the same trace, call by call and as one list; cachegrind (no TLBs), if installed,
on programs of a hot loop and of random loads, with traces of the same shape here.

`share_of_plain_loop` is the speed beside that of a plain loop over the same trace, compiled and
measured in the same run: 0.23 to 0.28, and 0.13 to 0.15 if arrays are counted (`_nrt`).
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import numba
import numpy as np
from numpy.typing import NDArray

from mmactors.arch.arena import Arena
from mmactors.arch.memory import PhysicalMemory
from mmactors.arch.pte import PRESENT, RW, USER, make_pte, table_index
from mmactors.arch.trace import FETCH, KIND_MASK, LOAD, SIZE_SHIFT, STORE, Trace
from mmactors.hw.config import HardwareConfig
from mmactors.hw.hardware import END, FAULT, FAULT_ADDRESS, NO_LIMIT_NS, REASON, Hardware
from mmactors.workload.trace.npz import read_npz

TRACES: Final = Path(__file__).parent.parent / "tests" / "reference" / "traces"
QUANTUM_NS: Final = 10_000
NR_RANDOM: Final = 2_000_000
NR_HOT: Final = 40_000_000

_PROGRAM: Final = """
#include <stdlib.h>
#include <stdint.h>
int main(int argc, char **argv) {
    long n = atol(argv[1]), words = 1 << 23;
    uint64_t *a = malloc(words * 8), x = 88172645463325252ull, sum = 0;
    for (long i = 0; i < words; i += 512) a[i] = i;
    if (argc > 2) {
        for (long i = 0; i < n; i++) {
            x ^= x << 13; x ^= x >> 7; x ^= x << 17;
            sum += a[x & (words - 1)];
        }
    } else {
        for (long i = 0; i < n; i++) { __asm__ volatile("" : "+r"(sum)); sum += i; }
    }
    return (int)(sum & 1);
}
"""


class Machine:
    """CPUs, and the least kernel there can be: it maps a frame at each fault."""

    def __init__(self, nr_cpus: int = 1, nr_frames: int = 1 << 20) -> None:
        self.memory = PhysicalMemory(nr_frames)
        self.words = self.memory.view
        self.next_frame = nr_cpus + 1
        self.hw = Hardware(
            HardwareConfig(),
            nr_cpus=nr_cpus,
            memory=self.memory,
            arena=Arena(),
            generation=np.zeros(nr_frames, np.int32),
        )
        for cpu in range(nr_cpus):
            self.memory.claim_table(cpu + 1)
            self.hw.load_cr3(cpu, cpu + 1, 1)

    def fault(self, cpu: int) -> None:
        """Map the page that faulted."""
        address = self.hw.stop[FAULT_ADDRESS]
        table = cpu + 1
        for level in (4, 3, 2):
            index = table * 512 + table_index(address, level)
            if not self.words[index]:
                self.memory.claim_table(self.next_frame)
                self.words[index] = make_pte(self.next_frame, PRESENT | RW | USER)
                self.next_frame += 1
            table = (self.words[index] >> 12) & 0xFFFFFFFFFF
        index = table * 512 + table_index(address, 1)
        self.words[index] = make_pte(self.next_frame, PRESENT | RW | USER)
        self.next_frame += 1

    def run(self, trace: Trace, cpu: int = 0, row: int = 0, budget_ns: int = NO_LIMIT_NS) -> int:
        """Run one batch, faults served on the way."""
        hw = self.hw
        while True:
            row = hw.run(cpu, trace, row, budget_ns)
            if hw.stop[REASON] != FAULT:
                return row
            self.fault(cpu)


def best(measure: Callable[[], float], times: int = 5) -> float:
    """Return the shortest of a few measurements, in seconds."""
    return min(measure() for _ in range(times))


def seconds(function: Callable[[], Any]) -> float:
    """Return how much processor time a call takes."""
    start = time.process_time()
    function()
    return time.process_time() - start


def best_of_both(
    one: Callable[[], float], other: Callable[[], float], times: int = 7
) -> tuple[float, float]:
    """Return the shortest of each; they take turns, so that a busy host slows both alike."""
    both = [(one(), other()) for _ in range(times)]
    return min(first for first, _ in both), min(second for _, second in both)


def cold_run(trace: Trace) -> float:
    """Return the time of one run on a machine that has done nothing before."""
    machine = Machine()
    return seconds(lambda: machine.run(trace))


def cold_seconds(trace: Trace) -> float:
    """Return the shortest time of such a run."""
    return best(partial(cold_run, trace))


@numba.njit(cache=True, error_model="numpy")
def plain_loop(addresses: NDArray[np.int64], metas: NDArray[np.int64]) -> int:
    """Count the misses of one cache for data and one for fetches: the least one can do."""
    sets = np.full((4, 64, 8), -1, np.int64)
    misses = 0
    for row in range(len(addresses)):
        kind = metas[row] & 3
        line = addresses[row] >> 6
        ways = sets[min(kind, 1), line & 63]
        if ways[0] == line:
            continue
        way = 1
        while way < 7 and ways[way] != line:
            way += 1
        misses += ways[way] != line
        while way > 0:
            ways[way] = ways[way - 1]
            way -= 1
        ways[0] = line
    return misses


def pycachesim_rates(trace: Trace, nr_calls: int = 200_000) -> dict[str, float] | None:
    """Return million data references a second of pycachesim with the same data caches."""
    try:
        from cachesim import Cache, CacheSimulator, MainMemory  # noqa: PLC0415 - optional
    except ImportError:
        return None

    def simulator() -> Any:
        memory = MainMemory()
        llc = Cache("L3", 8192, 16, 64, "LRU")
        memory.load_to(llc)
        memory.store_from(llc)
        l2 = Cache("L2", 512, 8, 64, "LRU", store_to=llc, load_from=llc)
        l1 = Cache("L1", 64, 8, 64, "LRU", store_to=l2, load_from=l2)
        return CacheSimulator(l1, memory)

    kind = trace.meta & KIND_MASK
    data = kind != FETCH
    address = trace.address[data].tolist()
    size = ((trace.meta[data] >> SIZE_SHIFT) & 0xFFFF).tolist()
    kinds = kind[data].tolist()
    calls = list(zip(kinds, address, size, strict=True))[:nr_calls]
    single = simulator()

    def one_by_one() -> None:
        for each, at, length in calls:
            if each == STORE:
                single.store(at, length=length)
            else:
                single.load(at, length=length)

    pairs = [
        ((), (at,)) if each == STORE else ((at,), ())
        for each, at in zip(kinds, address, strict=True)
    ]
    whole = simulator()
    return {
        "call_by_call": len(calls) / seconds(one_by_one) / 1e6,
        "list": len(pairs) / seconds(lambda: whole.loadstore(pairs, length=8)) / 1e6,
    }


def data_only(trace: Trace) -> Trace:
    """Return the data accesses of a trace."""
    data = (trace.meta & KIND_MASK) != FETCH
    return Trace(address=trace.address[data], meta=trace.meta[data])


def random_loads(nr_loads: int, nr_fetches: int) -> Trace:
    """Return a loop of `nr_fetches` instructions, one of which loads a random word of 64 MiB."""
    rng = np.random.default_rng(1)
    each = nr_fetches + 1
    kind = np.zeros((nr_loads, each), np.uint8)
    size = np.full((nr_loads, each), 4, np.uint16)
    address = np.empty((nr_loads, each), np.int64)
    address[:, :nr_fetches] = 0x400000 + 4 * np.arange(nr_fetches)
    kind[:, nr_fetches] = LOAD
    size[:, nr_fetches] = 8
    address[:, nr_fetches] = 0x10000000 + 8 * rng.integers(0, 1 << 23, nr_loads)
    return Trace.of_columns(kind.ravel(), size.ravel(), address.ravel())


def hot_loop(nr_rows: int) -> Trace:
    """Return a loop of four instructions without data."""
    address = 0x400000 + 4 * (np.arange(nr_rows, dtype=np.int64) & 3)
    return Trace.of_columns(np.zeros(nr_rows, np.uint8), np.full(nr_rows, 4, np.uint16), address)


def cachegrind_rates() -> Iterator[tuple[str, float]]:
    """Yield cachegrind's million references a second in both programs, start-up taken off."""
    compiler, valgrind = shutil.which("gcc"), shutil.which("valgrind")
    if compiler is None or valgrind is None:
        return
    with tempfile.TemporaryDirectory() as folder:
        source, program = Path(folder) / "loop.c", Path(folder) / "loop"
        source.write_text(_PROGRAM)
        subprocess.run([compiler, "-O2", "-o", program, source], check=True)
        for name, count, more in (("hot_loop", NR_HOT, []), ("random", NR_RANDOM * 2, ["r"])):
            runs = []
            # The first run only brings valgrind into memory.
            for n in (0, 0, count):
                command: list[str | Path] = [
                    valgrind,
                    "--tool=cachegrind",
                    "--cache-sim=yes",
                    "--cachegrind-out-file=/dev/null",
                    program,
                    str(n),
                    *more,
                ]
                start = time.perf_counter()
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                spent = time.perf_counter() - start
                found = re.findall(r"(?:I +refs|D +refs): +([\d,]+)", done.stderr)
                runs.append((spent, sum(int(each.replace(",", "")) for each in found)))
            yield name, (runs[2][1] - runs[1][1]) / (runs[2][0] - runs[1][0]) / 1e6


def ns_per_access(trace: Trace, nr_cpus: int) -> float:
    """Return host nanoseconds an access when CPUs take turns, each in its own memory."""
    machine = Machine(nr_cpus)
    rows = [0] * nr_cpus
    running = set(range(nr_cpus))

    def turns() -> None:
        while running:
            for cpu in sorted(running):
                rows[cpu] = machine.run(trace, cpu, rows[cpu], QUANTUM_NS)
                if machine.hw.stop[REASON] == END:
                    running.remove(cpu)

    return seconds(turns) / (nr_cpus * trace.nr_accesses) * 1e9


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Measure the access path.")
    parser.add_argument("folder", nargs="?", type=Path, default=TRACES)
    folder = parser.parse_args().folder
    start = time.perf_counter()
    Machine().run(hot_loop(10))
    first_call_s = time.perf_counter() - start
    traces = {path.stem: read_npz(path) for path in sorted(folder.glob("*.npz"))}
    if not traces:
        print(f"{folder} holds no *.npz", file=sys.stderr)
        return 2
    plain_loop(np.zeros(1, np.int64), np.zeros(1, np.int64))
    result: dict[str, Any] = {"unit": "million references a second", "first_call_s": first_call_s}
    total = collapsed_total = loop_total = 0.0
    nr_accesses = 0
    result["traces"] = {}
    for name, trace in traces.items():
        rows = trace.collapse(64)
        plain = partial(seconds, partial(plain_loop, trace.address, trace.meta))
        spent, looped = best_of_both(partial(cold_run, trace), plain)
        collapsed = cold_seconds(rows)
        result["traces"][name] = {
            "rate": trace.nr_accesses / spent / 1e6,
            "collapsed": trace.nr_accesses / collapsed / 1e6,
        }
        total, collapsed_total = total + spent, collapsed_total + collapsed
        loop_total, nr_accesses = loop_total + looped, nr_accesses + trace.nr_accesses
    result["all"] = nr_accesses / total / 1e6
    result["all_collapsed"] = nr_accesses / collapsed_total / 1e6
    result["share_of_plain_loop"] = loop_total / total
    result["pycachesim"] = _beside_pycachesim(traces)
    result["cachegrind"] = _beside_cachegrind()
    result["ns_per_access_by_cpus"] = _by_cpus(min(traces.values(), key=len))
    print(json.dumps(result, indent=2))
    return 0


def _beside_pycachesim(traces: dict[str, Trace]) -> dict[str, Any] | None:
    name = min(traces, key=lambda each: len(traces[each]))
    data = data_only(traces[name])
    theirs = pycachesim_rates(traces[name])
    if theirs is None:
        return None
    ours = len(data) / cold_seconds(data) / 1e6
    ratios = {f"ratio_{way}": ours / rate for way, rate in theirs.items()}
    return {"trace": name, "data_only": ours, **theirs, **ratios}


def _beside_cachegrind() -> dict[str, Any]:
    ours = {"hot_loop": hot_loop(4_000_000), "random": random_loads(1_500_000, 9)}
    return {
        name: {
            "cachegrind": rate,
            "rate": ours[name].nr_accesses / cold_seconds(ours[name]) / 1e6,
            "collapsed": ours[name].nr_accesses / cold_seconds(ours[name].collapse(64)) / 1e6,
        }
        for name, rate in cachegrind_rates()
    }


def _by_cpus(trace: Trace) -> dict[str, float]:
    costs = {str(nr_cpus): ns_per_access(trace, nr_cpus) for nr_cpus in (1, 4, 16, 64)}
    return {**costs, "ratio_64_to_1": costs["64"] / costs["1"]}


if __name__ == "__main__":
    sys.exit(main())
