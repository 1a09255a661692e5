"""What a program reads when it gives `mmactors.run` something wrong: four parts, with a place."""

from pathlib import Path

import pytest

import mmactors

PROCESSES = [{"name": "p", "program": ["mmap A 64K"]}]


def problems_of(source, **options):
    with pytest.raises(mmactors.UserError) as caught:
        mmactors.run(source, **options)
    return [str(problem) for problem in caught.value.problems]


def test_every_mistake_in_a_dict_is_shown_with_its_path():
    """All at once, in the order of the options."""
    source = {
        "machine": {"cpus": 0, "cpuz": 1, "memory": {"size": 1.5}},
        "processes": [{"name": "p", "program": ["mmap A 64K", "tuch A"]}],
    }
    found = problems_of(source)

    assert [
        "<dict>: machine.cpuz",
        "<dict>: machine.cpus",
        "<dict>: machine.memory.size",
        "<dict>: processes[0].program[1]",
    ] == [": ".join(text.split(": ")[:2]) for text in found]
    assert "<dict>: machine.cpus: machine.cpus is 0; expected a whole number, from 1 to 1024 " in (
        f"{found[1]} "
    )
    assert "(did you mean cpus?)" in found[0]


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        (
            {"processes": PROCESSES, 7: 1},
            "<dict>: the key 7; expected a text (write '7')",
        ),
        (
            {"processes": {1, 2}},
            (
                "<dict>: processes: a value of the type set; expected a dict, a list, a text, "
                "a number, True, False or None (write what the YAML file would say)"
            ),
        ),
        (
            {"processes": PROCESSES, "engine": {"seed": float("nan")}},
            (
                "<dict>: engine.seed: engine.seed is nan; expected a whole number, at least 0 "
                "(write a whole number)"
            ),
        ),
        (
            {},
            (
                "<dict>: the scenario has no processes; expected processes: What runs. "
                "(add `processes:`)"
            ),
        ),
        (
            "processes:\n  - name: p\n",
            (
                "source: a text of 2 lines; expected the path of a scenario file, a dict, "
                "or a Scenario (write a text into a file first; configs/ has examples)"
            ),
        ),
        (
            17,
            (
                "source: a value of the type int; expected the path of a scenario file, a dict, "
                "or a Scenario (write a text into a file first; configs/ has examples)"
            ),
        ),
        (
            Path("nowhere.yaml"),
            (
                "nowhere.yaml: No such file or directory; expected a readable file "
                "(check the path; configs/ has examples)"
            ),
        ),
    ],
)
def test_what_is_no_scenario_says_so(source, problem):
    """Whatever it is."""
    assert [problem] == problems_of(source)


@pytest.mark.parametrize(
    ("options", "place"),
    [
        ({"seed": -1}, "seed: engine.seed is -1;"),
        ({"overrides": {"machine.cpus": "8"}}, "overrides['machine.cpus']: machine.cpus is"),
        ({"overrides": {"machine.cpus": {8}}}, "overrides['machine.cpus']: a value of the type"),
        ({"overrides": {"machine..": 8}}, "overrides['machine..']: the key 'machine..';"),
        ({"overrides": ["machine.cpus=0"]}, "--set machine.cpus=0: machine.cpus is 0;"),
        ({"overrides": {"processes[4].cpu": 0}}, "overrides['processes[4].cpu']: processes has"),
        ({"overrides": 5}, "overrides: a value of the type int that is neither;"),
        ({"overrides": [None]}, "overrides: a value of the type list that is neither;"),
        ({"overrides": {"machine.cpus": 10**5000}}, "overrides['machine.cpus']: machine.cpus is"),
        ({"seed": -(10**5000)}, "seed: engine.seed is -0x"),
        ({"until_ns": "3ms"}, "until_ns: a value of the type str;"),
        ({"until_ns": 0.5}, "until_ns: a value of the type float;"),
        ({"out": 5}, "out: a value of the type int;"),
        ({"out": "a\0b"}, "a\\x00b: embedded null byte; expected a directory that can be written"),
        ({"out": "\ud800"}, "\\ud800: 'utf-8' codec can't encode character"),
    ],
)
def test_a_wrong_option_is_named_as_it_was_given(options, place):
    """A value that would be wrong in the file is wrong here."""
    (found,) = problems_of({"processes": PROCESSES}, **options)

    assert found.startswith(place)


def test_a_dict_that_contains_itself_is_refused(monkeypatch):
    """Before anything is exhausted: by depth, and by size."""
    monkeypatch.setattr("mmactors.scenario.run.source.MAX_NODES", 20_000)
    endless = {"processes": PROCESSES}
    endless["machine"] = endless
    wide = ["x"]
    for _ in range(20):
        wide = [wide, wide]

    (deep,) = problems_of(endless)
    (large,) = problems_of({"processes": wide})

    assert "nested too deeply; expected at most 24 levels" in deep
    assert "more than 20000 values; expected at most 20000" in large


def test_a_run_directory_that_cannot_be_written_is_an_error(tmp_path):
    """Nothing that is no run directory is replaced."""
    (tmp_path / "mine").write_text("kept")

    (found,) = problems_of({"processes": PROCESSES}, out=tmp_path)

    assert "the directory is not empty, and no run directory" in found
    assert "kept" == (tmp_path / "mine").read_text()


def test_an_earlier_run_is_replaced_only_by_force(tmp_path):
    """Its files stay as they are."""
    out = tmp_path / "run"
    mmactors.run({"processes": PROCESSES}, seed=1, out=out)
    before = {path: path.lstat().st_mtime_ns for path in out.rglob("*")}

    (found,) = problems_of({"processes": PROCESSES}, out=out)

    assert found.startswith(f"{out}: an earlier run is there (status complete, seed 1, started ")
    assert before == {path: path.lstat().st_mtime_ns for path in out.rglob("*")}
    assert 2 == mmactors.run({"processes": PROCESSES}, seed=2, out=out, force=True).seed
