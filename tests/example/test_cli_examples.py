"""The first steps of a user: an example, a scenario of one's own, the schema, the shell."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
from ruamel.yaml import YAML

import mmactors
from mmactors.cli.examples import all_examples
from mmactors.cli.main import make_app, run_command
from mmactors.scenario.load import load_scenario

ROOT = Path(__file__).parents[2]


@pytest.fixture
def empty(tmp_path, monkeypatch):
    """An empty folder that is the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_python_m_mmactors_is_the_command():
    """Also where no script is on the path; the version is the package's own."""
    done = subprocess.run(
        [sys.executable, "-m", "mmactors", "--version"], capture_output=True, text=True, check=True
    )

    assert f"{mmactors.__version__}\n" == done.stdout


def test_every_example_says_what_it_shows_and_how_long(capsys):
    """One line each, short enough for a wide terminal."""
    assert 0 == run_command(["examples"])

    lines = capsys.readouterr().out.splitlines()
    files = sorted((ROOT / "configs").rglob("*.yaml"))
    assert sorted(path.stem for path in files) == sorted(
        line.split()[0] for line in lines if line.startswith("  ")
    )
    assert max(map(len, lines)) <= 150
    assert (
        "  quickstart                 about 2 s            "
        "Four CPUs, each executing the recorded memory accesses of a real program"
    ) in lines


def test_an_example_is_printed_as_it_stands(capsys):
    """With its comments."""
    assert 0 == run_command(["examples", "threads"])

    assert (ROOT / "configs/threads.yaml").read_text() == capsys.readouterr().out


def test_examples_as_json_are_rows(capsys):
    """For programs."""
    assert 0 == run_command(["examples", "--json"])

    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert {"run", "explore"} == {row["verb"] for row in rows.values()}
    assert rows["large"]["takes"] == "about half a minute"


@pytest.mark.parametrize("name", all_examples())
def test_a_scenario_made_from_any_example_is_right(empty, name, capsys):
    """Its traces lie beside it, and what it says of itself names it."""
    assert 0 == run_command(["new", "mine", "--from", name])

    last = capsys.readouterr().out.splitlines()[-1]
    assert f"next    mmactors {all_examples()[name].verb} mine.yaml" == last
    assert load_scenario(empty / "mine.yaml")
    assert f"{name}.yaml" not in (empty / "mine.yaml").read_text()
    assert str(ROOT) not in (empty / "mine.yaml").read_text()


def test_without_from_it_is_the_quickstart(empty, capsys):
    """Its four traces are copied."""
    assert 0 == run_command(["new", "demo"])

    names = sorted(path.relative_to(empty).as_posix() for path in empty.rglob("*.*"))
    traces = [f"traces/{name}.npz" for name in ("bc", "grep", "sed", "zstd")]
    assert ["demo.yaml", *traces] == names
    assert 0 == run_command(["check", "demo.yaml"])


def test_what_is_there_is_replaced_only_by_force(empty, capsys):
    """Nothing is written; traces that are the same already are no reason."""
    run_command(["new", "demo"])
    (empty / "demo.yaml").write_text("mine")
    (empty / "traces/bc.npz").write_text("mine too")

    code = run_command(["new", "demo"])

    assert 2 == code
    text = "it is there already; expected a name that is free (choose another NAME, or replace it"
    assert [f"{path}: {text} with --force)" for path in ("demo.yaml", "traces/bc.npz")] == (
        capsys.readouterr().err.splitlines()
    )
    assert "mine" == (empty / "demo.yaml").read_text()
    assert 0 == run_command(["new", "demo", "--force"])
    assert 0 == run_command(["check", "demo.yaml"])


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["a b"], "NAME: 'a b' is not the name of a scenario; expected up to 64 of A-Z"),
        (["../up"], "did you mean up?"),
        ([""], "(write mmactors new demo)"),
        (["x", "--from", "quickstar"], "--from: 'quickstar' is no example; expected one of exh"),
        (["x", "--from", "quickstar"], "(did you mean quickstart?)"),
    ],
)
def test_a_wrong_name_says_what_is_legal(empty, arguments, expected, capsys):
    """Exit code 2, and nothing is written."""
    assert 2 == run_command(["new", *arguments])

    assert expected in capsys.readouterr().err
    assert [] == list(empty.iterdir())


def test_the_schema_is_what_documents_have_and_editors_find(empty, capsys):
    """The first line of a file made with --schema names the file beside it."""
    assert 0 == run_command(["schema"])

    printed = capsys.readouterr().out
    assert (ROOT / "docs/scenario.schema.json").read_text() == printed
    run_command(["new", "demo", "--from", "threads", "--schema"])
    first, *_ = (empty / "demo.yaml").read_text().splitlines()
    assert "# yaml-language-server: $schema=mmactors.schema.json" == first
    schema = json.loads((empty / "mmactors.schema.json").read_text())
    jsonschema.validate(YAML(typ="safe").load(empty / "demo.yaml"), schema)
    assert 0 == run_command(["new", "other", "--schema"])


COMPLETE = """
source <({python} -m mmactors completion bash)
COMP_WORDS=({words}) COMP_CWORD={nth}
_mmactors
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_completes_verbs_options_and_files(empty):
    """Through the script that the user sources."""
    (empty / "demo.yaml").write_text("")

    def completed(*words: str) -> list[str]:
        script = COMPLETE.format(
            python=sys.executable, words=" ".join(f"'{word}'" for word in words), nth=len(words) - 1
        )
        done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
        return done.stdout.split()

    assert ["explain", "explore"] == sorted(completed("mmactors", "expl"))
    assert ["--force"] == completed("mmactors", "run", "--fo")
    assert ["demo.yaml"] == completed("mmactors", "run", "de")


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_are_given_every_verb(shell, capsys):
    """Their scripts are not run here."""
    assert 0 == run_command(["completion", shell])

    script = capsys.readouterr().out
    verbs = [name for name in make_app() if not name.startswith("-")]
    assert [] == [verb for verb in verbs if verb not in script]
