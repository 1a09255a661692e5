"""Explored tests in projects as they are: folders, classes, files that cannot be written."""

import re
import textwrap

import pytest

import mmactors.explore
from mmactors.errors import UserError

assert mmactors.explore  # Runs inside this process share the modules that it has imported.
pytest_plugins = ["pytester"]

RACE = """
    import mmactors
    import unittest


    def lose(world, nr_updates):
        count = world.cell("count", 0)

        async def increments():
            await count.write(await count.read() + 1)

        for number in range(nr_updates):
            world.actor(f"cpu{number}", increments)

        @world.at_end
        def none_is_lost():
            assert count.value == nr_updates


    @mmactors.explore
    def test_counter(world):
        lose(world, 2)
"""
UNIT = """
    class TestCounter(unittest.TestCase):
        def setUp(self):
            self.nr_updates = 2

        @mmactors.explore
        def test_unit(self, world):
            lose(world, self.nr_updates)
"""


def printed(result):
    """Return what a run printed, without what pytest puts in front of errors."""
    return re.sub(r"(?m)^E( {7})?", "", result.stdout.str())


def test_the_printed_command_runs_from_the_folder_where_pytest_was(pytester):
    """A test's own name begins at the root of the project."""
    pytester.makeini("[pytest]")
    folder = pytester.mkdir("deep")
    (folder / "test_it.py").write_text(textwrap.dedent(RACE))
    result = pytester.runpytest()
    assert "  pytest 'deep/test_it.py::test_counter' --mmactors-replay=mm1." in printed(result)

    pytester.chdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        result = pytester.runpytest_subprocess()
        command = re.search(r"pytest '(.*)' (--mmactors-replay=\S+)", printed(result))
        again = pytester.runpytest_subprocess(*command.groups())

    assert command[1] == "test_it.py::test_counter"
    again.assert_outcomes(failed=1)
    assert "found by the given schedule" in printed(again)


def test_a_schedule_that_cannot_be_kept_is_told_all_the_same(pytester):
    """With the reason; .mmactors is no folder here."""
    pytester.makepyfile(RACE)
    (pytester.path / ".mmactors").write_text("in the way")
    result = pytester.runpytest()

    result.assert_outcomes(failed=1)
    assert re.search(
        r"no schedule with fewer breaks it\n"
        r"found by up to 1 preemption in schedule 4; it could not be kept: \[Errno \d+\] Not a dir",
        printed(result),
    )


def test_a_method_whose_object_was_set_up_cannot_be_pasted_and_says_so(pytester):
    """`TestCounter().test_unit` would miss what setUp has made."""
    pytester.makepyfile(RACE + UNIT)
    result = pytester.runpytest("-k", "unit")

    result.assert_outcomes(failed=1)
    assert (
        "# no test can be written down: TestCounter() has attributes that were set before the test"
        in printed(result)
    )


def test_what_plays_a_schedule_says_how_to_play_it_and_no_command_that_does_not_exist(pytester):
    """The test that is played has another name than the one that plays it."""
    path = pytester.makepyfile(
        RACE
        + """
    def test_as_found():
        mmactors.play(test_counter, ["cpu0: read count", "cpu1: read count"])
"""
    )
    result = pytester.runpytest(f"{path.name}::test_as_found")

    assert "to run this schedule again, paste:\n  def test_counter_as_found():" in printed(result)
    assert "--mmactors-replay" not in printed(result)


def test_a_schedule_of_before_a_change_says_what_to_do(pytester):
    """The steps have other names now; nothing of this package's own lines is shown."""
    path = pytester.makepyfile(
        RACE
        + """
    def test_as_found():
        mmactors.play(test_counter, ["cpu0: read counter"])
"""
    )
    result = pytester.runpytest(f"{path.name}::test_as_found")

    text = printed(result)
    assert "entry 1 is 'cpu0: read counter', but only these can be taken: cpu0: read count" in text
    assert "the steps have changed since: search anew, and delete this schedule" in text
    assert "script.py" not in text


@pytest.mark.parametrize(
    ("option", "found"),
    [
        ({"jobs": 0}, "jobs is 0; expected at least 1"),
        ({"bound": -1}, "bound is -1; expected at least 0"),
        ({"max_steps": 0}, "max_steps is 0; expected at least 1"),
    ],
)
def test_a_number_that_makes_no_search_is_refused_where_it_is_given(option, found):
    """It would be a search of nothing that passes."""
    with pytest.raises(UserError, match=found):
        mmactors.explore(**option)


@pytest.mark.parametrize("given", ["count", 5, type("Test", (), {})], ids=repr)
def test_what_has_no_line_is_refused_with_the_line_that_hands_it_over(given):
    """A text is no scope by position."""
    with pytest.raises(UserError, match=r"test_pytest_project.py:\d+: .* is a "):
        mmactors.explore(given)


def test_the_name_of_one_object_is_a_scope(pytester):
    """And not the names of its letters."""
    pytester.makepyfile(RACE.replace("@mmactors.explore", '@mmactors.explore(scope="count")'))

    assert "failed after 4" in printed(pytester.runpytest())
