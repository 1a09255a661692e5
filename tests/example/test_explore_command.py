"""`mmactors explore`: races of scenario files, from the shell."""

import json
from pathlib import Path

import pytest
from explored import MACHINE

from mmactors.cli.main import run_command
from mmactors.explore.execution.script import encode

RACE = (
    MACHINE.format(cpus=2)
    + """
race: {scope: [page_tables, tlb], title: Loads against munmap, id: X1}
processes:
  - name: app
    on_signal: continue
    program:
      - thread T1 cpu=1
      - mmap A 4K
      - touch A write
      - T1: touch A read
      - race
      - T1& touch A read
      - munmap A
"""
)


@pytest.fixture
def race(tmp_path, monkeypatch):
    """Return a scenario file with a race that breaks nothing."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COLUMNS", raising=False)  # A worker of pytest-xdist has one.
    path = tmp_path / "race.yaml"
    path.write_text(RACE)
    return path


def test_a_race_without_broken_rules_is_explored_as_it_is(race, capsys):
    """One line says how sure the result is."""
    assert 0 == run_command(["explore", str(race)])

    out = capsys.readouterr().out
    assert out.startswith(f"ok       {race}: right: exhausted: ")


def test_the_result_is_there_as_json(race, capsys):
    """With what was explored, and how."""
    assert 0 == run_command(["explore", "--json", str(race)])

    (found,) = json.loads(capsys.readouterr().out)["races"]
    assert ("X1", [], None) == (found["id"], found["problems"], found["broken"])
    assert "exhausted" == found["right"]["outcome"]
    assert ["page_tables", "tlb"] == found["right"]["scope"]


def test_several_races_end_with_a_table(race, capsys):
    """A row an entry."""
    assert 0 == run_command(["explore", str(race), str(race)])

    table = capsys.readouterr().out
    assert 2 == table.count("│ Loads against munmap")
    assert "buggy kernel" in table


def test_the_gallery_is_a_page(race, capsys):
    """Markdown: the table, then each entry with its scope."""
    assert 0 == run_command(["explore", "--markdown", str(race)])

    page = capsys.readouterr().out
    assert "| [X1](#x1-loads-against-munmap) | Loads against munmap |" in page
    assert "## X1: Loads against munmap" in page
    assert "- Scope: `page_tables`, `tlb`" in page


def test_a_rule_that_breaks_nothing_is_a_problem(race, capsys):
    """The entry says that its rule matters; if it does not, the command fails."""
    race.write_text(RACE.replace("id: X1", "broken: [migrate_collect_flushes_under_ptl]"))

    assert 1 == run_command(["explore", str(race)])

    out = capsys.readouterr().out
    assert "DIFFERS" in out
    assert "the broken rules migrate_collect_flushes_under_ptl break nothing" in out


def test_a_scenario_without_a_race_is_the_users_error(tmp_path, capsys):
    """It says what to write."""
    path = tmp_path / "plain.yaml"
    path.write_text("processes:\n  - name: app\n    program: [nop]\n")

    assert 2 == run_command(["explore", str(path)])

    assert (
        f"{path}: the scenario has no race; expected a section `race:`" in capsys.readouterr().err
    )


def test_a_replay_is_of_one_scenario(race, capsys):
    """And of a schedule that can be read."""
    assert 2 == run_command(["explore", str(race), str(race), "--replay", "mm1.0.0"])
    assert "--replay: 2 scenarios are named" in capsys.readouterr().err

    assert 2 == run_command(["explore", str(race), "--replay", "nonsense"])
    assert "'nonsense' is no schedule" in capsys.readouterr().err

    other = encode((("app", "load"),), "0" * 12)
    assert 2 == run_command(["explore", str(race), "--replay", other])
    assert "is of program 000000000000, this is program" in capsys.readouterr().err


DEADLOCK = Path(__file__).parents[2] / "configs" / "races" / "c16-punch-hole-write.yaml"


def test_a_report_is_as_wide_as_the_terminal_and_v_shows_all_of_it(race, capsys, monkeypatch):
    """80 columns where nothing says how many; what is hidden is counted."""
    monkeypatch.setenv("COLUMNS", "80")
    assert 0 == run_command(["explore", str(DEADLOCK)])
    short = capsys.readouterr().out
    assert 0 == run_command(["explore", str(DEADLOCK), "-v"])
    whole = capsys.readouterr().out

    table = [line for line in short.splitlines() if " | " in line]
    assert 60 < max(map(len, table)) <= 80
    assert "lines hidden" in short
    assert "lines hidden" not in whole
    assert len(whole) > len(short)


def test_what_fails_is_drawn_as_a_page(race, capsys):
    """Also when it is replayed; where nothing fails, no file is written, and that is said."""
    assert 0 == run_command(["explore", str(DEADLOCK), "--html", "out/lanes.html"])
    replayed = capsys.readouterr().out.split("--replay ")[1].split()[0]
    drawn = Path("out/lanes.html").read_text()
    arguments = ["explore", str(DEADLOCK), "--replay", replayed, "--html", "again.html"]
    assert 1 == run_command(arguments)
    capsys.readouterr()
    assert 0 == run_command(["explore", str(race), "--html", "none.html"])

    assert "mmap_lock of app" in drawn
    assert "mmap_lock of app" in Path("again.html").read_text()
    assert not Path("none.html").exists()
    assert "no schedule fails, so none.html was not written" in capsys.readouterr().err


def test_a_page_that_cannot_be_written_is_an_error_of_four_parts(race, capsys):
    """The folder is a file."""
    assert 2 == run_command(["explore", str(DEADLOCK), "--html", f"{race}/lanes.html"])

    error = capsys.readouterr().err
    assert "--html: " in error
    assert "cannot be written" in error
    assert "expected a file in a folder that can be written" in error
    assert "name another file" in error
