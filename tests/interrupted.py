"""Runs and searches that are ended at some moment, and what must hold of what they leave.

By hand, for figures (docs/robustness.md):
`python tests/interrupted.py --moments 200 --compiling 10 --full 50`.
"""

import argparse
import contextlib
import io
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import orjson
from attrs import define, field

from mmactors.cli.main import run_command
from mmactors.observe.log_read import torn_bytes
from mmactors.observe.run_dir import EVENTS, SCENARIO, create_run_dir
from mmactors.observe.run_meta import META, read_meta, standing_of

ROOT = Path(__file__).parents[1]
QUICK = "configs/quickstart.yaml"
RUNS = (
    (QUICK,),
    (QUICK, "--set", "engine.driver=trio", "--set", "record.sample=50us"),
    ("configs/waits.yaml",),
    ("configs/faults.yaml", "--no-log"),
)
RACE = "configs/races/a1-mremap-clean.yaml"
SEARCHES = (("--budget", "40"), ("--budget", "100", "--jobs", "2"))
SEARCH_S = 10
"""Moments of a search are within this time."""
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
SAME = re.compile(r"same log(?:, as far as it goes: ([\d,]+) of ([\d,]+) events|: (\d+) events)")
LEFT_S = 5.0
"""So many seconds later nobody is left of a search in several processes."""
LEFT_COMPILING_S = 60.0
"""Who compiles for a run that is no more notices it after the function that it is at."""


def ended(
    arguments: Sequence[str],
    folder: Path,
    number: int | None = None,
    after_s: float = 0,
    *,
    is_fresh: bool = False,
    environment: Mapping[str, str] | None = None,
    left_s: float = LEFT_S,
) -> tuple[int, str]:
    """Run a command in a child, let a signal end it, and return how it ended and what it said.

    A child that is fresh begins as Python does; another one has everything imported.
    """
    said = folder / "said"
    said.touch()
    if is_fresh:
        with said.open("w") as output:
            child = subprocess.Popen(
                [sys.executable, "-P", "-m", "mmactors", *arguments],
                cwd=folder,
                env=os.environ | {"PYTHONPATH": str(ROOT)} | dict(environment or {}),
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        pid = child.pid
    else:
        pid = _forked(arguments, folder, said)
    if number is not None:
        time.sleep(after_s)
        os.kill(pid, number)
    code = child.wait() if is_fresh else os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    until_s = time.monotonic() + left_s
    with contextlib.suppress(ProcessLookupError):
        while time.monotonic() < until_s:
            os.killpg(pid, 0)
            time.sleep(0.01)
        raise AssertionError(f"somebody of {arguments} is left")
    return code, said.read_text()


def _forked(arguments: Sequence[str], folder: Path, said: Path) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        os.setsid()
        os.chdir(folder)
        fd = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(fd, 1)
        os.dup2(fd, 2)
        sys.stdout, sys.stderr = (open(each, "w", closefd=False) for each in (1, 2))  # noqa: SIM115
        code = run_command(arguments)
        sys.stdout.flush()
    finally:
        os._exit(code)


def read(*arguments: str) -> tuple[int, str]:
    """Run a command here, and return its exit code and what it said."""
    said = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = run_command(arguments)
    said.seek(0)
    return code, said.read()


def check_run(out: Path) -> tuple[str, int]:
    """Check what a run has left, with every reader; return its status and how many events."""
    if not (out / META).exists():
        assert not (out / "summary.json").exists(), "something was written before the status"
        return "not begun", 0
    standing = standing_of(read_meta(out))
    assert standing.status != "running", f"{out} says that it runs"
    log = out / EVENTS
    has_log = log.exists()
    torn = torn_bytes(log)
    numbers = []
    if has_log:
        data = log.read_bytes()
        lines = data[: len(data) - torn].splitlines()
        numbers = [orjson.loads(line)["seq"] for line in lines[1:]]
        assert numbers == list(range(1, len(numbers) + 1)), "the log has a gap"
    for verb in (("logs", "--format", "json"), ("top",), ("waits",)):
        code, said = read(verb[0], str(out), *verb[1:])
        assert code == (0 if has_log else 2), f"{verb}: {said}"
        assert (torn > 0) == ("has no end" in said), said[:500]
    code, said = read("replay", str(out))
    if not (out / SCENARIO).exists():
        assert (code, standing.status, numbers) == (2, "failed", []), said
        return "failed as it began", 0
    if not has_log:
        assert (code, "no log to compare" in said) == (0, True), said
        return ("killed" if standing.killed else standing.status), 0
    same = SAME.search(said)
    assert code == 0, said
    assert same is not None, said
    counts = {int(each.replace(",", "")) for each in same.groups() if each is not None}
    assert counts == {len(numbers)}, said
    return ("killed" if standing.killed else standing.status), len(numbers)


def check_taken_over(out: Path) -> None:
    """Check that a later run may have the folder, and nothing of before is left."""
    run_dir = create_run_dir(out=out, name="later", force=True)
    try:
        assert [] == run_dir.folder.names(), f"{out} has something of an earlier run"
    finally:
        run_dir.close()


def check_searched(folder: Path) -> tuple[str, int]:
    """Check what a search has kept: each schedule is whole, and fails when it is run again."""
    kept = list(folder.glob(".mmactors/*/*.txt"))
    for path in kept:
        text = path.read_text()
        assert text.endswith("\n"), f"{path} is not whole"
        code, said = read("explore", str(ROOT / RACE), "--replay", text.splitlines()[0])
        assert code == 1, said
    return "kept" if kept else "nothing kept", len(kept)


@define
class Tally:
    """What came of it."""

    found: Counter[str] = field(factory=Counter)
    lost_s: float = 0.0
    """How long before it was killed a run had written last, at most."""


def moments(count: int, seed: int) -> Tally:
    """End runs and searches at random moments, by turns; return how often each came out."""
    tally = Tally()
    draw = random.Random(seed)
    with tempfile.TemporaryDirectory() as name:
        for number in range(count):
            folder = Path(name) / str(number)
            folder.mkdir()
            by = SIGNALS[number // 2 % len(SIGNALS)]
            is_fresh = number % 4 < 2
            if number % 2:
                _end_search(tally, draw, folder, by, is_fresh=is_fresh)
            else:
                _end_run(tally, draw, folder, by, is_fresh=is_fresh)
            sys.stderr.write(".")
            sys.stderr.flush()
    return tally


@cache
def _takes_s(arguments: tuple[str, ...], *, is_fresh: bool) -> float:
    """Return how long a command takes that nobody ends."""
    with tempfile.TemporaryDirectory() as name:
        began_s = time.monotonic()
        ended(arguments, Path(name), is_fresh=is_fresh)
        return time.monotonic() - began_s


def _end_run(
    tally: Tally, draw: random.Random, folder: Path, by: signal.Signals, *, is_fresh: bool
) -> None:
    file, *options = draw.choice(RUNS)
    arguments = ("run", str(ROOT / file), *options, "--out", "out", "-q")
    after_s = draw.uniform(0, _takes_s(arguments, is_fresh=is_fresh) * 1.02)
    code, said = ended(arguments, folder, by, after_s, is_fresh=is_fresh)
    at_s = time.time()
    must_be_quiet(said, by)
    out = folder / "out"
    if by == signal.SIGKILL and code < 0 and (out / META).exists():
        written_s = max(path.stat().st_mtime for path in out.iterdir())
        tally.lost_s = max(tally.lost_s, at_s - written_s)
    came, nr_events = check_run(out) if out.exists() else ("no folder", 0)
    if out.exists():
        check_taken_over(out)
    some = " with events" if nr_events else ""
    tally.found[f"run {by.name}: exit code {code}, {came}{some}"] += 1


def _end_search(
    tally: Tally, draw: random.Random, folder: Path, by: signal.Signals, *, is_fresh: bool
) -> None:
    arguments = ("explore", str(ROOT / RACE), *draw.choice(SEARCHES))
    after_s = draw.uniform(0, SEARCH_S)
    code, said = ended(arguments, folder, by, after_s, is_fresh=is_fresh)
    must_be_quiet(said, by)
    came, _ = check_searched(folder)
    tally.found[f"explore {by.name}: exit code {code}, {came}"] += 1


def must_be_quiet(said: str, by: signal.Signals) -> None:
    """Check that nobody sees a traceback, but what Python says before it is ours."""
    if "Traceback" in said:
        is_before = by == signal.SIGINT and "run_command" not in said
        assert is_before, said


def compiling(count: int, seed: int) -> Tally:
    """End runs that compile everything first; what is kept of it serves the next one."""
    tally = Tally()
    draw = random.Random(seed)
    arguments = ("run", str(ROOT / QUICK), "--out", "out", "-q")
    for number in range(count):
        by = SIGNALS[number % len(SIGNALS)]
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            cache = {"MMACTORS_CACHE_DIR": f"{name}/cache"}
            after_s = draw.uniform(0.5, SEARCH_S * 2)
            code, said = ended(
                arguments,
                folder,
                by,
                after_s,
                is_fresh=True,
                environment=cache,
                left_s=LEFT_COMPILING_S,
            )
            must_be_quiet(said, by)
            came = check_run(folder / "out")[0] if (folder / "out").exists() else "no folder"
            again, said = ended((*arguments, "--force"), folder, is_fresh=True, environment=cache)
            assert again == 0, said
        tally.found[f"run that compiles {by.name}: exit code {code}, {came}"] += 1
    return tally


def full(count: int, seed: int) -> Counter[str]:
    """Run on disks that get full, each at another size; needs root, for tmpfs."""
    found: Counter[str] = Counter()
    draw = random.Random(seed)
    for _ in range(count):
        nr_kib = draw.choice((draw.randrange(4, 60), draw.randrange(4, 2600, 4)))
        with tempfile.TemporaryDirectory() as name:
            mount = ["mount", "-t", "tmpfs", "-o", f"size={nr_kib}k", "none", name]
            subprocess.run(mount, check=True)
            try:
                with tempfile.TemporaryDirectory() as said:
                    arguments = ["run", str(ROOT / QUICK), "--out", f"{name}/out", "-q"]
                    code, text = ended(arguments, Path(said))
                assert "Traceback" not in text, text
                came = check_run(Path(name) / "out")[0] if Path(name, "out").exists() else "nothing"
                assert came != "killed", "it could not say that it failed"
                assert (code == 2) == (came != "complete"), (code, came)
            finally:
                subprocess.run(["umount", name], check=True)
        found[f"full disk: exit code {code}, {came}"] += 1
    return found


def main() -> None:
    """Print what came of it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--moments", type=int, default=0)
    parser.add_argument("--compiling", type=int, default=0)
    parser.add_argument("--full", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    # Children hear it also where a session begins in the background.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with tempfile.TemporaryDirectory() as name:  # Children begin with everything imported.
        read("run", str(ROOT / "configs/waits.yaml"), "--out", f"{name}/out", "-q")
    import mmactors.races.pair  # noqa: F401

    tallies = [moments(options.moments, options.seed), compiling(options.compiling, options.seed)]
    found = tallies[0].found + tallies[1].found
    if options.full:
        found += full(options.full, options.seed)
    for text, count in sorted(found.items()):
        sys.stdout.write(f"{count:4} {text}\n")
    sys.stdout.write(f"     at most {tallies[0].lost_s:.2f} s from the last write to SIGKILL\n")


if __name__ == "__main__":
    main()
