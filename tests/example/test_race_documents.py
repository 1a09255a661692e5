"""docs/races.md and docs/race-reference.md show what is: their tests run, and print what they show.

A ```python block is a test file; a comment in its first line names it. The block of output behind
it is what it prints: the report of its failure, or the whole text of that, or, if it passes, the
line of its verdict. A ```diff block behind that is the fix: with it the test passes.

    MMACTORS_RENEW_GOLDEN=1 pytest -n0 tests/example/test_race_documents.py

writes the outputs anew.
"""

import os
import re
import sys
from pathlib import Path

import pytest
from attrs import evolve, frozen

import mmactors.explore

assert mmactors.explore  # Runs inside this process share the modules that it has imported.
ROOT = Path(__file__).parents[2]
DOCUMENTS = ("docs/races.md", "docs/race-reference.md")
RENEWS = os.environ.get("MMACTORS_RENEW_GOLDEN") == "1"
RAISED = "mmactors.explore.search.decorator.RaceFound: "
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)

pytest_plugins = ["pytester"]


@frozen
class Example:
    """A test of a document, what it prints, and its fix."""

    document: str
    name: str
    source: str
    shown: str | None = None
    fix: str | None = None
    shown_fixed: str | None = None


def examples():
    """Return all tests of both documents, in their order."""
    found = []
    for document in DOCUMENTS:
        for language, inside in FENCE.findall((ROOT / document).read_text()):
            match language:
                case "python" if inside.startswith("# my_laws.py"):
                    pass  # It stands beside a scenario: tests/interleaving/test_own_laws.py
                case "yaml":
                    pass
                case "python":
                    name = re.search(r"def (test_\w+)\(", inside)[1]
                    found.append(Example(document, name, inside))
                case "diff":
                    found[-1] = evolve(found[-1], fix=inside)
                case "" if found[-1].fix is None:
                    found[-1] = evolve(found[-1], shown=inside)
                case "":
                    found[-1] = evolve(found[-1], shown_fixed=inside)
                case _:
                    assert language == "sh", f"what is this block?\n{inside}"
    return found


def fixed(source, diff):
    """Return a test file with a diff applied, whose lines stand there once."""
    for hunk in re.split(r"^\.\.\.\n", diff, flags=re.MULTILINE):
        lines = hunk.splitlines(keepends=True)
        before = "".join(line[1:] for line in lines if line[0] in " -")
        after = "".join(line[1:] for line in lines if line[0] in " +")
        assert 1 == source.count(before), f"not once in the test:\n{before}"
        source = source.replace(before, after)
    return source


def printed(pytester, source):
    """Run a test file; return the text of its failure, or None, and the line of its verdict."""
    named = re.match(r"# (test_\w+)\.py\n", source)
    path = pytester.path / f"{named[1] if named else 'test_race'}.py"
    path.write_text(source)
    sys.modules.pop(path.stem, None)  # Another test of this suite may be called the same.
    result = pytester.runpytest()
    lines = [re.sub(r"^E( {7}| *$)", "", line) for line in result.outlines]
    text = "\n".join(lines)
    verdict = next(line for line in result.outlines if line.startswith(f"{path.name}::"))
    if RAISED not in text:
        result.assert_outcomes(passed=1)
        return None, f"{verdict}\n"
    result.assert_outcomes(failed=1)
    text = text.split(RAISED, 1)[1]
    text = re.split(r"\n\n\S*decorator\.py:\d+: RaceFound", text)[0]
    text = re.sub(r"mm1\.\S+", "mm1....", text)
    return "".join(f"{line}".rstrip() + "\n" for line in text.splitlines()), f"{verdict}\n"


def report_of(text):
    """Return what comes before how it was found, and how to run it again."""
    return text[: text.index("found by ")].rstrip() + "\n"


def compare(example, shown, actual):
    """Assert that a document shows what is printed, or let it."""
    if RENEWS and shown != actual:
        path = ROOT / example.document
        text = path.read_text()
        begin = text.index(example.source)
        at = text.index(f"```\n{shown}```", begin)
        path.write_text(text[:at] + f"```\n{actual}```" + text[at + len(shown) + 7 :])
        return
    assert shown == actual


@pytest.fixture(autouse=True)
def own_settings(pytester, monkeypatch):
    """A project with the strictest settings, and a terminal of a known width.

    Where CI or BUILD_NUMBER is set, pytest shows assertions in full: a document shows them as
    they stand on a terminal.
    """
    pytester.makeini("[pytest]\naddopts = --strict-markers\nfilterwarnings = error\n")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.delenv("BUILD_NUMBER", raising=False)


@pytest.mark.parametrize("example", examples(), ids=lambda example: example.name)
def test_an_example_prints_what_stands_below_it_and_passes_with_its_fix(example, pytester):
    """Each is a file of its own, in an empty directory."""
    text, verdict = printed(pytester, example.source)
    if text is None:
        assert example.fix is None, f"{example.name} passes as it is"
        if example.shown is not None:
            compare(example, example.shown, verdict)
        return
    assert example.fix is not None, f"{example.name} fails, and no fix is shown:\n{text}"
    assert example.shown is not None, f"{example.name} shows no output:\n{report_of(text)}"
    is_whole = "to run this schedule again" in example.shown
    compare(example, example.shown, text if is_whole else report_of(text))

    after, verdict = printed(pytester, fixed(example.source, example.fix))

    assert after is None, after
    if example.shown_fixed is not None:
        compare(example, example.shown_fixed, verdict)


def test_each_primitive_and_each_choice_has_an_example():
    """A user copies what stands there."""
    sources = "".join(example.source for example in examples())
    world = mmactors.explore.World
    named = {
        *("condition", "semaphore", "event", "once_flag", "rwlock", "barrier", "atomic"),
        *("cell", "lock", "mailbox", "wait_queue", "interrupt", "irqs_off", "cpu", "step"),
        *("choose", "may", "any_time", "allow", "always", "at_end", "monitor", "sometimes"),
    }

    assert [] == sorted(name for name in named if not hasattr(world, name))
    fixes = "".join(example.fix or "" for example in examples())
    missing = [name for name in named if f"world.{name}" not in sources + fixes]
    assert [] == sorted(missing)


def test_the_first_test_fits_into_ten_lines_of_a_world():
    """A newcomer types it."""
    first = examples()[0]

    assert len([line for line in first.source.splitlines() if line.strip()]) <= 14
    assert "import mmactors\n" in first.source
