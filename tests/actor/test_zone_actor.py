"""The zone actor: its mailbox is zone->lock, its service time the hold time."""

from attrs import define, field

from mmactors.actors.alloc.zone import ZoneActor
from mmactors.actors.state.costs import KernelCosts
from mmactors.engine.baton import Engine
from mmactors.engine.config import EngineConfig
from mmactors.engine.driver import InlineDriver, close_actors
from mmactors.engine.lock.lock_stat import LockStatistics
from mmactors.engine.mailbox import Mailbox
from mmactors.engine.probe import EngineProbe
from mmactors.mm.page_alloc.zone_request import RmqueueBulk, ZoneAnswer

COSTS = KernelCosts(zone_lock_ns=50, zone_page_ns=10)


@define(eq=False)
class FakeZone:
    """Answers with as many pages as were asked for; keeps the requests."""

    requests: list = field(factory=list)

    def serve(self, request):
        self.requests.append(request)
        return ZoneAnswer(nr_moved=request.count)


def bulk(count):
    return RmqueueBulk(zone=0, cpu=0, count=count, order=0, migratetype=0, alloc_flags=0, pindex=0)


def ask_all(asks):
    """Let actors ask a zone: `asks` is by actor its time and its counts; return what came of it."""
    engine = Engine(EngineConfig(quantum_ns=0))
    mailbox = Mailbox(engine, "zone")
    zone = FakeZone()
    lock_class = LockStatistics().of("&zone->lock")
    actor = ZoneActor(
        engine=engine,
        mailbox=mailbox,
        zone=zone,
        section=FakeZone.serve,
        costs=COSTS,
        lock_class=lock_class,
        probe=EngineProbe(engine, None),
    )
    engine.spawn("zone", actor.serve())
    answered = {}

    async def asker(name, at_ns, counts):
        await engine.spend(at_ns)
        for count in counts:
            await mailbox.ask(bulk(count))
            answered.setdefault(name, []).append(engine.current.clock.now)

    for name, (at_ns, counts) in asks.items():
        engine.spawn(name, asker(name, at_ns, counts), daemon=False)
    InlineDriver(engine).run_to_end()
    close_actors(engine)
    return zone, lock_class.write, answered


def test_the_hold_time_is_a_fixed_part_and_one_for_each_page():
    """One request of eight pages: 50 + 8 * 10 ns later the answer is there."""
    _, lock, answered = ask_all({"a": (1000, [8])})

    assert {"a": [1130]} == answered
    assert (1, 130) == (lock.hold.nr, lock.hold.total_ns)
    assert 0 == lock.wait.nr


def test_who_comes_while_the_lock_is_held_waits_its_turn():
    """Three ask within one hold time: they are served in order of arrival, two are contended."""
    zone, lock, answered = ask_all({"c": (120, [3]), "a": (100, [1]), "b": (110, [2])})

    assert [1, 2, 3] == [request.count for request in zone.requests]
    assert {"a": [160], "b": [230], "c": [310]} == answered
    assert (2, 50 + 110) == (lock.wait.nr, lock.wait.total_ns)
    assert 3 == lock.hold.nr


def test_requests_one_after_the_other_are_no_contention():
    """Who asks again only when it has its answer never waits for itself."""
    _, lock, answered = ask_all({"a": (0, [1, 1, 1])})

    assert {"a": [60, 120, 180]} == answered
    assert 0 == lock.wait.nr
