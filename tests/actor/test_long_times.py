"""Times of any length: what takes no step takes no time of the host, and what ends is said."""

import pytest
from machines import run, run_to_nothing, scenario_of

import mmactors
from mmactors.engine.actor import NEVER
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
