"""README's figures are those of the commit, its speeds those of benchmarks/published.json.

    python -m benchmarks access_path startup --out benchmarks/published.json
    MMACTORS_RENEW_GOLDEN=1 pytest tests/example/test_readme_figures.py

measures the speeds anew, and writes all figures into README.
"""

import json
import os
import re
from pathlib import Path

import pytest

from mmactors.cli.main import run_command
from mmactors.cli.terminal.progress import compact

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PUBLISHED = ROOT / "benchmarks/published.json"
RENEWS = os.environ.get("MMACTORS_RENEW_GOLDEN") == "1"

TOOK = r"of virtual time in ([\d.]+) s"
RATE = r"accesses \(([\d.]+ \w)/s\)"


def _run_s(published):
    return published["figures"]["startup"]["quickstart_later"]["run_s"]


SPEEDS = {
    r"(\d+) million memory references a second": lambda published: (
        f"{published['figures']['access_path']['all']:.0f}"
    ),
    TOOK: lambda published: f"{_run_s(published):.2f}",
    RATE: lambda published: compact(_nr_accesses() / _run_s(published)),
    r"are of commit `([^`]+)`": lambda published: published["commit"],
    r"on `([^`]+)`, see": lambda published: published["host"]["cpu"],
}
"""What README says, and which figure that is."""


def screen():
    """Return what README shows of a run of the quickstart."""
    blocks = README.read_text().split("```")[1::2]
    return next(block for block in blocks if block.startswith("\nok: seed ")).removeprefix("\n")


def _nr_accesses():
    return int(re.search(r"(\d+) accesses", screen())[1])


def without_speeds(text):
    """Return a screen without what depends on the host."""
    return re.sub(RATE, "accesses (# /s)", re.sub(TOOK, "of virtual time in # s", text))


def test_the_screen_of_the_quickstart_is_what_it_prints(tmp_path, monkeypatch, capsys):
    """All but its speed."""
    shown = screen()
    monkeypatch.chdir(tmp_path)
    assert 0 == run_command(["run", str(ROOT / "configs/quickstart.yaml")])
    printed = capsys.readouterr().out

    if RENEWS and without_speeds(printed) != without_speeds(shown):
        README.write_text(README.read_text().replace(shown, printed))
        shown = printed
    assert without_speeds(printed) == without_speeds(shown)


@pytest.mark.parametrize("said", SPEEDS)
def test_a_speed_is_the_one_that_was_measured(said):
    """Of which commit, and on what, stands beside it."""
    text = README.read_text()
    found = re.search(said, text)
    measured = SPEEDS[said](json.loads(PUBLISHED.read_text()))

    if RENEWS and measured != found[1]:
        text = text[: found.start(1)] + measured + text[found.end(1) :]
        README.write_text(text)
        found = re.search(said, text)
    assert measured == found[1]
