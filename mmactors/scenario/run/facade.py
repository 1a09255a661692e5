"""What `import mmactors` offers: run a scenario, step a machine, load a scenario.

All of it is synchronous and needs no event loop; it may be called inside one that runs, which then
stands still meanwhile (`asyncio.to_thread` and `trio.to_thread.run_sync` let it go on).
"""

import os
from contextlib import suppress
from pathlib import Path

from mmactors.errors import Place, Problem, UserError
from mmactors.scenario.run.outcome import FAILURES
from mmactors.scenario.run.source import Overrides, Source, load
from mmactors.scenario.run.stepped import Result, SteppedMachine

__all__ = ["Result", "SteppedMachine", "load", "machine", "run"]


def run(
    source: Source,
    *,
    seed: int | None = None,
    overrides: Overrides = (),
    out: str | os.PathLike[str] | None = None,
    force: bool = False,
    until_ns: int | None = None,
) -> Result:
    """Run a scenario to its end, or to a virtual time, and return what came of it.

    `source` is the path of a scenario file, a dict that says the same, or a Scenario. `seed` and
    `overrides` change it, as `--seed` and `--set` do: `overrides={"machine.cpus": 8}`. With `out` a
    run directory is written there, with the event log, and with `force` it may replace an earlier
    run; without `out` nothing is written. What stops the machine (a Deadlock, a crash) is in the
    result; UserError is raised for a bad scenario, or an `out` that cannot be written.
    """
    with machine(source, seed=seed, overrides=overrides, out=out, force=force) as stepped:
        with suppress(*FAILURES):
            stepped.run(until_ns=until_ns)
        return stepped.result()


def machine(
    source: Source,
    *,
    seed: int | None = None,
    overrides: Overrides = (),
    out: str | os.PathLike[str] | None = None,
    force: bool = False,
) -> SteppedMachine:
    """Return the machine of a scenario, to be moved by calls of `run` and looked at in between.

    The arguments are those of `mmactors.run`. Close it, or use it as a context manager.
    """
    scenario = load(source, seed=seed, overrides=overrides)
    if out is not None and not isinstance(out, str | os.PathLike):
        raise UserError(_no_path(out))
    return SteppedMachine(scenario, out=None if out is None else Path(out), force=force)


def _no_path(out: object) -> Problem:
    return Problem(
        place=Place("out"),
        found=f"a value of the type {type(out).__name__}",
        legal="expected the path of a directory",
        advice="leave it out to write nothing",
    )
