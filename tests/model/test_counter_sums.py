"""Random programs on three CPUs and two nodes: what CPUs have counted adds up to the machine's."""

from collections import Counter

from attrs import astuple, evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from machines import run, scenario_of

from mmactors.mm.vmstat import NODE_STAT_NAMES, ZONE_STAT_NAMES
from mmactors.observe.counters.table import NOT_COUNTED, counters_of
from mmactors.scenario.machine import Machine
from mmactors.scenario.schema import RecordConfig

RANGES = st.tuples(st.sampled_from("ASF"), st.integers(0, 40), st.integers(1, 24)).map(
    lambda drawn: f"{drawn[0]} {drawn[1]}..{drawn[1] + drawn[2]}"
)
CALLS = st.one_of(
    st.builds("touch {} {}".format, RANGES, st.sampled_from(["read", "write"])),
    st.builds("madvise {} {}".format, RANGES, st.sampled_from(["DONTNEED", "COLD", "WILLNEED"])),
    st.builds("mlock {}".format, RANGES),
    st.builds("generate uniform {} count=300 write_percent=50".format, RANGES),
    st.builds("compute {}us".format, st.integers(1, 900)),
    st.sampled_from(["sleep 1", "fsync H", "munmap A 0..8", "churn 3 32K touch"]),
)
WHO = st.sampled_from(["", "T1: ", "T2: ", "T1& ", "T2& ", "c& ", "c: "])
PROGRAMS = st.lists(st.tuples(WHO, CALLS).map("".join), max_size=20)
BEGIN = (
    "open H /mnt/h create",
    "ftruncate H 262144",
    "mmap A 256K",
    "mmap S 256K flags=shared",
    "mmap F 256K flags=shared file=H",
    "thread T1 cpu=1",
    "thread T2 cpu=2",
    "touch A 0..16 write",
    "fork c",
)
ENGINES = st.fixed_dictionaries(
    {
        "quantum_ns": st.sampled_from([0, 1000]),
        "seed": st.integers(0, 3),
        "jitter_percent": st.sampled_from([0, 30]),
        "driver": st.sampled_from(["inline", "trio"]),
    }
)
RECORDS = st.builds(
    RecordConfig,
    sample=st.sampled_from([1_000, 7_001, 100_000]),
    counters=st.lists(
        st.sampled_from(["pg*", "cpu[*].*_ns", "cpu[1].*", "process[*].*", "*.l1_misses", "*"]),
        min_size=1,
    ).map(tuple),
)


def scenario_with(program, engine, *, other=("mmap B 128K", "cpu 2", "touch B write")):
    return scenario_of(
        [*BEGIN, *program, "wait", "reap"], list(other), cpus=3, nr_nodes=2, **engine
    )


def assert_cpus_add_up(machine: Machine) -> None:
    counters, seen = machine.counters(), machine.inspect()

    for name, counter in counters_of("machine").items():
        own = [counters.get(f"cpu[{cpu}].{name}") for cpu in range(3)]
        assert counters[name] == 0 or counter.meaning != NOT_COUNTED, name
        if counter.is_additive:
            assert counters[name] == sum(own), name
        elif name in ZONE_STAT_NAMES or name in NODE_STAT_NAMES:
            places = seen.zones if name in ZONE_STAT_NAMES else seen.nodes
            items = [place.counters[name] for place in places]
            if own[0] is not None:
                assert sum(sum(item.deltas) for item in items) == sum(own), name
                assert max(sum(item.value for item in items), 0) == counters[name], name


def assert_times_add_up(machine: Machine) -> None:
    """All time of CPUs that is not idle nor an interrupt's belongs to threads of processes."""
    counters, now_ns = machine.counters(), machine.now_ns
    processes = machine.inspect().processes

    for cpu in machine.inspect().cpus:
        assert now_ns >= cpu.now_ns
        assert cpu.now_ns <= sum(astuple(cpu.usage)) <= now_ns + 2_000, "a switch may be under way"
        assert min(cpu.usage.user_ns, cpu.usage.system_ns, cpu.usage.irq_ns) >= 0
    assert counters["user_ns"] == sum(each.user_ns for each in processes)
    assert counters["system_ns"] == sum(each.system_ns for each in processes)
    assert counters["context_switches"] >= sum(each.nvcsw + each.nivcsw for each in processes)


@settings(max_examples=40)
@given(program=PROGRAMS, engine=ENGINES, until_ns=st.integers(1_000, 3_000_000))
def test_the_sum_over_cpus_is_the_total_for_every_additive_counter(program, engine, until_ns):
    """In the middle and at the end; what zone and node items add up to is what is not folded."""
    scenario = scenario_with(program, {"policy": "seeded", **engine})
    for end_ns in (until_ns, None):
        ran = run(scenario, until_ns=end_ns, is_logged=False)

        assert_cpus_add_up(ran.machine)
        assert_times_add_up(ran.machine)
        if end_ns is None:
            uptimes = {sum(astuple(cpu.usage)) for cpu in ran.machine.inspect().cpus}
            assert {ran.machine.now_ns} == uptimes


@settings(max_examples=25)
@given(program=PROGRAMS, engine=ENGINES, record=RECORDS)
def test_samples_change_nothing_and_grow_to_what_the_run_ends_with(program, engine, record):
    """The log and the schedule are the same, byte for byte; what only counts up never falls."""
    scenario = scenario_with(program, {"policy": "seeded", **engine})
    plain, sampled = run(scenario), run(evolve(scenario, record=record))

    assert plain.log == sampled.log
    assert str(plain.schedule) == str(sampled.schedule)
    assert plain.counters == sampled.counters
    switches = Counter(event["cpu"] for event in plain.events("sched_switch"))
    for cpu in range(3):
        assert switches[cpu] == plain.counters[f"cpu[{cpu}].context_switches"]
    series = sampled.machine.series()
    assert plain.machine.series() is None
    assert series.is_whole
    assert sampled.machine.now_ns == series.times_ns[-1]
    nr_regular = len(series) - 1
    assert [record.sample * k for k in range(nr_regular)] == list(series.times_ns[:-1])
    for name in series.names:
        assert plain.counters[name] == series[name][-1], name
        if "pg" in name.partition(".")[0] or name.endswith((".user_ns", "min_flt", "l1_misses")):
            assert sorted(series[name]) == list(series[name]), name
