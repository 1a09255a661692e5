"""Arguments of explored tests: parameters, positions, hypothesis; and what a replay skips."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mmactors
from mmactors.errors import UserError
from mmactors.explore.search.decorator import RaceFound

pytest_plugins = ["pytester"]


@mmactors.explore
def adds(world, number=1, *, limit=3):
    """One actor adds; explored when it is called."""
    total = world.cell("total", 0)

    async def runs():
        await total.add(number)

    world.actor("a", runs)

    @world.at_end
    def it_is_not_too_much():
        assert total.value <= limit


class Methods:
    """Methods are explored as functions are."""

    @mmactors.explore
    def adds(self, world, number=1):
        """One actor adds."""
        self.total = world.cell("total", 0)
        world.actor("a", self.runs, number)
        world.at_end(lambda: self.total.value <= 3)

    async def runs(self, number):
        """Add to what the test has made."""
        await self.total.add(number)

    @staticmethod
    @mmactors.explore
    def static(world, number=1):
        """The same without an object."""
        total = world.cell("total", 0)
        world.actor("a", total.add, number)
        world.at_end(lambda: total.value <= 3)


CALLED = [adds, Methods().adds, Methods.static]


@pytest.mark.parametrize("test", CALLED)
def test_arguments_come_after_the_world_by_position_or_by_name(test):
    """Of a test that is called, and of one schedule of it that is played."""
    test(3)
    test(number=3)
    mmactors.play(test, ["a: add total"], 3)
    mmactors.play(test, ["a: add total"], number=3)
    for call in (test, lambda number: mmactors.play(test, ["a: add total"], number)):
        with pytest.raises(RaceFound):
            call(4)


def test_a_method_is_played_of_an_object_or_with_one():
    """As methods are called."""
    mmactors.play(Methods.adds, ["a: add total"], Methods(), 3)


@pytest.mark.parametrize(
    ("args", "kwargs", "found"),
    [
        ((1, 2), {}, "adds gets 2 more by position; expected besides the world: number"),
        ((1,), {"number": 1}, "adds gets 'number' twice"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(args, kwargs, found):
    """With those that would."""
    with pytest.raises(UserError, match=found):
        adds(*args, **kwargs)


def generator(world):
    """Never runs."""
    yield world


@pytest.mark.parametrize(
    ("function", "found"),
    [
        (adds, "is explored already"),
        (generator, "is a generator function"),
        (Methods, "is a class"),
        (classmethod(generator), "is a classmethod.*put it above @mmactors.explore"),
        (given(number=st.integers())(lambda world, number: None), "put @given above"),
    ],
    ids=["twice", "generator", "class", "classmethod", "given"],
)
def test_what_cannot_be_explored_is_refused_with_the_reason(function, found):
    """When the test is defined."""
    with pytest.raises(UserError, match=found):
        mmactors.explore(function)


DRAWN = """
    import mmactors
    import pytest
    from hypothesis import given, settings, strategies as st

    def adds(world, number):
        total = world.cell("total", 0)

        async def runs():
            await total.add(number)

        world.actor("a", runs)
        world.actor("b", runs)
        world.at_end(lambda: total.value == 2 * number)

    @settings(max_examples=5)
    @given(number=st.integers(0, 3))
    @mmactors.explore
    def test_by_name(world, number):
        adds(world, number)

    @settings(max_examples=5)
    @given(st.integers(0, 3))
    @mmactors.explore
    def test_by_position(world, number):
        adds(world, number)

    class TestClass:
        @settings(max_examples=5)
        @pytest.mark.parametrize("factor", [1, 2])
        @given(number=st.integers(0, 3))
        @mmactors.explore
        def test_method(self, world, number, factor):
            adds(world, number * factor)
"""


def test_each_example_of_hypothesis_is_explored(pytester):
    """With @given above the decorator, beside parameters; verdicts that are alike are one line."""
    pytester.makepyfile(DRAWN)
    result = pytester.runpytest()

    result.assert_outcomes(passed=4)
    lines = [line for line in result.outlines if "exhausted within scope {total}: " in line]
    assert 4 == len(lines)


RACES = """
    import mmactors

    def counts(world, name):
        count = world.cell(name, 0)

        async def increment():
            await count.write(await count.read() + 1)

        world.actor("a", increment)
        world.actor("b", increment)
        world.at_end(lambda: count.value == 2)

    @mmactors.explore
    def test_first(world):
        counts(world, "first")

    @mmactors.explore
    def test_second(world):
        counts(world, "second")

    def test_other():
        pass
"""


def test_a_replay_of_a_whole_file_skips_the_tests_it_is_not_of(pytester):
    """With the reason; it is an error if it is of none."""
    pytester.makepyfile(RACES)
    output = pytester.runpytest("-k", "first").stdout.str()
    replay = re.search(r"--mmactors-replay=\S+", output)[0]

    result = pytester.runpytest(replay, "-rs")
    result.assert_outcomes(failed=1, skipped=1, passed=1)
    result.stdout.fnmatch_lines(
        ["*--mmactors-replay is not of this test: the schedule is of prog*"]
    )

    result = pytester.runpytest(replay, "-k", "not first")
    result.assert_outcomes(skipped=1, passed=1)
    assert pytest.ExitCode.USAGE_ERROR == result.ret
    result.stdout.fnmatch_lines(
        ["ERROR: --mmactors-replay: the schedule is of none of these tests*"]
    )


def test_a_mistake_shows_the_lines_of_the_test_and_no_others(pytester):
    """Nothing of the search, and nothing to replay."""
    pytester.makepyfile(
        """
        import mmactors

        @mmactors.explore
        def test_misspelt(world):
            count = world.cell("count", 0)

            async def increment():
                await count.increment()

            world.actor("a", increment)
        """
    )
    result = pytester.runpytest("-n0")

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([">*await count.increment()", "E*AttributeError: *'increment'*"])
    text = result.stdout.str()
    assert "mmactors-replay" not in text
    assert "mmactors/explore" not in text
