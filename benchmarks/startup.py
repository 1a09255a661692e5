"""How long commands take: help, check, and the quickstart, the first time and later.

    python benchmarks/startup.py

prints JSON: for each, seconds on the wall and of processor time, the least of several (one for
`quickstart_first`, which compiles everything into an empty cache). `run_s` is what `mmactors run`
says it took: on the wall, without start-up.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measure import REPOSITORY

QUICKSTART = str(REPOSITORY / "configs" / "quickstart.yaml")


def timed(arguments: list[str], *, cache: str | None = None) -> tuple[float, float]:
    """Run mmactors; return wall seconds and processor seconds."""
    environment = dict(os.environ)
    if cache is not None:
        environment["MMACTORS_CACHE_DIR"] = cache
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "mmactors.cli", *arguments],
        check=True,
        env=environment,
        stdout=subprocess.DEVNULL,
    )
    wall = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, cpu


def run_s(run_dir: Path) -> float:
    """Return the seconds that the machine of a run directory took."""
    return float(json.loads((run_dir / "meta.json").read_text())["wall_s"])


def least(arguments: list[str], times: int) -> dict[str, float]:
    measured = [timed(arguments) for _ in range(times)]
    return {"wall_s": min(wall for wall, _ in measured), "cpu_s": min(cpu for _, cpu in measured)}


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        wall, cpu = timed(
            ["run", QUICKSTART, "-q", "--out", str(folder / "first")], cache=str(folder / "cache")
        )
        timed(["run", QUICKSTART, "-q", "--out", str(folder / "warm")])
        later = [
            timed(["run", QUICKSTART, "-q", "--out", str(folder / f"later{nth}")])
            for nth in range(3)
        ]
        figures = {
            "help": least(["--help"], 7),
            "check": least(["check", QUICKSTART], 5),
            "quickstart_first": {"wall_s": wall, "cpu_s": cpu},
            "quickstart_later": {
                "wall_s": min(wall for wall, _ in later),
                "cpu_s": min(cpu for _, cpu in later),
                "run_s": min(run_s(folder / f"later{nth}") for nth in range(len(later))),
            },
        }
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
