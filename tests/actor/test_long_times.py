"""Times of any length: what takes no step takes no time of the host, and what ends is said."""

import pytest
from machines import run, run_to_nothing, scenario_of
from programs.judge import limited_to

import mmactors
from mmactors.engine.actor import NEVER
from mmactors.engine.report import Deadlock
from mmactors.engine.sched import computing
from mmactors.units import MS, SECOND

YEAR_NS = 365 * 86_400 * SECOND
DRIVERS = pytest.mark.parametrize("driver", ["inline", "trio"])
POLICIES = pytest.mark.parametrize("options", [{}, {"policy": "seeded", "jitter_percent": 10}])


def verdict_of(*programs):
    """Return verdict and report of a run; each program has a CPU of its own."""
    result = mmactors.run(
        {
            "machine": {
                "cpus": len(programs),
                "memory": {"size": "32M", "kernel_image": "1M", "initramfs": 0},
            },
            "processes": [
                {"name": f"p{cpu}", "cpu": cpu, "program": list(program)}
                for cpu, program in enumerate(programs)
            ],
        }
    )
    return result.verdict, str(result.failure)


@DRIVERS
@POLICIES
def test_a_century_of_computing_is_a_few_switches(driver, options):
    """Also where others work meanwhile on other CPUs."""
    century = f"compute {50 * YEAR_NS}ns"
    scenario = scenario_of(
        [century, century],
        ["cpu 1", "mmap A 64K", "touch A write"],
        cpus=2,
        driver=driver,
        **options,
    )

    ran = run_to_nothing(scenario)

    assert 85 * YEAR_NS < ran.machine.inspect().process(1).user_ns < 115 * YEAR_NS
    assert ran.machine.summary().switches < 100


@pytest.mark.parametrize("woken_ms", [1, 3, 4, 7])
def test_who_comes_meanwhile_gets_the_cpu_at_the_end_of_a_slice(woken_ms):
    """Of 3 ms each, counted from where computing began; the sleeper's timer interrupts it."""
    ran = run(scenario_of([f"sleep {woken_ms}", "nop"], ["compute 20ms"], cpus=1))

    switches = [event for event in ran.events("sched_switch") if event["prev_comm"] == "p1"]
    slice_ns = 3 * MS
    ends = -(-woken_ms * MS // slice_ns) * slice_ns
    assert 0 <= switches[0]["t"] - ends < slice_ns / 100
    assert 0 == switches[0]["prev_state"]


def test_who_is_killed_computes_no_longer_than_its_slice():
    """A signal is looked for when a slice ends."""
    program = ["fork C", "C& cpu 1", "C& compute 1000000s", "compute 1ms", "kill C"]

    ran = run(scenario_of(program, cpus=2))

    assert ran.machine.now_ns < 10 * MS


@pytest.mark.parametrize(
    "loop",
    [
        f"churn {1 << 61} 4K",
        f"faultloop A {1 << 61}",
        f"faultloop @A:0 {1 << 61}",
        "write F 0 8M bs=1",
        "read F 0 8M bs=1",
    ],
)
def test_a_loop_of_many_calls_lets_others_have_the_cpu_when_its_slice_is_over(loop):
    """It is in user mode between two calls; who is killed there ends."""
    setup = ["mmap A 64K", "open F /shm/f create", "ftruncate F 8M"]

    with limited_to(5):
        ran = run(scenario_of([*setup, "fork C", f"C& {loop}", "sleep 1", "kill C"], cpus=1))

    assert ran.machine.now_ns < 5 * MS


@pytest.mark.parametrize("where", ["A 0..2147483648", "@0x7ffff0000000:1T", f"@{1 << 63:#x}:1T"])
def test_a_loop_over_more_than_there_is_costs_no_more_than_what_there_is(where):
    """Each round comes as far as the first page that is not there."""
    program = ["mmap A 4K", f"faultloop {where} 500"]

    with limited_to(3):
        ran = run(scenario_of(program, on_signal="continue"))

    assert ran.machine.is_complete


@pytest.mark.parametrize(
    "program",
    [
        [f"compute {NEVER - 1}ns"],
        [f"compute {NEVER // 2}ns"] * 3,
        ["sleep 1099511627776"] * 10,
        ["sleep 1099511627776"] * 4 + ["mmap A 4K", f"compute {NEVER // 8}ns", "touch A write"],
    ],
)
def test_time_that_nobody_counts_is_said(program):
    """Where, what was found, what is legal, what to try; not a deadlock."""
    verdict, report = verdict_of(program, ["mmap A 64K", "touch A write"])

    assert "time is up" == verdict
    assert "cpu0/p0 goes on at t=" in report
    assert f"expected times below {NEVER} ns" in report
    assert "use shorter times" in report


TAKING_TURNS = {
    "two programs": [["compute 21s"], ["cpu 0", "compute 30s"]],
    "three": [["compute 14s"], ["sleep 2000", "cpu 0", "compute 14s"], ["compute 15s"]],
    "two threads": [["thread T cpu=0", "T& compute 20s", "compute 17s", "wait"]],
    "a guest": [
        ["compute 11s"],
        ["cpu 0", "compute 11s"],
        ["sleep 5003", "mmap A 16K", "touch A write", "sleep 5003"],
    ],
    "deaths": [
        ["fork C", "fork D", "C& compute 90s", "D& compute 90s", "cpu 1", "sleep 9001", "kill D"],
    ],
    "spinning": [
        [
            "thread T cpu=0",
            "thread U cpu=0",
            "T& spin",
            "U& spin",
            "cpu 1",
            "sleep 7777",
            "stop U",
            "sleep 7777",
            "stop T",
        ],
    ],
    "flushes": [
        [
            "thread T cpu=1",
            "thread U cpu=1",
            "mmap A 16K",
            "T: touch A write",
            "T& compute 13s",
            "U& compute 12s",
            "sleep 3001",
            "munmap A",
            "sleep 3001",
            "wait",
        ],
    ],
    "readers": [
        ["compute 9s"],
        ["cpu 0", "compute 9s"],
        ["cpu 1", *["sleep 1111", "get /proc/stat", "get /proc/1/stat"] * 5],
    ],
}


@pytest.mark.parametrize("programs", TAKING_TURNS.values(), ids=TAKING_TURNS)
def test_laps_that_are_passed_over_come_to_what_slices_one_by_one_do(programs, monkeypatch):
    """Times, switches, and when it ends; who reads of them meanwhile changes nothing."""

    def ran(laps_min):
        monkeypatch.setattr(computing, "_LAPS_MIN", laps_min)
        machine = run(scenario_of(*programs, cpus=2), is_logged=False).machine
        return machine.now_ns, machine.counters(), machine.proc(), machine.summary().switches

    *passed, nr_passed = ran(200)
    *one_by_one, nr_one_by_one = ran(NEVER)

    assert one_by_one == passed
    assert nr_passed < nr_one_by_one / 2


@DRIVERS
def test_many_who_share_a_cpu_compute_for_ages(driver):
    """In a step, however often their slices end; the log has no line for those."""
    programs = [[f"compute {nr}0000000s"] for nr in range(1, 5)]

    ran = run_to_nothing(scenario_of(*programs, cpus=1, driver=driver))

    assert ran.machine.now_ns > 10 * 10_000_000 * SECOND
    assert len(ran.events("sched_switch")) < 200_000


@DRIVERS
def test_spinning_takes_no_steps(driver):
    """However long, and beside others on its CPU."""
    program = ["thread T cpu=1", "thread U cpu=1", "T& spin", "U& spin", "sleep 100000000"]

    ran = run(scenario_of([*program, "stop T", "stop U"], cpus=2, driver=driver), is_logged=False)

    assert ran.machine.summary().switches < 50_000


@DRIVERS
def test_who_spins_and_cannot_be_stopped_any_more_is_a_deadlock(driver):
    """Its program waits for it, and whoever was to stop it has died."""
    program = ["fork C", "thread T cpu=1", "T& spin", "C: touch @0x0:4K read", "C: stop T", "wait"]

    with pytest.raises(Deadlock, match=r"p0/T at .* waits for a signal, or a stop, as it .* spins"):
        run(scenario_of(program, cpus=2, driver=driver))
