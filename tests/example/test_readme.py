"""The race test of the README is run as it stands there."""

import re
from pathlib import Path

import pytest

import mmactors.explore

assert mmactors.explore  # Runs inside this process share the modules that it has imported.
ROOT = Path(__file__).parents[2]
SECOND_SCREEN = 100
"""A screen is some fifty lines."""

RAISED = "mmactors.explore.search.decorator.RaceFound"

pytest_plugins = ["pytester"]


def block(document, language):
    """Return the code of the first block with a race test, or the first output of one."""
    parts = (ROOT / document).read_text().split("```")[1::2]
    wanted = "@mmactors.explore" if language else "a law is broken"
    found = next(part for part in parts if part.startswith(f"{language}\n") and wanted in part)
    return found.removeprefix(f"{language}\n")


@pytest.fixture(autouse=True)
def own_settings(pytester):
    """A project with the strictest settings."""
    pytester.makeini("[pytest]\naddopts = --strict-markers\nfilterwarnings = error\n")


def run(pytester, source):
    """Run a test file; return its result and its output without pytest's margins."""
    pytester.makepyfile(source)
    result = pytester.runpytest()
    lines = [re.sub(r"^E( {7}| *$)", "", line) for line in result.outlines]
    return result, "\n".join(line.removeprefix(f"{RAISED}: ") for line in lines)


def test_the_race_test_on_the_second_screen_finds_its_bug(pytester):
    """At most 15 lines, and the output is the one that stands below it."""
    source = block("README.md", "python")
    result, output = run(pytester, source)

    assert len(source.splitlines()) <= 15
    assert (ROOT / "README.md").read_text().splitlines().index("## A race test") < SECOND_SCREEN
    result.assert_outcomes(failed=1)
    shown = block("README.md", "").splitlines()
    found = output.splitlines()
    assert [line for line in shown if line] == [line for line in shown if line and line in found]


def test_its_fix_is_explored_to_the_end_with_the_verdict_that_is_promised(pytester):
    """One operation instead of two."""
    source = block("README.md", "python")
    twofold = """        await refcount.add(-1)
        if await refcount.read() == 0:
"""
    assert twofold in source
    fixed = source.replace(twofold, "        if await refcount.dec_and_test():\n")
    result, output = run(pytester, fixed)

    result.assert_outcomes(passed=1)
    promised = re.search(r"`(exhausted within.*?)`", (ROOT / "README.md").read_text(), re.DOTALL)[1]
    assert " ".join(promised.split()) in output
