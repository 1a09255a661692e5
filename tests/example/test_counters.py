"""Counters of CPUs and processes beside the sums, and samples of them in virtual time."""

import json
from itertools import pairwise

import pytest
from attrs import evolve
from machines import run, scenario_of

import mmactors
from mmactors.cli.main import run_command
from mmactors.errors import UserError
from mmactors.observe.counters import series as series_module
from mmactors.observe.counters.table import GROUPS, counters_of
from mmactors.scenario.schema import RecordConfig

PROGRAM = ["mmap A 128K", "touch A write", "thread T cpu=1", "T: touch A 0..8 write", "fork c"]
CHILD = ["c: touch A 0..4 write", "c: exit", "reap", "compute 30us"]
SCENARIO = {
    "machine": {"cpus": 2, "memory": {"size": "128M"}},
    "engine": {"quantum_ns": 0},
    "processes": [{"name": "a", "program": [*PROGRAM, *CHILD]}],
}


def sampled(*programs, sample=10_000, counters=("pgfault",), **options):
    """Return a scenario that samples counters."""
    scenario = scenario_of(*programs, quantum_ns=0, **options)
    return evolve(scenario, record=RecordConfig(sample=sample, counters=counters))


def test_cpus_and_processes_have_counters_of_their_own():
    """Each thread's faults are its process's; they happen on its CPU."""
    counters = mmactors.run(SCENARIO).counters

    assert (32, 4) == (counters["process[a].min_flt"], counters["process[a/c].min_flt"])
    assert counters["pgfault"] == counters["cpu[0].pgfault"] == 36
    assert 0 == counters["cpu[1].pgfault"]
    assert 8 == counters["cpu[1].write.references"]
    assert counters["write.references"] == 8 + counters["cpu[0].write.references"]
    assert 4 == counters["process[a].cmin_flt"], "its child was waited for"
    assert 3 == counters["forks"]
    assert 36 > counters["process[a/c].maxrss"] >= 32
    assert 0 == counters["process[a/c].anon_rss"], "it has given its address space back"


def test_pages_that_threads_have_not_told_of_are_counted_beside_those_they_have():
    """`anon_rss` hears of a page at a thread's 66th fault; `anon_pages` is what entries map."""
    program = ["mmap A 1M", "touch A 0..40 write", "thread T cpu=1", "T: touch A 40..50 write"]
    scenario = sampled(
        [*program, "touch A 50..80 write", "compute 30us", "madvise A 0..60 DONTNEED"],
        sample=1_000,
        counters=("process[*].anon_rss", "process[*].anon_pages"),
        cpus=2,
    )
    series = mmactors.run(scenario).series
    told, mapped = series["process[p0].anon_rss"], series["process[p0].anon_pages"]

    assert all(few <= many for few, many in zip(told, mapped, strict=True))
    assert (0, 50) in zip(told, mapped, strict=True)
    assert 80 == max(mapped)
    assert 20 in mapped[mapped.index(80) :]


def test_expectations_name_them():
    """As they stand in counters.json; who does not hold is told with its number."""
    expect = ["cpu[1].pgfault == 0", "process[a/c].min_flt < 4", "cpu[0].user_ns >= 30000"]
    result = mmactors.run({**SCENARIO, "expect": expect})

    assert [True, False, True] == [each.holds for each in result.expectations]
    assert "expectation failed" == result.verdict
    assert 4 == result.expectations[1].value


def test_what_one_looks_into_has_the_same_numbers():
    """Of each CPU and each process at its moment."""
    ran = run(scenario_of([*PROGRAM, *CHILD], cpus=2))
    seen = ran.machine.inspect()

    for cpu in seen.cpus:
        assert set(counters_of("cpu")) == set(cpu.counters)
        for name, value in cpu.counters.items():
            assert ran.counters[f"cpu[{cpu.index}].{name}"] == value
    for process, owner in zip(seen.processes, ("p0", "p0/c"), strict=True):
        for name, value in process.counters.items():
            assert ran.counters[f"process[{owner}].{name}"] == value


def test_every_counter_is_described_once():
    """It has a unit and a meaning; additive are only those that machine and CPUs have."""
    for scope in ("machine", "cpu", "process"):
        named = [each for group in GROUPS for each in group.counters if scope in each.scopes]
        assert len(counters_of(scope)) == len(named), "two have one name"
    for group in GROUPS:
        assert group.source
        for counter in group.counters:
            assert counter.unit
            assert not counter.is_additive or counter.scopes == ("machine", "cpu")


def test_a_sample_holds_what_had_happened_before_its_time():
    """The first one is before anything, the last one the end; a computation is counted so far."""
    scenario = sampled(["compute 25us"], counters=("cpu[0].user_ns", "cpu[0].*_ns"))
    ran = run(scenario)
    series = ran.machine.series()

    assert (0, 10_000, 20_000, ran.machine.now_ns) == series.times_ns
    names = ("user_ns", "system_ns", "idle_ns", "iowait_ns", "irq_ns")
    assert tuple(f"cpu[0].{name}" for name in names) == series.names
    assert ("ns",) * 5 == series.units
    user_ns = series["cpu[0].user_ns"]
    assert [10_000] == [late - soon for soon, late in [user_ns[1:3]]]
    assert 25_000 == user_ns[-1]
    for row, time_ns in enumerate(series.times_ns):
        assert time_ns == sum(series[name][row] for name in series.names)
    with pytest.raises(KeyError):
        series["pgfault"]


def test_a_process_that_has_not_begun_has_zeros():
    """The columns are known before it is forked."""
    series = run(sampled([*PROGRAM, *CHILD], cpus=2, counters=("process[*].min_flt",)))
    series = series.machine.series()

    assert ("process[p0].min_flt", "process[p0/c].min_flt") == series.names
    assert (0, 4) == (series["process[p0/c].min_flt"][1], series["process[p0/c].min_flt"][-1])


def test_globs_match_within_their_scope():
    """`pg*` are counters of the machine; those of a child that comes later are named in full."""
    known = scenario_of(["fork c"], ["nop"], cpus=2).counter_names()

    assert ("pgfault",) == known.match("pgfaul?")
    assert ("fetch.l1_misses", "read.l1_misses") == known.match("*.l1_misses")[:2]
    assert ("cpu[0].pgfault", "cpu[1].pgfault") == known.match("cpu[*].pgfault")
    assert ("cpu[1].pgfault",) == known.match("cpu[1].pgfault")
    assert ("process[p0/c#2].maj_flt",) == known.match("process[p0/c#2].maj_f*")
    assert () == known.match("process[p2].maj_flt") == known.match("cpu[2].pgfault")


def test_a_series_of_everything_on_many_cpus_is_refused():
    """Ten thousand columns are enough."""
    record = {"sample": "10us", "counters": ["cpu[*].*"]}
    with pytest.raises(
        UserError, match=r"matches \d+ counters; expected at most 10000 \(write nar"
    ):
        mmactors.load({**SCENARIO, "machine": {"cpus": 200}, "record": record})


@pytest.mark.parametrize("driver", ["inline", "trio"])
def test_a_machine_that_is_moved_in_pieces_gives_the_same_series(driver):
    """Whatever the pieces are; looking at it meanwhile changes nothing."""
    source = {**SCENARIO, "record": {"sample": "10us", "counters": ["*", "process[*].*"]}}
    whole = mmactors.run(source, overrides={"engine.driver": driver}).series
    with mmactors.machine(source) as machine:
        for until_ns in range(0, whole.times_ns[-1] + 3_333, 3_333):
            machine.run(until_ns=until_ns)
            machine.inspect()
        pieces = machine.series()

    assert list(whole.lines()) == list(pieces.lines())


def test_a_run_directory_has_the_series(tmp_path, capsys):
    """A head with schema, names and units, then a line a sample; the last one is counters.json."""
    path = tmp_path / "some.yaml"
    path.write_text(
        json.dumps({**SCENARIO, "record": {"sample": "20us", "counters": ["pg*", "cpu[*].irq_ns"]}})
    )

    assert 0 == run_command(["run", str(path), "--out", str(tmp_path / "run")])
    out = capsys.readouterr().out
    head, *samples = map(json.loads, (tmp_path / "run" / "series.jsonl").read_text().splitlines())
    counters = json.loads((tmp_path / "run" / "counters.json").read_text())

    assert ("mmactors.series", "1.0", 20_000, True) == tuple(
        head[name] for name in ("schema", "version", "sample_ns", "is_whole")
    )
    assert len(head["names"]) == len(head["units"])
    assert [0, 20_000, 40_000] == [sample["t"] for sample in samples[:3]]
    assert [counters[name] for name in head["names"]] == samples[-1]["values"]
    assert f"series.jsonl ({len(samples)} samples)" in out
    assert 0 == run_command(["replay", str(tmp_path / "run")])
    assert "same log" in capsys.readouterr().out


def test_a_run_without_samples_has_no_series(tmp_path):
    """Nor has its directory; an earlier run's is removed."""
    source = {**SCENARIO, "record": {"sample": "20us"}}
    mmactors.run(source, out=tmp_path / "run")
    assert (tmp_path / "run" / "series.jsonl").exists()

    assert mmactors.run(SCENARIO, out=tmp_path / "run", force=True).series is None
    assert not (tmp_path / "run" / "series.jsonl").exists()


def test_a_series_ends_when_it_is_full_and_the_run_goes_on(monkeypatch, tmp_path, capsys):
    """The end of the run is its last sample all the same; it says that some are missing."""
    monkeypatch.setattr(series_module, "SAMPLES_MAX", 5)
    scenario = sampled(["mmap A 64K", "touch A write", "sleep 1000"], sample=1_000)
    ran = run(scenario)
    series = ran.machine.series()

    assert (0, 1_000, 2_000, 3_000, 4_000, ran.machine.now_ns) == series.times_ns
    assert not series.is_whole
    assert 16 == series["pgfault"][-1]


def test_time_in_which_nothing_happens_is_sampled_too():
    """All samples are there, and only idle time passes."""
    series = run(sampled(["sleep 1"], counters=("idle_ns",), sample=100_000)).machine.series()
    idle_ns = series["idle_ns"]

    assert 12 == len(series)
    assert {100_000} == {late - soon for soon, late in pairwise(idle_ns[2:-2])}


def test_a_machine_that_is_stuck_has_its_series():
    """Up to what stopped it."""
    source = {**SCENARIO, "record": {"sample": "10us"}}
    crossed = ["T& barrier B 2", "T& barrier A 2", "barrier A 2", "barrier B 2"]
    program = ["thread T cpu=1", "compute 50us", *crossed]
    source["processes"] = [{"name": "a", "program": program}]
    result = mmactors.run(source)

    assert "deadlock" == result.verdict
    assert 50_000 < result.series.times_ns[-1] == result.now_ns
    assert 6 < len(result.series)


def test_proc_says_what_the_counters_say():
    """/proc/stat, PID/stat and PID/status, in hundredths of a second."""
    program = ["thread T cpu=0", "T& compute 120ms", "compute 80ms", "wait", "sleep 100", "cpu 1"]
    machine = run(scenario_of([*program, "compute 40ms"], cpus=2)).machine
    counters, proc = machine.counters(), machine.proc()
    rows = {name: values for name, *values in map(str.split, proc["stat"].splitlines())}
    status = dict(line.split(":\t") for line in proc["1/status"].splitlines())

    assert ["20", "0", "0", "14"] == rows["cpu0"][:4]
    assert ["4", "0", "0", "30"] == rows["cpu1"][:4]
    assert ["24", "0"] == proc["1/stat"].split()[13:15]
    assert str(counters["context_switches"]) == rows["ctxt"][0]
    assert str(counters["interrupts"]) == rows["intr"][0] == "2"
    assert ("2", "0", "0") == tuple(
        rows[name][0] for name in ("processes", "procs_running", "procs_blocked")
    )
    leader = machine.inspect().process(1)
    own, other = int(status["nonvoluntary_ctxt_switches"]), leader.nivcsw
    assert 1 <= own < other, "status has those of the first thread, the counters those of both"
