"""Runs and searches that are ended at some moment, and what must hold of what they leave.

By hand, for figures (docs/robustness.md): `python tests/interrupted.py --moments 200 --full 50`.
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
from pathlib import Path

import orjson

from mmactors.cli.main import run_command
from mmactors.observe.log_read import torn_bytes
from mmactors.observe.run_meta import META, read_meta, standing_of

ROOT = Path(__file__).parents[1]
RUN = "configs/quickstart.yaml"
RACE = "configs/races/a1-mremap-clean.yaml"
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
SAME = re.compile(r"same log(?:, as far as it goes: ([\d,]+) of ([\d,]+) events|: (\d+) events)")


def ended(
    arguments: list[str], folder: Path, number: int | None = None, after_s: float = 0
) -> tuple[int, str]:
    """Run a command in a child, let a signal end it, and return how it ended and what it said."""
    said = folder / "said"
    pid = os.fork()
    if pid == 0:
        code = 70
        try:
            os.chdir(folder)
            fd = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(fd, 1)
            os.dup2(fd, 2)
            sys.stdout, sys.stderr = (open(each, "w", closefd=False) for each in (1, 2))  # noqa: SIM115
            signal.signal(signal.SIGINT, signal.default_int_handler)
            code = run_command(arguments)
            sys.stdout.flush()
        finally:
            os._exit(code)
    if number is not None:
        time.sleep(after_s)
        os.kill(pid, number)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), said.read_text()


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
    log = out / "events.jsonl"
    data = log.read_bytes()
    torn = torn_bytes(log)
    lines = data[: len(data) - torn].splitlines()
    numbers = [orjson.loads(line)["seq"] for line in lines[1:]]
    assert numbers == list(range(1, len(numbers) + 1)), "the log has a gap"
    for verb in (("logs", "--format", "json"), ("top",), ("waits",)):
        code, said = read(verb[0], str(out), *verb[1:])
        assert code == 0, f"{verb}: {said}"
        assert (torn > 0) == ("has no end" in said), said[:500]
    code, said = read("replay", str(out))
    if not (out / "scenario.resolved.yaml").exists():
        assert (code, standing.status, numbers) == (2, "failed", []), said
        return "failed as it began", 0
    same = SAME.search(said)
    assert code == 0, said
    assert same is not None, said
    counts = {int(each.replace(",", "")) for each in same.groups() if each is not None}
    assert counts == {len(numbers)}, said
    return ("killed" if standing.killed else standing.status), len(numbers)


def check_searched(folder: Path) -> tuple[str, int]:
    """Check what a search has kept: each schedule is whole, and fails when it is run again."""
    kept = list(folder.glob(".mmactors/*/*.txt"))
    for path in kept:
        text = path.read_text()
        assert text.endswith("\n"), f"{path} is not whole"
        code, said = read("explore", str(ROOT / RACE), "--replay", text.splitlines()[0])
        assert code == 1, said
    return "kept" if kept else "nothing kept", len(kept)


def moments(count: int, seed: int) -> Counter[str]:
    """End runs and searches at random moments, by turns; return how often each came out."""
    found: Counter[str] = Counter()
    draw = random.Random(seed)
    with tempfile.TemporaryDirectory() as name:
        longest_s = {}
        for verb in ("run", "explore") * 2:  # The first time everything is imported.
            began_s = time.monotonic()
            _end(verb, Path(tempfile.mkdtemp(dir=name)), None, 0)
            longest_s[verb] = time.monotonic() - began_s
        for number in range(count):
            verb = ("run", "explore")[number % 2]
            by = SIGNALS[number // 2 % len(SIGNALS)]
            folder = Path(name) / str(number)
            folder.mkdir()
            after_s = draw.uniform(0, longest_s[verb] * 1.02)
            code, said = _end(verb, folder, by, after_s)
            assert "Traceback" not in said, said
            came, _ = check_run(folder / "out") if verb == "run" else check_searched(folder)
            found[f"{verb} {by.name}: exit code {code}, {came}"] += 1
    return found


def _end(verb: str, folder: Path, number: int | None, after_s: float) -> tuple[int, str]:
    options = ["--out", "out", "-q"] if verb == "run" else ["--budget", "3000"]
    file = ROOT / (RUN if verb == "run" else RACE)
    return ended([verb, str(file), *options], folder, number, after_s)


def full(count: int, seed: int) -> Counter[str]:
    """Run on disks that get full, each at another size; needs root, for tmpfs."""
    found: Counter[str] = Counter()
    draw = random.Random(seed)
    for _ in range(count):
        nr_kib = draw.choice((draw.randrange(4, 60), draw.randrange(4, 1600, 4)))
        with tempfile.TemporaryDirectory() as name:
            mount = ["mount", "-t", "tmpfs", "-o", f"size={nr_kib}k", "none", name]
            subprocess.run(mount, check=True)
            try:
                with tempfile.TemporaryDirectory() as said:
                    arguments = ["run", str(ROOT / RUN), "--out", f"{name}/out", "-q"]
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
    parser.add_argument("--full", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:  # Children begin with everything imported.
        read("run", str(ROOT / "configs/waits.yaml"), "--out", f"{name}/out", "-q")
    import mmactors.races.pair  # noqa: F401

    found = moments(options.moments, options.seed) if options.moments else Counter()
    if options.full:
        found += full(options.full, options.seed)
    for text, count in sorted(found.items()):
        sys.stdout.write(f"{count:4} {text}\n")


if __name__ == "__main__":
    main()
