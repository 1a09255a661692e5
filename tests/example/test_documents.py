"""Documents name files that exist, and link to each other."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = (
    "README.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "docs/glossary.md",
    "docs/heap-traces.md",
    "docs/logs.md",
    "docs/race-reference.md",
    "docs/races.md",
    "docs/robustness.md",
    "tests/README.md",
)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_what_a_document_links_to_is_there(name):
    """Relative links, from where the document lies."""
    document = ROOT / name
    links = re.findall(r"\]\(([^)#:]+)\)", document.read_text())

    assert [] == [link for link in links if not (document.parent / link).exists()]


def test_the_glossary_names_files_that_exist():
    """Each word has its place in this project; the last cell of its row."""
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in (ROOT / "docs/glossary.md").read_text().splitlines()
        if line.startswith("| ") and "`" in line.rpartition("| ")[2]
    ]

    assert len(rows) > 60
    assert [] == [row[0] for row in rows if not (ROOT / row[-1].strip("`")).exists()]
    assert len(rows) == len({row[0] for row in rows}), "a word stands there once"


def test_the_readme_of_the_tests_names_what_lies_beside_it():
    """Every folder and every shared module, and the examples of each folder."""
    text = (ROOT / "tests/README.md").read_text()
    tests = ROOT / "tests"
    folders = {path.name for path in tests.iterdir() if any(path.glob("test_*.py"))}
    modules = {path.name for path in tests.glob("*.py")} - {"conftest.py"}

    assert [] == [name for name in sorted(folders) if f"| `{name}/` |" not in text]
    assert [] == [name for name in sorted(modules) if f"`{name}`" not in text]
    for name in set(re.findall(r"`(test_\w+\.py)`", text)):
        assert list(tests.glob(f"*/{name}")), name


def test_no_test_reaches_into_a_machine():
    """`machine.inspect()` shows what is inside; `machines.drive` wires one by hand."""
    private = "._" + "wired"

    assert [] == [
        str(path.relative_to(ROOT))
        for folder in ("tests", "benchmarks")
        for path in sorted((ROOT / folder).rglob("*.py"))
        if private in path.read_text()
    ]
