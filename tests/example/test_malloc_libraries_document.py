"""docs/malloc-libraries.md: its table is what its command prints, and the text agrees."""

import os
import re
from pathlib import Path

import pytest

from mmactors.cli.main import run_command

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "malloc-libraries.md"
TABLE = re.compile(r"<!-- table -->\n(.*?)<!-- end -->", re.DOTALL)
NAMES = re.compile(r"heap-compare configs/traces/\{([\w,]+)\}\.npz --markdown")
RENEW = "MMACTORS_RENEW_GOLDEN"


def table():
    found = TABLE.search(DOCUMENT.read_text())
    assert found is not None, f"{DOCUMENT} has a table"
    return found[1]


def rows():
    """Return the cells of the table by program and library, each by its title."""
    titles, _, *lines = (
        [cell.strip() for cell in line.split("|")[1:-1]] for line in table().splitlines()
    )
    found, program = {}, ""
    for cells in lines:
        program = cells[0] or program
        found[program, cells[1]] = dict(zip(titles, cells, strict=True))
    return found


def printed(capsys, names, out):
    traces = [str(ROOT / "configs" / "traces" / f"{name}.npz") for name in names]
    assert 0 == run_command(["heap-compare", *traces, "--markdown", "--out", str(out), "-q"])
    return capsys.readouterr().out


def the_eight():
    found = NAMES.search(DOCUMENT.read_text())
    assert found is not None, f"{DOCUMENT} has the command"
    return found[1].split(",")


@pytest.mark.slow
def test_the_table_is_what_the_command_prints(capsys, tmp_path):
    """All eight programs on three libraries; of two of them the ordinary suite knows."""
    output = printed(capsys, the_eight(), tmp_path)
    if os.environ.get(RENEW):
        text = DOCUMENT.read_text()
        table_of_text = TABLE.search(text)
        assert table_of_text is not None, f"{DOCUMENT} has a table"
        start, end = table_of_text.span(1)
        DOCUMENT.write_text(text[:start] + output + text[end:])

    assert table() == output


@pytest.mark.skipif(
    "MMACTORS_GUARD" in os.environ,
    reason="rows run one by one then, and take locks, whose words are touched",
)
def test_two_programs_of_the_table_are_as_they_run(capsys, tmp_path):
    lines = printed(capsys, ["bash", "sqlite"], tmp_path).splitlines()

    assert 2 + 6 == len(lines)
    assert set(lines) <= set(table().splitlines())


def test_eight_programs_are_there_on_three_libraries():
    libraries = ("ptmalloc", "tcmalloc", "jemalloc")

    assert 8 == len(the_eight())
    assert {(name, library) for name in the_eight() for library in libraries} == set(rows())


@pytest.mark.parametrize(
    ("program", "library", "title", "said"),
    [
        ("gitgc", "ptmalloc", "faults", "{} faults, and 550"),
        ("gitgc", "tcmalloc", "faults", "{} and 1,105 faults"),
        ("gitgc", "jemalloc", "faults", "1,611 and {} faults"),
        ("mtc", "ptmalloc", "waits", "({} waits, 0.25 ms)"),
    ],
)
def test_what_the_text_says_is_in_the_table(program, library, title, said):
    """Some of its numbers; the others are in what the same command prints for one program."""
    number = rows()[program, library][title]

    assert said.format(number) in " ".join(DOCUMENT.read_text().split())
