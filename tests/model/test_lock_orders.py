"""lockdep against brute force: random programs of locks, and every cycle of their orders."""

from itertools import product

import pytest
from engines import cpu_of, engine_of, run, thread
from hypothesis import given, settings
from hypothesis import strategies as st

import mmactors
from mmactors.engine.ipi import call_on
from mmactors.engine.lock.lock_stat import LockClass
from mmactors.engine.lock.rwsem import RwSem
from mmactors.engine.lock.spinlock import Mutex, Spinlock
from mmactors.explore.search.decorator import RaceFound
from mmactors.sanitize.lock_graph import Dependency, LockGraph
from mmactors.sanitize.lockdep import Lockdep

NR_CLASSES = 5
IPI = NR_CLASSES


def has_cycle(orders):
    """Return whether a chain of orders comes back to where it began, by trying all chains."""
    reach = set(orders)
    for middle, first, last in product(range(NR_CLASSES + 1), repeat=3):
        if (first, middle) in reach and (middle, last) in reach:
            reach.add((first, last))
    return any((node, node) in reach for node in range(NR_CLASSES + 1))


def nested(*, nr_programs):
    """Return programs, each a list of sections; a section takes different classes one by one."""
    section = st.lists(st.integers(0, NR_CLASSES - 1), min_size=1, max_size=4, unique=True)
    return st.lists(st.lists(section, min_size=1, max_size=4), min_size=1, max_size=nr_programs)


def findings_of(programs, kind):
    """Run each program after the one before has ended; return what lockdep finds."""
    engine = engine_of()
    lockdep = engine.lock_observer = Lockdep(engine)
    cpus = [cpu_of(engine, index) for index in range(len(programs))]
    locks = [kind(engine, LockClass(f"class {n}"), name=f"lock {n}") for n in range(NR_CLASSES)]

    async def hold(section):
        if section:
            lock = locks[section[0]]
            async with lock.write() if kind is RwSem else lock:
                await hold(section[1:])

    async def perform(program):
        for section in program:
            await hold(section)

    for cpu, program in zip(cpus, programs, strict=True):
        thread(cpu, f"t{cpu.index}", perform(program), at_ns=1000 * cpu.index)
    run(engine)
    return lockdep.findings


@settings(max_examples=150)
@given(nested(nr_programs=4), st.sampled_from([Spinlock, Mutex, RwSem]))
def test_lockdep_reports_exactly_the_programs_whose_orders_have_a_cycle(programs, kind):
    """No run deadlocks, because the programs run one after the other."""
    orders = {
        (section[at], later)
        for program in programs
        for section in program
        for at in range(len(section))
        for later in section[at + 1 :]
    }

    assert has_cycle(orders) == bool(findings_of(programs, kind))


@settings(max_examples=100)
@given(nested(nr_programs=4), st.sampled_from([Spinlock, Mutex, RwSem]))
def test_programs_that_take_locks_in_one_order_are_never_reported(programs, kind):
    """Whatever they take, and however deep."""
    in_order = [[sorted(section) for section in program] for program in programs]

    assert [] == findings_of(in_order, kind)


IRQ_SECTIONS = st.tuples(
    st.lists(st.integers(0, NR_CLASSES - 1), min_size=0, max_size=3, unique=True),
    st.booleans(),
    st.booleans(),
)
"""Classes that are taken, whether with interrupts off, and whether an IPI is waited for inside."""


@settings(max_examples=150)
@given(st.lists(IRQ_SECTIONS, min_size=1, max_size=6))
def test_waiting_for_an_ipi_is_one_more_lock_that_interrupts_off_hold(sections):
    """Brute force knows it as a node: what is held leads to it, it leads to what irqs-off takes."""
    engine = engine_of()
    lockdep = engine.lock_observer = Lockdep(engine)
    cpus = [cpu_of(engine, index) for index in range(2)]
    locks = [Spinlock(engine, LockClass(f"class {n}"), name=f"lock {n}") for n in range(NR_CLASSES)]
    orders = set()

    async def nothing(cpu):
        pass

    async def hold(classes, *, calls):
        if classes:
            async with locks[classes[0]]:
                await hold(classes[1:], calls=calls)
        elif calls:
            await call_on(cpus[0], [cpus[1]], nothing, vector="CAL", latency_ns=1)

    async def perform():
        for classes, is_off, calls in sections:
            if is_off:
                with cpus[0].irqs_off():
                    await hold(classes, calls=False)
            else:
                await hold(classes, calls=calls)

    for classes, is_off, calls in sections:
        orders |= {(a, b) for at, a in enumerate(classes) for b in classes[at + 1 :]}
        if is_off:
            orders |= {(IPI, each) for each in classes}
        elif calls:
            orders |= {(each, IPI) for each in classes}
    thread(cpus[0], "t", perform())
    run(engine)

    assert has_cycle(orders) == bool(lockdep.findings)


def test_an_explored_world_fails_by_an_order_that_deadlocks_in_no_schedule():
    """The two orders are kept apart by a third lock, which lockdep does not take into account."""

    @mmactors.explore(exhaustive=True)
    def orders(world, watched):
        if watched:
            world.lockdep()
        gate, a, b = world.lock("gate"), world.lock("a[0]"), world.lock("b[0]")

        async def takes(first, second):
            async with gate, first, second:
                pass

        world.actor("one", takes, a, b)
        world.actor("two", takes, b, a)

    orders(watched=False)
    with pytest.raises(RaceFound, match="possible circular locking dependency") as info:
        orders(watched=True)

    assert "a law is broken: possible deadlock" in str(info.value)
    assert "one at t=0 ns" in str(info.value)
    assert "two is trying to acquire lock:\n a[0] (a)" in str(info.value)


DEPENDENCIES = st.builds(
    Dependency, is_first_shared=st.booleans(), is_second_recursive=st.booleans()
)


@settings(max_examples=300)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), DEPENDENCIES), max_size=12))
def test_a_cycle_counts_if_nobody_on_it_can_pass(edges):
    """A recursive reader passes a shared holder; brute force is a walk from edge to edge."""
    graph = LockGraph()
    nodes = [graph.node(LockClass(f"class {n}"), 0, sleeps=False) for n in range(4)]
    added = []
    for first, second, dependency in edges:
        if first == second:
            continue
        is_refused = graph.cycle(nodes[first], nodes[second], dependency) is not None
        edge = (first, second, dependency)

        assert is_refused == closes_strong_cycle([*added, edge])
        if not is_refused:
            graph.add_edge(nodes[first], nodes[second], dependency, None)
            added.append(edge)


def closes_strong_cycle(edges):
    """Return whether walking from edge to edge, none of which lets the next pass, has no end."""
    left = set(edges)
    while True:
        followed = {
            edge
            for edge in left
            if any(
                edge[1] == after[0]
                and not (edge[2].is_second_recursive and after[2].is_first_shared)
                for after in left
            )
        }
        if followed == left:
            return bool(left)
        left = followed
