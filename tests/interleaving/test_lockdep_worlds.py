"""lockdep in explored worlds: one schedule shows it, where the deadlock has to be searched for."""

import pytest

import mmactors
from mmactors.engine.ipi import call_on
from mmactors.engine.lock.lock_stat import LockStatistics
from mmactors.engine.lock.spinlock import Spinlock
from mmactors.explore.search.decorator import RaceFound


def pgd_lock(world, keeps_interrupts_on, watched):
    """A flush under page_table_lock, and pgd_lock around the same lock on another CPU (A15)."""
    if watched:
        world.lockdep()
    cpus = [world.cpu(0), world.cpu(1)]
    classes = LockStatistics()
    page_table_lock = Spinlock(world.engine, classes.of("page_table_lock"), name="page_table_lock")
    pgd = Spinlock(world.engine, classes.of("pgd_lock"), name="pgd_lock")

    async def flush(cpu):
        await world.engine.spend(1)

    async def fork():
        async with page_table_lock:
            await call_on(cpus[0], [cpus[1]], flush, vector="TLB", latency_ns=1)

    async def vmalloc_sync_all():
        async with pgd if keeps_interrupts_on else pgd.irqsave(), page_table_lock:
            pass

    cpus[0].spawn_thread("fork", fork())
    cpus[1].spawn_thread("vmalloc", vmalloc_sync_all())


def schedules_until_found(watched):
    """Explore the broken variant; return what broke, and in which schedule it was seen."""
    test = mmactors.explore(exhaustive=True)(pgd_lock)
    with pytest.raises(RaceFound) as found:
        test(keeps_interrupts_on=False, watched=watched)
    failure = found.value.verdict.failure
    return str(failure.broken), failure.at_schedule


def test_the_search_finds_the_deadlock_and_lockdep_the_order():
    """Both in the same world; the order is there already when the two come one after the other."""
    deadlock, _ = schedules_until_found(watched=False)
    order, at_schedule = schedules_until_found(watched=True)

    assert deadlock.startswith("deadlock: nobody can go on")
    assert "an IPI is waited for that may never be handled" in order
    assert "-> #0 (page_table_lock){+.+.}-{2:2}, wanted with interrupts off:" in order
    assert 1 == at_schedule


@pytest.mark.parametrize("watched", [False, True])
def test_with_interrupts_on_there_is_neither(watched):
    """Every schedule of the right variant, with and without lockdep."""
    mmactors.explore(exhaustive=True)(pgd_lock)(keeps_interrupts_on=True, watched=watched)
