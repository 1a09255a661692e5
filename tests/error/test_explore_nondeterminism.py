"""A machine that does not do the same twice is refused, with the first step that differs."""

import itertools

import pytest

from mmactors.engine.cell import Cell
from mmactors.engine.ipi import call_on
from mmactors.engine.lock.lock_stat import LockStatistics
from mmactors.engine.lock.spinlock import Spinlock
from mmactors.explore import Nondeterminism, Options, search


def machine(world, *, number):
    """Two CPUs with interrupts, a lock and a flush; `number()` decides what one of them does."""
    engine = world.engine
    lock = Spinlock(engine, LockStatistics().of("ptl"), name="ptl")
    pte = Cell(engine, 1, name="pte")
    other = Cell(engine, 0, name="other")
    cpus = [world.cpu(index) for index in range(2)]

    async def flush(cpu):
        await pte.read()

    async def unmaps():
        async with lock:
            await pte.write(0)
        await call_on(cpus[0], [cpus[1]], flush, vector="TLB", latency_ns=10)

    async def faults():
        async with lock:
            await pte.read()
        await (other if number() % 97 == 96 else pte).add(1)

    cpus[0].spawn_thread("unmapper", unmaps())
    cpus[1].spawn_thread("faulter", faults())


def test_the_first_step_that_differs_is_named():
    """A counter of the host's survives from one schedule to the next."""
    count = itertools.count()

    with pytest.raises(Nondeterminism, match="differ first at step") as raised:
        search(
            lambda world: machine(world, number=lambda: next(count)),
            name="machine",
            options=Options(twice_every=1),
        )

    assert "other" in str(raised.value) or "pte" in str(raised.value)
    assert "state that was left over from the schedule before" in str(raised.value)


def test_a_machine_that_repeats_itself_is_explored():
    """The same without the counter."""
    assert search(
        lambda world: machine(world, number=lambda: 0),
        name="machine",
        options=Options(twice_every=1),
    ).is_good
