"""The test to paste: valid Python for any names and labels, and it plays what was found."""

import ast
import enum
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mmactors
from mmactors.explore import search
from mmactors.explore.execution.broken import Broken, Kind
from mmactors.explore.execution.script import decode, encode
from mmactors.explore.report.pasted import pasted_test, quoted
from mmactors.explore.search.decorator import RaceFound


def world_of(name='it\'s "a" \\ test', text="label"):
    """Return what builds a world whose names and values are these."""

    def test_lost(world):
        count = world.cell(name, 0)

        async def counts():
            await world.step(f"read {text}", reads=(count,))
            seen = count.value
            await world.step(f"write {text}", writes=(count,))
            count.value = seen + 1

        world.actor(f"{name} a", counts)
        world.actor(f"{name} b", counts)

        @world.at_end
        def no_update_is_lost():
            assert count.value == 2

    test_lost.__qualname__ = "test_lost"
    return test_lost


TEXTS = st.text(max_size=12).filter(lambda text: ": " not in f"{text} a")


@given(name=TEXTS, text=st.text(max_size=12))
def test_it_is_python_and_plays_the_schedule_whatever_things_are_called(name, text):
    """Quotes, backslashes, line ends, surrogates, letters of all scripts."""
    build = world_of(name, text)
    failure = search(build).failure
    module = {"mmactors": mmactors, "test_lost": build}

    exec(compile(failure.scripted_test, "pasted.py", "exec"), module)  # noqa: S102 - that is the test

    with pytest.raises(RaceFound) as found:
        module["test_lost_as_found"]()
    assert failure.script == found.value.verdict.failure.script
    assert failure.script == decode(failure.replay)[1]


@given(st.text())
def test_a_quoted_text_is_the_text(text):
    """As Python reads it."""
    assert text == ast.literal_eval(quoted(text))


@given(st.lists(st.tuples(TEXTS, st.text(max_size=12)), min_size=1, max_size=4))
def test_the_text_of_a_schedule_gives_it_back(script):
    """Labels with ends of lines, too."""
    assert tuple(script) == decode(encode(tuple(script), "0" * 12))[1]


@given(law=st.text(), kind=st.sampled_from(Kind))
def test_whatever_a_law_is_called_the_test_compiles(law, kind):
    """Its name stands in the docstring."""
    broken = Broken(kind=kind, law=law, text="")

    tree = ast.parse(pasted_test(world_of(), (("a", "b"),), broken))

    assert law in (ast.get_docstring(tree.body[0], clean=False) or "")


class TestOfAClass:
    """Where methods are tests."""

    @mmactors.explore
    def test_method(self, world):
        """Fails."""
        world_of()(world)


LAMBDA = lambda world: world  # noqa: E731 - what has no name


class Colour(enum.Enum):
    """What has no text that is Python."""

    RED = 1


@given(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.text(), st.binary(),
        st.floats(allow_nan=False, allow_infinity=False), st.lists(st.integers()),
        st.tuples(st.text(), st.none()), st.dictionaries(st.text(), st.integers()),
    )
)  # fmt: skip
def test_arguments_that_are_literals_are_written(value):
    """By name, as pytest hands parameters over."""
    broken = Broken(kind=Kind.LAW, law="law", text="")

    written = pasted_test(partial(world_of(), mode=value), (("a", "b"),), broken)

    call = ast.parse(written).body[0].body[1].value
    assert {"mode": value} == {each.arg: ast.literal_eval(each.value) for each in call.keywords}


@pytest.mark.parametrize("value", [Colour.RED, float("nan"), float("inf"), object(), len])
def test_an_argument_without_text_is_refused_with_the_reason(value):
    """In comments, which are Python; the replay text remains."""
    broken = Broken(kind=Kind.LAW, law="law", text="")

    written = pasted_test(partial(world_of(), mode=value), (("a", "b"),), broken)

    assert [] == ast.parse(written).body
    assert written.startswith("# no test can be written down: mode is ")


def test_what_has_no_name_in_a_file_is_refused_with_the_reason():
    """A lambda, a function inside another, an object."""
    broken = Broken(kind=Kind.LAW, law="law", text="")

    def inside(world):
        del world

    class Builds:
        def __call__(self, world):
            del world

    reasons = {
        "stands inside another function": inside,
        "is no function": Builds(),
        "is <lambda>": LAMBDA,
    }
    for reason, build in reasons.items():
        written = pasted_test(build, (("a", "b"),), broken)
        assert [] == ast.parse(written).body
        assert reason in written


def test_a_method_is_called_of_an_object_of_its_class():
    """As pytest calls it."""
    with pytest.raises(RaceFound) as found:
        TestOfAClass().test_method()
    written = found.value.verdict.failure.scripted_test
    module = {"mmactors": mmactors, "TestOfAClass": TestOfAClass}

    assert "        TestOfAClass().test_method," in written
    exec(compile(written, "pasted.py", "exec"), module)  # noqa: S102 - that is the test
    with pytest.raises(RaceFound):
        module["test_method_as_found"]()


TestOfAClass.__test__ = False
