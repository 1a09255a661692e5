"""Fuzz the readers for as long as wanted: `python -m fuzz [--count N] [READER ...]`.

Start it in tests/. Scenarios, traces, recordings and all else are read in one process, in turn; it
ends with counts, the slowest input, and the memory. It fails for an exception, for an input that
takes longer than SLOW_S, and for more memory than MEMORY_MIB_MAX. What fails is written to the
folder `fuzz-failures`. `fuzz.guided` is guided by coverage.
"""

import argparse
import random
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from fuzz.mutation import mutated
from fuzz.readers import READERS, read, seeds
from mutations import end_of, write_mutation

FAILURES = Path("fuzz-failures")
RECORDING = "recording"
"""Recordings are mutated as JSON (mutations.py), since damaged bytes are refused at once."""
SLOW_S = 20
"""By the clock of the wall: leave the machine to it."""
MEMORY_MIB_MAX = 1024


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("readers", nargs="*", default=[*READERS, RECORDING])
    parser.add_argument("--count", type=int, default=1_000_000_000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        return _run(given.readers, given.count, given.seed, Path(folder))


def _run(names: list[str], count: int, seed: int, folder: Path) -> int:
    draw = random.Random(seed)
    known = {name: seeds(name) for name in names if name != RECORDING}
    contents: dict[Path, Any] = {}
    counts: Counter[str] = Counter()
    slowest = (0.0, "", 0)
    began = time.monotonic()
    try:
        for number in range(count):
            name = names[number % len(names)]
            if name == RECORDING:
                path = write_mutation(draw.randrange(1 << 62), folder, contents)
                data = path.read_bytes()
                start = time.monotonic()
                outcome = _try(name, partial(_validate, path))
                path.with_suffix(".npz").unlink(missing_ok=True)
                path.unlink()
            else:
                data = mutated(draw.choice(known[name]), known[name], draw)
                start = time.monotonic()
                outcome = _try(name, partial(read, name, data, folder))
            took = time.monotonic() - start
            slowest = max(slowest, (took, name, number))
            if took > SLOW_S:
                outcome = "slow"
            if outcome in ("failed", "slow"):
                FAILURES.mkdir(exist_ok=True)
                (FAILURES / f"{name}-{seed}-{number}").write_bytes(data)
            counts[f"{name} {outcome}"] += 1
    except KeyboardInterrupt:
        pass
    for key, nr in sorted(counts.items()):
        sys.stdout.write(f"{key:20} {nr}\n")
    rss_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    sys.stdout.write(
        f"slowest {slowest[0]:.2f} s: {slowest[1]} {slowest[2]}; {rss_mib} MiB; "
        f"{time.monotonic() - began:.0f} s in all\n"
    )
    return int(rss_mib > MEMORY_MIB_MAX or any(key.endswith(("failed", "slow")) for key in counts))


def _validate(path: Path) -> bool:
    """Validate a recording; return whether it is refused."""
    return end_of(path) == "refused"


def _try(name: str, reads: Callable[[], object]) -> str:
    try:
        return "refused" if reads() else "read"
    except Exception as error:  # noqa: BLE001 - this is what is looked for
        sys.stdout.write(f"{name}: {type(error).__name__}: {str(error)[:300]!r}\n")
        sys.stdout.flush()
        return "failed"


if __name__ == "__main__":
    sys.exit(main())
