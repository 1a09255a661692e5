"""What may happen by itself, and in some schedule does: late stores, failures, wake-ups."""

from functools import partial

import pytest

from mmactors.engine.baton import Engine
from mmactors.engine.chance import (
    ALL,
    ALLOCATION_FAILS,
    STORE_IS_LATE,
    TLB_EVICTS,
    TRYLOCK_FAILS,
    WAKE_UP_IS_SPURIOUS,
)
from mmactors.engine.config import EngineConfig
from mmactors.engine.wait_queue import WaitQueue
from mmactors.explore import Kind, Outcome, replay, search


def results_of(build):
    """Return what the actors can return, over all schedules."""
    seen = set()

    def watched(world):
        build(world)
        actors = [actor for actor in world.engine.party if not actor.daemon and not actor.serves]

        @world.at_end
        def note():
            seen.add(tuple(actor.result for actor in actors))

    verdict = search(watched)
    assert Outcome.EXHAUSTED is verdict.outcome, str(verdict)
    return seen


# -- store buffers: the litmus tests of x86-TSO ----------------------------------------------------


def sb(world, *, is_late=True, fence=False, locked=False):
    """SB: each writes its own cell, then reads the other's."""
    if is_late:
        world.allow(STORE_IS_LATE)
    x, y = world.cell("x", 0), world.cell("y", 0)

    async def does(own, other):
        if locked:
            await own.xchg(1)
        else:
            await own.write(1)
        if fence:
            await world.fence()
        return await other.read()

    world.actor("a", does, x, y)
    world.actor("b", does, y, x)


def test_both_may_miss_the_others_store_only_if_stores_are_late():
    """SB is what tells TSO from sequential consistency."""
    assert {(0, 1), (1, 0), (1, 1)} == results_of(partial(sb, is_late=False))
    assert {(0, 0), (0, 1), (1, 0), (1, 1)} == results_of(sb)


@pytest.mark.parametrize("how", ["fence", "locked"])
def test_a_fence_or_a_locked_operation_makes_the_stores_seen(how):
    """Smp_mb after the store, or xchg instead of it."""
    assert (0, 0) not in results_of(partial(sb, **{how: True}))


def test_stores_of_one_cpu_are_seen_in_order():
    """MP: who sees the flag sees the data; x86 needs no barrier for that."""

    def mp(world):
        world.allow(STORE_IS_LATE)
        data, flag = world.cell("data", 0), world.cell("flag", 0)

        async def writes():
            await data.write(1)
            await flag.write(1)

        async def reads():
            return await flag.read(), await data.read()

        world.actor("writer", writes)
        world.actor("reader", reads)

    seen = {result[1] for result in results_of(mp)}

    assert {(0, 0), (0, 1), (1, 1)} == seen


def test_a_cpu_sees_its_own_stores_at_once():
    """Forwarding: n6 of the x86-TSO paper; each may see its own store before the other's."""

    def n6(world):
        world.allow(STORE_IS_LATE)
        x, y = world.cell("x", 0), world.cell("y", 0)

        async def first():
            await x.write(1)
            return await x.read(), await y.read()

        async def second():
            await y.write(1)
            await x.write(2)

        world.actor("first", first)
        world.actor("second", second)

        @world.at_end
        def note():
            finals.add((party[0].result, x.value))

        party = [actor for actor in world.engine.party if not actor.serves]

    finals = set()

    assert {((1, 0), 1), ((1, 0), 2), ((1, 1), 1), ((1, 1), 2), ((2, 1), 2)} == (
        results_of(n6) and finals
    )


def test_all_stores_are_in_memory_when_a_schedule_is_over():
    """What is in a buffer comes out, in any order of buffers."""
    finals = set()

    def build(world):
        world.allow(STORE_IS_LATE)
        x = world.cell("x", 0)

        async def writes(value):
            await x.write(value)

        world.actor("a", writes, 1)
        world.actor("b", writes, 2)

        @world.at_end
        def note():
            finals.add(x.value)

    assert Outcome.EXHAUSTED is search(build).outcome
    assert {1, 2} == finals


def test_critical_sections_never_overlap_though_the_unlock_is_late():
    """A lock is taken by a locked operation and given back by a plain store."""

    def build(world):
        world.allow(STORE_IS_LATE)
        lock = world.lock("lock")
        count = world.cell("count", 0)

        async def counts():
            async with lock:
                await count.write(await count.read() + 1)

        world.actor("a", counts)
        world.actor("b", counts)

        @world.at_end
        def both_are_counted():
            assert 2 == count.value

    assert Outcome.EXHAUSTED is search(build).outcome


def test_a_late_store_is_shown_where_it_drains():
    """The buffer is an actor of the schedule, and the schedule replays."""

    def build(world):
        sb(world)
        actors = [actor for actor in world.engine.party if not actor.serves]

        @world.at_end
        def one_sees_the_other():
            assert (0, 0) != tuple(actor.result for actor in actors)

    failure = search(build).failure

    assert "store buffer of a" in failure.report
    assert ("store buffer of a", "drain x") in failure.script
    assert "store buffer of a: empty → x = 1" in failure.report
    assert failure.script == replay(build, failure.replay).failure.script


def test_a_kernel_store_of_a_cpu_may_be_late_too():
    """Engine.store and Engine.fence, for kernel code; in time they do nothing of the kind."""

    def build(world, *, fixed):
        world.allow(STORE_IS_LATE)
        mask = set()
        pte = [1]
        world.watch("mm_cpumask", lambda: tuple(mask))
        world.watch("pte", lambda: pte[0])
        engine = world.engine

        async def switches():
            engine.store("mm_cpumask", lambda: mask.add(1))
            if fixed:
                await engine.fence()
            await world.step("fill", reads=("pte",))
            return pte[0]

        async def unmaps():
            await world.step("clear pte", writes=("pte",))
            pte[0] = 0
            await world.step("read mask", reads=("mm_cpumask",))
            return 1 in mask

        switcher = world.cpu(1).spawn_thread("switcher", switches())
        unmapper = world.cpu(0).spawn_thread("unmapper", unmaps())

        @world.at_end
        def who_has_the_translation_is_asked_to_drop_it():
            assert unmapper.result or not switcher.result

    assert Kind.LAW is search(partial(build, fixed=False)).failure.broken.kind
    assert Outcome.EXHAUSTED is search(partial(build, fixed=True)).outcome


# -- failures --------------------------------------------------------------------------------------


def test_what_is_allowed_happens_at_most_so_often():
    """Once in a schedule unless told otherwise; who asks first has no advantage."""

    def build(world, *, times):
        world.allow(ALLOCATION_FAILS, times=times)

        async def allocates():
            return await world.engine.may(ALLOCATION_FAILS)

        world.actor("a", allocates)
        world.actor("b", allocates)

    once = {(False, False), (True, False), (False, True)}

    assert once == results_of(partial(build, times=1))
    assert once | {(True, True)} == results_of(partial(build, times=2))


def test_what_is_not_allowed_does_not_happen_and_makes_no_choice():
    """The kernel's code asks in every world."""

    def build(world):
        async def allocates():
            return await world.engine.may(ALLOCATION_FAILS)

        world.actor("a", allocates)

    assert {(False,)} == results_of(build)


async def test_an_engine_that_runs_in_time_lets_nothing_happen():
    """It allows nothing, so that nobody asks; asked, it says no."""
    engine = Engine(EngineConfig())
    stored = []

    assert not engine.allowed
    for what in ALL:
        assert not await engine.may(what)
    assert 3 == await engine.choose("a number", (3, 4))
    engine.store("x", lambda: stored.append(1))
    assert [1] == stored
    await engine.fence()


def test_a_trylock_may_fail_though_the_lock_is_free():
    """So that the path behind it is taken."""

    def build(world, *, allows):
        if allows:
            world.allow(TRYLOCK_FAILS)
        lock = world.lock("lock")

        async def tries():
            return await lock.acquire_nowait()

        world.actor("a", tries)

    assert {(True,)} == results_of(partial(build, allows=False))
    assert {(True,), (False,)} == results_of(partial(build, allows=True))


def test_an_unknown_chance_is_refused():
    """With all that there are."""

    def build(world):
        world.allow("an angel sings")

    with pytest.raises(AssertionError, match="none of a TLB evicts"):
        search(build)


# -- wake-ups, evictions ---------------------------------------------------------------------------


@pytest.mark.parametrize("has_cpus", [False, True])
@pytest.mark.parametrize("fixed", [False, True])
def test_a_spurious_wake_up_finds_who_does_not_look_again(has_cpus, fixed):
    """In wait queues of the world and of the engine."""

    def build(world):
        world.allow(WAKE_UP_IS_SPURIOUS)
        has_work = world.cell("has work", 0)
        queue = WaitQueue(world.engine, "work") if has_cpus else world.wait_queue("work")
        lock = world.lock("lock")

        async def waits():
            if fixed:
                while not await has_work.read():
                    await queue.sleep(unless=lambda: bool(has_work._value))
            elif not await has_work.read():
                await queue.sleep(unless=lambda: bool(has_work._value))
            assert await has_work.read(), "there is no work"

        async def wakes():
            async with lock:
                await has_work.write(1)
            if has_cpus:
                queue.wake_all(at_ns=0)
            else:
                await queue.wake_all()

        if has_cpus:
            world.cpu(0).spawn_thread("worker", waits())
            world.cpu(1).spawn_thread("boss", wakes())
        else:
            world.actor("worker", waits)
            world.actor("boss", wakes)

    verdict = search(build)

    if fixed:
        assert Outcome.EXHAUSTED is verdict.outcome
    else:
        assert "there is no work" in verdict.failure.broken.text
        assert "wake worker for nothing" in verdict.failure.report


@pytest.mark.parametrize("kind", ["queue", "condition"])
def test_a_spurious_wake_up_is_for_any_of_the_sleepers_not_only_the_first(kind):
    """Who came second wakes while the first still sleeps, and nobody has woken them."""

    def build(world):
        world.allow(WAKE_UP_IS_SPURIOUS)
        lock, is_over = world.lock("lock"), world.cell("is over", False)
        made = world.wait_queue if kind == "queue" else partial(world.condition, lock=lock)
        sleepers = made("sleepers")

        async def sleeps():
            async with lock:
                if await is_over.read():
                    return
                if kind == "condition":
                    await sleepers.wait()
            if kind == "queue":
                await sleepers.sleep(unless=lambda: is_over.value, reads=(is_over,))

        async def sleeps_second():
            await world.step("look", reads=(sleepers,))
            if sleepers.sleepers():
                await sleeps()
                await world.step("look again", reads=(sleepers, is_over))
                assert is_over.value or not sleepers.sleepers(), "the second woke first"

        async def ends():
            async with lock:
                await is_over.write(True)
            await (sleepers.wake_all() if kind == "queue" else sleepers.notify_all())

        world.actor("first", sleeps)
        world.actor("second", sleeps_second)
        world.actor("end", ends)

    verdict = search(build)

    assert "the second woke first" in verdict.failure.broken.text
    assert ("spurious wake-ups", "wake second for nothing") in verdict.failure.script


def test_what_may_happen_any_time_happens_before_and_after_each_step_or_never():
    """A TLB evicts a translation."""

    def build(world):
        entry = world.cell("tlb", "P")
        world.any_time(TLB_EVICTS, lambda: setattr(entry, "value", None), entry)

        async def loads():
            return await entry.read(), await entry.read()

        world.actor("cpu", loads)

    seen = {result[0] for result in results_of(build)}

    assert {("P", "P"), ("P", None), (None, None)} == seen
