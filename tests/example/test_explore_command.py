"""`mmactors explore`: races of scenario files, from the shell."""

import json
import os
import re
import signal
from pathlib import Path

import pytest
from explored import MACHINE

import mmactors
from mmactors.cli.main import run_command
from mmactors.explore.execution.script import encode
from mmactors.explore.search import progress
from mmactors.races import provenance
from mmactors.races.machine import ExploredMachine
from mmactors.races.provenance import measured_at

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
    assert "; shared outside the scope: " in out.splitlines()[0]


def test_what_is_shared_outside_the_scope_is_told_with_who_does_what(race, capsys):
    """And with the scope to paste; --json has it for programs."""
    assert 0 == run_command(["explore", str(race)])
    out = capsys.readouterr().out
    assert 0 == run_command(["explore", "--json", str(race)])

    (found,) = json.loads(capsys.readouterr().out)["races"]
    lock = next(each for each in found["right"]["outside"] if each["name"] == "mmap_lock")
    assert ("lock", ["app", "app/T1"]) == (lock["kind"], lock["written_by"])
    assert re.search(r"\n  mmap_lock +app and app/T1 lock\n", out)
    wider = found["right"]["wider_scope"]
    assert {"page_tables", "tlb", "mmap_lock"} <= set(wider)
    assert f"\nto try them: race: {{scope: [{', '.join(wider)}]}}\n" in out


def test_a_scope_that_names_nothing_is_the_users_error(race, capsys):
    """What kernel people call it is understood."""
    race.write_text(RACE.replace("[page_tables, tlb]", "[ptes, tlbs, 'ptl[0x7]', nonsense]"))

    assert 2 == run_command(["explore", str(race)])

    err = capsys.readouterr().err
    assert "race.scope: 'ptes' names no object of this machine; expected names such as " in err
    assert "did you mean page_tables?" in err
    assert "did you mean tlb?" in err
    assert "'nonsense' names no object" in err
    assert "ptl[0x7]" not in err


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
    assert "- Shared outside the scope: " in page
    assert f"- Right kernel, measured at {measured_at()}: exhausted: " in page


def test_figures_name_the_version_where_there_is_no_source(monkeypatch, tmp_path):
    """As in an installed package."""
    monkeypatch.setattr(provenance, "_ROOT", tmp_path)

    assert f"version {mmactors.__version__}" == measured_at()


def test_a_rule_that_breaks_nothing_is_a_problem(race, capsys):
    """The entry says that its rule matters; if it does not, the command fails."""
    race.write_text(RACE.replace("id: X1", "broken: [migrate_collect_flushes_under_ptl]"))

    assert 1 == run_command(["explore", str(race)])

    out = capsys.readouterr().out
    assert "DIFFERS" in out
    assert "the broken rules migrate_collect_flushes_under_ptl break nothing: outside " in out
    assert "tlb_gen (app writes, app/T1 reads)" in out
    assert "; try race: {scope: [page_tables, tlb, " in out


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


BROKEN = RACE.replace("id: X1", "broken: [migrate_collect_flushes_under_ptl]")


def test_a_budget_that_is_said_binds_both_kernels(race, capsys):
    """Whatever the entry says; what was not tried is no fault of the right kernel's."""
    race.write_text(BROKEN)
    run_command(["explore", "--json", "--budget", "7", str(race)])
    (found,) = json.loads(capsys.readouterr().out)["races"]

    assert (7, 7) == (found["broken"]["nr_schedules"], found["right"]["nr_schedules"])
    (problem,) = found["problems"]
    assert problem.startswith("the broken rules migrate_collect_flushes_under_ptl break nothing: ")

    race.write_text(RACE)
    assert 0 == run_command(["explore", "--budget", "7,10s", str(race)])
    assert "right: sampled: 7 schedules" in capsys.readouterr().out


def test_without_a_budget_the_entrys_own_holds(race, capsys):
    """So many schedules for the buggy kernel, all that there are for the right one."""
    race.write_text(BROKEN.replace("race: {", "race: {budget: 9, "))
    run_command(["explore", "--json", str(race)])
    (found,) = json.loads(capsys.readouterr().out)["races"]

    assert 9 == found["broken"]["nr_schedules"]
    assert "exhausted" == found["right"]["outcome"]
    assert found["right"]["nr_schedules"] > 9


def test_a_budget_that_is_none_is_bad_input(race, capsys):
    """With what is legal."""
    assert 2 == run_command(["explore", "--budget", "soon", str(race)])
    assert "budget: the budget is 'soon'; expected a number of" in capsys.readouterr().err


def test_how_far_it_is_stands_on_stderr(race, capsys, monkeypatch):
    """In lines, where that is no terminal; what is read by programs stays as it is."""
    monkeypatch.setattr(progress, "SILENT_SECONDS", 0.0)

    assert 0 == run_command(["explore", "--json", str(race)])

    output = capsys.readouterr()
    assert 1 == len(json.loads(output.out)["races"])
    assert f"{race}: 1 schedule in 0 s" in output.err
    assert "whatever the budget, until all are tried, now up to 0 preemptions" in output.err


@pytest.mark.parametrize(
    ("number", "code", "name"), [(signal.SIGINT, 130, "Ctrl-C"), (signal.SIGTERM, 143, "SIGTERM")]
)
@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
def test_a_signal_ends_it_with_the_verdict_reached(
    race, capsys, monkeypatch, number, code, name, as_json
):
    """The exit code is the shell's for that signal; races that are done are told as ever."""
    began = []
    build = ExploredMachine.__call__

    def built(machine, world):
        began.append(machine)
        if len({id(each) for each in began}) == 2 and began.count(machine) == 12:
            os.kill(os.getpid(), number)
        build(machine, world)

    monkeypatch.setattr(ExploredMachine, "__call__", built)
    options = ["--json"] if as_json else []

    assert code == run_command(["explore", *options, str(race), str(race)])

    output = capsys.readouterr()
    assert f"{race}: exhausted up to 0 preemptions, sampled " in output.err
    assert f"; interrupted by {name}" in output.err
    if as_json:
        found = json.loads(output.out)
        assert 1 == len(found["races"])
        assert name == found["interrupted"]["interrupted_by"]
    else:
        assert output.out.startswith(f"ok       {race}: right: exhausted: ")


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
