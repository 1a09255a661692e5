"""SLAB's reaper on whole machines: what CPUs do not use goes back, seconds later."""

import pytest
from machines import drive, run, scenario_of

from mmactors.actors.slab.reaper import bucket_expiry, round_jiffies
from mmactors.scenario.schema import KernelConfig
from mmactors.units import JIFFY_NS

NR_OBJECTS = 100
USE = [
    *(f"kmalloc A{nth} size=64" for nth in range(NR_OBJECTS)),
    *(f"kfree A{nth}" for nth in range(NR_OBJECTS)),
]
SLAB = KernelConfig(slab="slab")
LOOK = "get /proc/slabinfo"


def ran(*programs, kernel=SLAB, **options):
    return run(scenario_of(*map(list, programs), kernel=kernel, **options)).machine


def active(machine, name="kmalloc-64"):
    """Return how many objects were in use or in arrays, whenever somebody looked."""
    found = []
    for read in machine.texts():
        (line,) = [line for line in read.text.splitlines() if line.startswith(f"{name} ")]
        found.append(int(line.split()[1]))
    return found


def test_an_array_that_nobody_uses_gets_smaller_every_two_seconds():
    """The first pass only notes that it was used; then a fifth of the limit goes, then halves."""
    machine = ran([*USE, *[LOOK, "sleep 3000"] * 8])

    assert active(machine) == [64, 64, 64, 40, 16, 8, 4, 2]


def test_what_is_used_stays():
    """Who allocates in between marks the array."""
    machine = ran([*USE, *["kmalloc B size=64", "kfree B", LOOK, "sleep 3000"] * 5])

    assert active(machine) == [64] * 5


def test_a_cpu_that_sleeps_is_not_woken_by_its_timer():
    """The timer is deferrable: one pass after a minute, not thirty."""
    minute = ["sleep 60000", "sleep 1", LOOK]
    machine = ran([*USE, LOOK, *minute * 3])

    assert active(machine) == [64, 64, 40, 16]


def test_each_cpu_reaps_its_own_array():
    """The second CPU sleeps all the while and keeps what it has; its objects count, too."""
    looks = [*USE, *[LOOK, "sleep 3000"] * 8]
    machine = ran(looks, [*USE, "sleep 100000"], cpus=2, quantum_ns=0)

    first, *_, last = active(machine)
    assert first == 252
    assert NR_OBJECTS <= last < 130


def test_a_machine_that_waits_for_ever_is_still_found_out():
    """Timers of idle CPUs keep no machine alive."""
    scenario = scenario_of([*USE, "sleep 3000", "wait"], kernel=SLAB)
    outcome = run(scenario)

    assert outcome.machine is not None


@pytest.mark.parametrize("slab", ["slub", "slob"])
def test_other_allocators_have_no_reaper(slab):
    """Nobody starts any timers."""
    scenario = scenario_of(["nop"], kernel=KernelConfig(slab=slab))
    kernel = drive(scenario).kernel

    assert not any(actor.name == "cpucache_init" for actor in kernel.engine.actors)


@pytest.mark.parametrize(
    ("jiffies", "cpu", "expected"),
    [(250, 0, 250), (250, 1, 247), (250, 20, 190), (250, 21, 437), (311, 0, 250), (313, 0, 500)],
)
def test_timers_expire_at_whole_seconds_each_cpu_a_little_earlier(jiffies, cpu, expected):
    """Less than a quarter after a second counts as that second."""
    assert round_jiffies(jiffies, cpu, now=0) == expected


def test_a_rounded_time_is_not_in_the_past():
    """Then it is left as it was."""
    assert round_jiffies(260, 0, now=255) == 260


@pytest.mark.parametrize(
    ("delta", "late"), [(0, 1), (62, 1), (63, 8), (503, 8), (504, 64), (4031, 64), (4032, 512)]
)
def test_the_longer_a_timer_the_later_it_may_be(delta, late):
    """A bucket of the wheel expires as a whole, never too early."""
    expiry = bucket_expiry(1024 + delta, 1024)

    assert 0 < expiry - (1024 + delta) <= late
    assert expiry % (1 if late == 1 else late) == 0


def test_a_jiffy_is_four_milliseconds():
    """HZ=250."""
    assert JIFFY_NS == 4_000_000
