"""From a schedule that breaks something to the simplest that breaks the same.

Simpler is: fewer preemptions, then fewer unusual choices, then fewer turns, then fewer steps.
Blocks of one actor's steps are joined, moved and left out, and what still breaks the same is kept.
Then a depth-first search with one preemption less says whether there is something simpler still,
unless all those were tried before; when it ends without, the number of preemptions is the least.

All that has an end: so many schedules, and what the budget leaves for it. Then the simplest found
so far is the one.
"""

from collections.abc import Iterator, Mapping
from itertools import groupby
from types import MappingProxyType
from typing import Final

from attrs import evolve, frozen

from mmactors.explore.execution.broken import Broken
from mmactors.explore.execution.choice import INDEX_BITS
from mmactors.explore.execution.execution import Execution
from mmactors.explore.execution.nondeterminism import Nondeterminism
from mmactors.explore.execution.script import Script, entries, guide
from mmactors.explore.search.budget import Allowance, Meter, OutOfTime
from mmactors.explore.search.progress import Reporter
from mmactors.explore.strategy.dfs import DepthFirst

MAX_ATTEMPTS: Final = 600
MAX_SEARCH: Final = 2000
"""How many schedules may be tried to find one with fewer preemptions, those of before included."""
NR_REPORTED: Final = 3
"""How often the report plays the schedule: the budget has to leave room for that."""
REPORT_TAKES: Final = 12
"""It takes as long as playing the schedule so many times: it says what each step saw."""

_NONE: Final[Mapping[int, DepthFirst]] = MappingProxyType({})


@frozen(kw_only=True)
class Shrunk:
    """The simplest schedule found."""

    script: Script
    broken: Broken
    nr_preemptions: int
    is_least: bool
    """Every schedule with fewer preemptions was tried."""
    cost: tuple[int, ...]
    is_cut: bool = False
    """There was no time to look for a simpler one."""


class Shrinker:
    """Shrinks one schedule."""

    def __init__(
        self,
        execution: Execution,
        meter: Meter,
        reporter: Reporter,
        *,
        max_steps: int,
        begun: Mapping[int, DepthFirst] = _NONE,
    ) -> None:
        self._execution: Final = execution
        self._max_steps: Final = max_steps
        self._meter: Final = meter
        self._reporter: Final = reporter
        self._allowance: Allowance
        self._begun: Final = begun
        """By bound: who searched before, and found nothing so far."""
        self._best: Shrunk

    def shrink(self, script: Script, broken: Broken) -> Shrunk:
        """Return the simplest schedule found that breaks what `script` breaks."""
        execution, meter = self._execution, self._meter
        self._reporter.is_shrinking = True
        execution.look_up = self._reporter.note  # This one is played to its end.
        began = meter.seconds
        nr_preemptions = guide(execution, script, max_steps=self._max_steps)
        best = self._found(broken, nr_preemptions)
        if best is None:
            raise Nondeterminism.unrepeatable(broken)
        self._best = best
        reserve_s = REPORT_TAKES * (meter.seconds - began)
        self._allowance = meter.for_shrinking(reserve=NR_REPORTED, reserve_seconds=reserve_s)
        execution.look_up = self._look_up
        try:
            return self._shrink(best)
        except OutOfTime:
            return evolve(self._best, is_cut=True)
        finally:
            execution.look_up = self._reporter.note

    def _shrink(self, best: Shrunk) -> Shrunk:
        best = self._simplify(best)
        while best.nr_preemptions > 0:
            fewer, is_done = self._search(best)
            if fewer is None:
                return evolve(best, is_least=True) if is_done else best
            best = self._simplify(fewer)
        return best

    def _simplify(self, best: Shrunk) -> Shrunk:
        nr_attempts = 0
        is_better = True
        while is_better and nr_attempts < MAX_ATTEMPTS:
            is_better = False
            for variant in _variants(best.script):
                nr_attempts += 1
                found = self._attempt(variant, best.broken)
                if found is not None and found.cost < best.cost:
                    best = self._best = found
                    is_better = True
                    break
                if nr_attempts >= MAX_ATTEMPTS:
                    break
        return best

    def _attempt(self, script: Script, broken: Broken) -> Shrunk | None:
        self._begin()
        nr_preemptions = guide(self._execution, script, max_steps=self._max_steps)
        return self._found(broken, nr_preemptions)

    def _begin(self) -> None:
        self._allowance.begin()
        self._reporter.note()

    def _look_up(self) -> None:
        self._allowance.look_up()
        self._reporter.note()

    def _found(self, broken: Broken, nr_preemptions: int) -> Shrunk | None:
        """Return the schedule that just ended, if it breaks the same."""
        execution = self._execution
        if execution.broken is None or not execution.broken.is_like(broken):
            return None
        return _shrunk(execution, nr_preemptions)

    def _search(self, best: Shrunk) -> tuple[Shrunk | None, bool]:
        """Look for a schedule with fewer preemptions; return it, and whether all were tried."""
        bound = best.nr_preemptions - 1
        search = self._begun.get(bound) or DepthFirst(bound=bound)
        search.max_steps = self._max_steps
        execution = self._execution
        while search.nr_schedules < MAX_SEARCH:
            if search.is_done:
                return None, True
            self._begin()
            search.run(execution)
            found = execution.broken
            if found is not None and found.is_like(best.broken):
                fewer = self._attempt(entries(execution), best.broken)
                if fewer is not None and fewer.cost < best.cost:
                    self._best = fewer
                    return fewer, False
        return None, search.is_done


def _shrunk(execution: Execution, nr_preemptions: int) -> Shrunk:
    script = entries(execution)
    assert execution.broken is not None, "nothing is broken"
    nr_options = sum(
        step.is_local and choice >> INDEX_BITS > 0
        for choice, step in zip(execution.choices, execution.steps, strict=True)
    )
    nr_turns = sum(1 for _ in groupby(script, key=lambda entry: entry[0]))
    return Shrunk(
        script=script,
        broken=execution.broken,
        nr_preemptions=nr_preemptions,
        is_least=nr_preemptions == 0,
        cost=(nr_preemptions, nr_options, nr_turns, len(script)),
    )


def _variants(script: Script) -> Iterator[Script]:
    """Return schedules that may be simpler."""
    blocks = [tuple(block) for _, block in groupby(script, key=lambda entry: entry[0])]
    for at in range(len(blocks)):
        yield _joined(blocks[:at] + blocks[at + 1 :])
    for at, block in enumerate(blocks):
        for other in range(at + 1, len(blocks)):
            if blocks[other][0][0] == block[0][0]:
                # The later block comes at once, or the earlier one waits for it.
                yield _joined(
                    [
                        *blocks[: at + 1],
                        blocks[other],
                        *blocks[at + 1 : other],
                        *blocks[other + 1 :],
                    ]
                )
                yield _joined([*blocks[:at], *blocks[at + 1 : other], block, *blocks[other:]])
                break
    for at in range(len(blocks) - 1):
        yield _joined([*blocks[:at], blocks[at + 1], blocks[at], *blocks[at + 2 :]])
    for at in range(len(script)):
        yield script[:at] + script[at + 1 :]


def _joined(blocks: list[Script]) -> Script:
    return tuple(entry for block in blocks for entry in block)
