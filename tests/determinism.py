"""The same run, again and again, in other processes and surroundings: equal byte for byte.

    python tests/determinism.py 31     # 31 processes of 33 runs each: 1023 runs; says what differs

Each process has another seed of hashes, folder, locale, time zone and terminal. In it every
scenario runs under both drivers, with and without a log, with and without sanitizers; one run also
writes its folder. What a run leaves is told as digests by `digests`, which the processes print.
"""

import hashlib
import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

import stress
from attrs import evolve
from machines import run

import mmactors
from mmactors.sanitize.config import SanitizeConfig

ROOT = Path(__file__).parent.parent
SCENARIOS = {
    "threads": ROOT / "configs/threads.yaml",
    "waits": ROOT / "configs/waits.yaml",
    "stress 1": stress.scenario_of(1),
    "stress 24": stress.scenario_of(24),
}
SURROUNDINGS = [
    {"LC_ALL": "C", "TZ": "UTC", "TERM": "dumb"},
    {"LC_ALL": "C.UTF-8", "TZ": "Asia/Kolkata", "COLUMNS": "40"},
    {"LANG": "tr_TR.UTF-8", "TZ": "America/St_Johns", "PYTHONUTF8": "0"},
    {"LC_ALL": "POSIX", "TZ": "Pacific/Apia", "PYTHONUTF8": "1", "NO_COLOR": "1"},
]
DRIVERS, IS_LOGGED, IS_SANITIZED = ("trio", "inline"), (True, False), (False, True)
NR_RUNS = len(SCENARIOS) * len(DRIVERS) * len(IS_LOGGED) * len(IS_SANITIZED) + 1
"""Of a process."""


def digest(content):
    """Return a name for bytes or a text, by its content."""
    data = content if isinstance(content, bytes) else content.encode()
    return hashlib.sha256(data).hexdigest()[:16]


def digests(scenarios=SCENARIOS):
    """Yield what each run left: its scenario, what it is, its digest, and how it was run."""
    for name in scenarios:
        plain = mmactors.load(SCENARIOS[name])
        for driver, is_logged, is_sanitized in itertools.product(DRIVERS, IS_LOGGED, IS_SANITIZED):
            sanitize = SanitizeConfig.everything() if is_sanitized else SanitizeConfig()
            scenario = evolve(plain, sanitize=sanitize, engine=evolve(plain.engine, driver=driver))
            ran = run(scenario, is_logged=is_logged)
            how = f"{driver}, log {is_logged}, sanitizers {is_sanitized}"
            if is_logged:
                yield name, "log", digest(ran.log), how
            yield name, "counters", digest(json.dumps(ran.counters)), how
            yield name, "schedule", digest("\n".join(ran.schedule)), how
            yield name, "proc", digest(json.dumps(ran.machine.proc())), how
    yield from folder_digests()


def folder_digests():
    """Yield what the folder of a run holds that says nothing of the host or the time of day."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        mmactors.run(SCENARIOS["waits"], out=out)
        names = ["events.jsonl", "counters.json", "schedule.txt", "scenario.resolved.yaml"]
        for name in [*names, *sorted(str(path.relative_to(out)) for path in out.glob("proc/*"))]:
            path = out / name
            if path.is_file():
                yield "waits", f"file {name}", digest(path.read_bytes()), "folder"


def told_by_process(nth, scenarios=SCENARIOS):
    """Return what another process tells, in surroundings of its own."""
    environ = {
        name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG"))
    }
    paths = [str(ROOT), str(ROOT / "tests")]
    environ |= SURROUNDINGS[nth % len(SURROUNDINGS)]
    environ |= {"PYTHONHASHSEED": str(nth), "PYTHONPATH": os.pathsep.join(paths)}
    with tempfile.TemporaryDirectory(prefix=f"elsewhere-{nth}-") as folder:
        done = subprocess.run(
            [sys.executable, "-P", str(ROOT / "tests/determinism.py"), "--tell", *scenarios],
            cwd=folder,
            env=environ,
            capture_output=True,
            check=True,
        )
        assert not any(Path(folder).iterdir()), "nothing is left where somebody happens to be"
    return [tuple(each) for each in json.loads(done.stdout)]


def differences(told):
    """Return what was not equal in all runs: who saw which digest."""
    seen = defaultdict(lambda: defaultdict(list))
    for name, what, found, how in told:
        seen[name, what][found].append(how)
    return {key: dict(found) for key, found in seen.items() if len(found) > 1}


def main(first, *scenarios):
    """Tell the digests of this process, or run as many processes as are asked for."""
    if first == "--tell":
        sys.stdout.write(json.dumps(list(digests(scenarios))))
        return 0
    told = []
    for nth in range(int(first)):
        told += [(*each[:3], f"{each[3]}, process {nth}") for each in told_by_process(nth)]
        stress.tell(f"process {nth}: {len(differences(told))} differences")
    nr_seen = len({each[:2] for each in told})
    stress.tell(f"{int(first) * NR_RUNS} runs, {nr_seen} things compared: {differences(told)}")
    return int(bool(differences(told)))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
