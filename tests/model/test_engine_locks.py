"""Locks against the simplest models: who is inside when, for any threads, seeds and quanta."""

from attrs import define
from engines import cpu_of, engine_of, run, thread
from hypothesis import given, settings
from hypothesis import strategies as st

from mmactors.engine.lock.lock_stat import LockStatistics
from mmactors.engine.lock.rwsem import RwSem
from mmactors.engine.lock.spinlock import Mutex, Spinlock

PLANS = st.lists(
    st.tuples(st.booleans(), st.integers(0, 6), st.integers(1, 5)), min_size=1, max_size=9
)
"""Threads: is it a writer, when does it come, how long does it stay; thousands of ns."""
ENGINES = st.fixed_dictionaries(
    {
        "quantum_ns": st.sampled_from([0, 700, 20_000]),
        "policy": st.sampled_from(["fifo", "seeded"]),
        "seed": st.integers(0, 3),
    }
)


@define
class Visit:
    """One stay in the critical section."""

    index: int
    is_writer: bool
    asked_ns: int
    hold_ns: int
    entered_ns: int = -1

    @property
    def left_ns(self):
        """When it left."""
        return self.entered_ns + self.hold_ns


def visits_of(plan):
    """Return the visits; all ask at different times, which no release coincides with."""
    return [
        Visit(index, is_writer, come * 1000 + index, stay * 1000)
        for index, (is_writer, come, stay) in enumerate(plan)
    ]


def predict(visits):
    """Enter each visit by the rules of the semaphore, without an engine."""
    arriving = sorted(visits, key=lambda visit: visit.asked_ns)
    queue, inside = [], []
    while arriving or inside:
        leaves_ns = min((visit.left_ns for visit in inside), default=1 << 60)
        if arriving and arriving[0].asked_ns < leaves_ns:
            visit = arriving.pop(0)
            if queue or (inside and (visit.is_writer or inside[0].is_writer)):
                queue.append(visit)
            else:
                visit.entered_ns = visit.asked_ns
                inside.append(visit)
            continue
        inside = [visit for visit in inside if visit.left_ns > leaves_ns]
        if not inside and queue:
            first = queue[0]
            entering = [first] if first.is_writer else [v for v in queue if not v.is_writer]
            for visit in entering:
                queue.remove(visit)
                visit.entered_ns = leaves_ns
            inside = entering
    return {visit.index: visit.entered_ns for visit in visits}


def visit_all(visits, section_of, engine):
    """Run the visits as threads, each on a CPU of its own."""

    async def body(visit):
        await engine.spend(visit.asked_ns)
        async with section_of(visit):
            visit.entered_ns = engine.now_ns
            await engine.spend(visit.hold_ns)

    for visit in visits:
        thread(cpu_of(engine, visit.index), f"t{visit.index}", body(visit))
    run(engine)


def assert_exclusion(visits):
    """A writer's stay overlaps no other in virtual time."""
    for visit in visits:
        assert visit.entered_ns >= visit.asked_ns
        for other in visits:
            if other is not visit and (visit.is_writer or other.is_writer):
                assert visit.left_ns <= other.entered_ns or other.left_ns <= visit.entered_ns


@given(plan=PLANS, driver=st.sampled_from(["inline", "trio"]))
@settings(max_examples=60)
def test_an_exact_rwsem_lets_in_whom_the_rules_say(plan, driver):
    """First come, first served; readers enter together when one of them is first."""
    expected = predict(visits_of(plan))
    engine = engine_of(driver=driver)
    sem = RwSem(engine, LockStatistics().of("sem"), name="sem")
    visits = visits_of(plan)
    visit_all(
        visits,
        lambda visit: sem.write() if visit.is_writer else sem.read(),
        engine,
    )

    assert expected == {visit.index: visit.entered_ns for visit in visits}


@given(plan=PLANS, options=ENGINES)
@settings(max_examples=60)
def test_an_rwsem_excludes_whatever_runs_ahead(plan, options):
    """Exclusion holds in virtual time for every policy and quantum; everybody gets in."""
    engine = engine_of(**options)
    statistics = LockStatistics()
    sem = RwSem(engine, statistics.of("sem"), name="sem")
    visits = visits_of(plan)
    visit_all(
        visits,
        lambda visit: sem.write() if visit.is_writer else sem.read(),
        engine,
    )
    counted = statistics.statistics()[0]

    assert_exclusion(visits)
    assert sum(visit.is_writer for visit in visits) == counted.write.acquisitions
    assert sum(not visit.is_writer for visit in visits) == counted.read.acquisitions
    assert counted.write.holdtime_total_ns == sum(
        visit.hold_ns for visit in visits if visit.is_writer
    )


@given(plan=PLANS, options=ENGINES, kind=st.sampled_from([Spinlock, Mutex]))
@settings(max_examples=60)
def test_exclusive_locks_are_first_come_first_served(plan, options, kind):
    """Whoever takes its step to acquire first enters first, and nobody shares."""
    engine = engine_of(**options)
    lock = kind(engine, LockStatistics().of("lock"), name="lock")
    visits = visits_of([(True, come, stay) for _, come, stay in plan])
    visit_all(visits, lambda visit: lock, engine)
    entered = sorted(visits, key=lambda visit: visit.entered_ns)

    assert_exclusion(visits)
    if options["quantum_ns"] == 0:
        assert sorted(visits, key=lambda visit: visit.asked_ns) == entered
    assert lock.holder is None
