"""Laws and goals of a scenario's own: functions beside it that look at the machine."""

from functools import partial
from itertools import count
from pathlib import Path

import pytest
from explored import MACHINE
from machines import run

from mmactors.errors import UserError
from mmactors.explore.execution.broken import Kind
from mmactors.explore.execution.execution import Execution
from mmactors.explore.execution.loud import BecameVisible
from mmactors.explore.execution.nondeterminism import Nondeterminism, run_again
from mmactors.explore.search.options import Options
from mmactors.explore.search.search import replay, search
from mmactors.explore.search.verdict import Outcome
from mmactors.explore.strategy.pct import Pct
from mmactors.explore.strategy.pos import PartialOrderSampling
from mmactors.explore.strategy.random_walk import RandomWalk
from mmactors.races.machine import ExploredMachine
from mmactors.scenario.dump import dump_scenario
from mmactors.scenario.load import load_scenario

LAWS = '''
"""Laws of a test."""

import time

from words import FEW, NUMBERS


def nothing_is_left(machine):
    """Fail if the program has an area of its own at the end."""
    (app,) = machine.processes
    assert app.area(app.names["A"][0]) is None


def always_few_areas(machine):
    """Hold as long as nothing but A and the stack is mapped."""
    return len(machine.processes[0].areas) < FEW


def has_no_area(machine):
    """Tell whether A has gone."""
    (app,) = machine.processes
    return app.area(app.names["A"][0]) is None


def breaks(machine):
    raise ZeroDivisionError


def fails_once(machine):
    assert next(NUMBERS) != 7


def asks_the_clock(machine):
    return time.time() > 0
'''


@pytest.fixture
def race(tmp_path):
    """Return what makes a machine of a race section and a program's last operations."""
    (tmp_path / "laws.py").write_text(LAWS)
    (tmp_path / "words.py").write_text("FEW = 3\nNUMBERS = iter(range(1 << 30))\n")

    def make(section, *operations):
        text = f"{MACHINE.format(cpus=2)}\nrace: {{scope: [page_tables, tlb, vmas], {section}}}\n"
        text += "processes:\n  - name: app\n    on_signal: continue\n    program:\n"
        before = ("thread T1 cpu=1", "mmap A 4K", "touch A write", "race")
        text += "".join(f"      - {each}\n" for each in (*before, *operations))
        path = tmp_path / "race.yaml"
        path.write_text(text)
        return load_scenario(path, ())

    return make


def explored(scenario):
    """Return the verdict of a race."""
    return search(ExploredMachine(scenario), name="race", options=Options())


def test_a_law_looks_at_the_machine_when_all_is_done(race):
    """It asserts; the report names it, and the schedule replays."""
    machine = ExploredMachine(race("laws: [laws:nothing_is_left]", "T1& touch A read"))
    failure = search(machine, name="race").failure

    assert (Kind.LAW, "laws:nothing_is_left") == (failure.broken.kind, failure.broken.law)
    assert "laws:nothing_is_left" in failure.report
    again = replay(machine, failure.replay, name="race").failure
    assert failure.script == again.script


def test_a_law_that_holds_is_exhausted_like_any_other(race):
    """The same law, with an munmap."""
    verdict = explored(race("laws: [laws:nothing_is_left]", "munmap A"))

    assert Outcome.EXHAUSTED is verdict.outcome


def test_a_law_that_always_holds_is_asked_after_each_step(race):
    """It returns False in between, and would be true at the end."""
    scenario = race("laws: [laws:always_few_areas]", "mmap B 4K prot=r", "munmap B")
    failure = explored(scenario).failure

    assert "laws:always_few_areas" == failure.broken.law


def test_goals_that_no_schedule_meets_are_named(race):
    """By an event, by a step's text in either form, or by a function; not those that are met."""
    goals = "tlb_flush, compaction_begin, 'load A+0', 'load 0x*', 'no such step', laws:has_no_area"
    verdict = explored(race(f"reaches: [{goals}]", "T1& touch A read", "munmap A"))

    assert ("compaction_begin", "no such step") == tuple(sorted(verdict.missed))
    assert "never happened: " in str(verdict)


def test_a_scenario_with_laws_means_the_same_wherever_it_is_written(race, tmp_path):
    """The file's absolute path is kept."""
    scenario = race("laws: [laws:nothing_is_left], reaches: [tlb_flush, laws:has_no_area]")
    other = tmp_path / "elsewhere" / "race.yaml"
    other.parent.mkdir()
    other.write_text(dump_scenario(scenario))

    assert scenario.race == load_scenario(other, ()).race


def test_a_law_that_raises_breaks_the_schedule(race):
    """As any code of a test does: plainly."""
    with pytest.raises(ZeroDivisionError):
        explored(race("laws: [laws:breaks]", "munmap A"))


@pytest.mark.parametrize("law", ["fails_once", "asks_the_clock"])
def test_a_law_that_the_host_decides_is_no_law(race, law):
    """Whether it holds is no matter of the schedule."""
    with pytest.raises(Nondeterminism):
        explored(race(f"laws: [laws:{law}]", "T1& touch A read", "munmap A"))


def sample(execution, strategy):
    """Run some schedules twice each."""
    for _ in range(10):
        try:
            strategy.run(execution)
        except BecameVisible:
            continue
        run_again(execution)


@pytest.mark.parametrize("strategy", [RandomWalk, PartialOrderSampling, partial(Pct, depth=2)])
@pytest.mark.parametrize("is_read", [True, False])
def test_an_actor_beside_a_machine_that_the_host_decides_is_found_out(race, strategy, is_read):
    """By the value that it leaves, or by what somebody sees of it, in samples as well."""
    machine = ExploredMachine(race("", "T1& touch A read", "munmap A"))
    numbers = count()

    def build(world):
        machine(world)
        number, result = world.cell("number", 0), world.cell("result", 0)

        async def writes():
            await number.write(next(numbers))
            if is_read:
                await result.write(min(await number.read(), 0))
                await number.write(0)

        world.actor("extra", writes)

    execution = Execution(build)
    execution.is_run_twice = True
    with pytest.raises(Nondeterminism):
        sample(execution, strategy(1))
    execution.close()


def test_a_module_that_cannot_be_imported_is_an_error_with_its_line(race, tmp_path):
    """When the race is explored; a check does not run it."""
    (tmp_path / "laws.py").write_text("def law(machine):\n    return True\n\n\n1 / 0\n")
    scenario = race("laws: [laws:law]", "munmap A")

    with pytest.raises(UserError) as found:
        ExploredMachine(scenario)
    (problem,) = found.value.problems
    assert f"{tmp_path / 'laws.py'}:5:1" == str(problem.place)
    assert "importing it raises ZeroDivisionError: division by zero" == problem.found


@pytest.mark.parametrize(
    ("section", "found", "advice"),
    [
        ("laws: [nothing]", "race.laws[0]: 'nothing' names no function", "write my_laws:"),
        ("laws: [lows:law]", "there is no module lows: no file ", "looked for beside the scenario"),
        ("laws: [laws:nothing_left]", "defines no function nothing_left", "mean nothing_is_left?"),
        ("laws: [laws:late]", "late is async", "write def instead of async def"),
        ("laws: [laws:two]", "two cannot be called with one argument", "write def two(machine)"),
        ("laws: [bad:law]", "bad.py:1:", "mend it"),
        ("laws: 7", "race.laws is 7", "write the items"),
        ("reaches: [laws:nothing_left]", "defines no function nothing_left", "did you mean"),
        ("reaches: ['']", "race.reaches[0]: it is empty", "docs/events.md lists events"),
    ],
)  # fmt: skip
def test_names_that_are_wrong_have_errors_of_four_parts(race, tmp_path, section, found, advice):
    """Where the name stands, to the column; nothing was run."""
    more = "\nasync def late(machine): ...\ndef two(machine, other): ...\nraise SystemExit\n"
    (tmp_path / "laws.py").write_text(LAWS + more)
    (tmp_path / "bad.py").write_text("def law(machine:\n")

    with pytest.raises(UserError) as raised:
        race(section, "munmap A")
    (problem,) = raised.value.problems

    assert found in problem.found
    assert problem.legal.startswith("expected ")
    assert advice in problem.advice
    line = (tmp_path / "race.yaml").read_text().splitlines()[problem.place.line - 1]
    assert line.startswith("race: ")
    assert problem.place.column > line.index(section[:4])
    assert problem.place.file == str(tmp_path / "race.yaml")


def test_a_module_is_also_looked_for_where_python_looks(race, tmp_path, monkeypatch):
    """Inside a package, too; none is run for that."""
    package = tmp_path / "elsewhere" / "checked_laws"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise SystemExit\n")
    (package / "inner.py").write_text("def law(machine): ...\n")
    monkeypatch.syspath_prepend(package.parent)

    (name,) = race("laws: [checked_laws.inner:law]", "munmap A").race.laws

    assert f"{package / 'inner.py'}:law" == str(name)


def test_a_run_takes_no_notice_of_laws(race, tmp_path):
    """A machine of such a scenario runs without their module being run."""
    (tmp_path / "laws.py").write_text("def law(machine): ...\nraise SystemExit\n")
    scenario = race("laws: [laws:law]", "munmap A")

    assert run(scenario).events("sys_exit")


def test_the_example_of_the_page_is_one(tmp_path):
    """docs/races.md shows a law and its scenario; both work."""
    page = (Path(__file__).parents[2] / "docs" / "race-reference.md").read_text()
    law = next(part for part in page.split("```python\n") if part.startswith("# my_laws.py"))
    (tmp_path / "my_laws.py").write_text(law.split("```")[0])
    section = next(part for part in page.split("```yaml\n") if "my_laws:" in part).split("```")[0]
    text = MACHINE.format(cpus=2) + section
    text += "processes:\n  - name: app\n    program:\n"
    text += "".join(
        f"      - {each}\n" for each in ("mmap A 4K", "touch A write", "race", "munmap A")
    )
    (tmp_path / "race.yaml").write_text(text)

    verdict = explored(load_scenario(tmp_path / "race.yaml", ()))

    assert verdict.is_good
    assert () == verdict.missed
