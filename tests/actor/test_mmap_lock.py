"""mmap_lock under contention: who waits for whom, and what a downgrade saves."""

from machines import EXACT, run, scenario_of

from mmactors.units import MIB

PAGES = 512
BYSTANDER = "T1& faultloop B 0..64 8"


def lock_stat_of(*program):
    """Run a program of one process on two CPUs; return what lock_stat has of mmap_lock."""
    ran = run(scenario_of(list(program), cpus=2, size=128 * MIB, **EXACT), is_logged=False)

    assert ran.machine.is_complete
    return ran.machine.inspect().locks["&mm->mmap_lock"]


def test_faults_of_other_threads_go_on_while_munmap_takes_pages_away():
    """munmap downgrades; a fixed mapping over the old one takes the pages away as a writer."""
    # B comes between A and the stack, beside which munmap would not downgrade.
    setup = ["mmap B 256K", "mmap A 2M", "thread T1 cpu=1", "touch A write", BYSTANDER]
    munmap = lock_stat_of(*setup, "munmap A", "wait")
    fixed = lock_stat_of(*setup, "mmap C 2M addr=A flags=private,anon,fixed", "wait")

    assert 10 * munmap.write.holdtime_max_ns < fixed.write.holdtime_max_ns
    assert 10 * munmap.read.waittime_max_ns < fixed.read.waittime_max_ns
    assert munmap.read.holdtime_max_ns > fixed.write.holdtime_max_ns // 2


def test_readers_share_and_writers_do_not():
    """Faults alone never wait for each other; with a writer beside them both sides do."""
    setup = ["mmap A 1M", "thread T1 cpu=1"]
    faults = lock_stat_of(*setup, "T1& faultloop A 0..64 8", "faultloop A 64..128 8", "wait")
    mixed = lock_stat_of(*setup, "T1& faultloop A 0..64 8", "churn 100 64K", "wait")

    assert (0, 0) == (faults.read.contentions, faults.write.contentions)
    assert mixed.read.contentions > 0
    assert mixed.write.contentions > 0
