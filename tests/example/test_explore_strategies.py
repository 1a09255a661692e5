"""What each strategy finds, alone, and how the budget is shared."""

import pytest
from toys import TOYS, fixed, lost_update, order, stale_tlb

from mmactors.explore import Budget, Options, Outcome, search
from mmactors.explore.execution.execution import Execution
from mmactors.explore.execution.nondeterminism import run_again
from mmactors.explore.strategy.dfs import DepthFirst
from mmactors.explore.strategy.pct import Pct
from mmactors.explore.strategy.pos import PartialOrderSampling
from mmactors.explore.strategy.random_walk import RandomWalk

every_toy = pytest.mark.parametrize("build", TOYS.values(), ids=TOYS)


def hit_rate(build, strategy, nr_schedules=2000):
    """Return the part of the schedules that break something."""
    execution = Execution(build)
    nr_hits = 0
    for _ in range(nr_schedules):
        strategy.run(execution)
        nr_hits += execution.broken is not None
    execution.close()
    return nr_hits / nr_schedules


@every_toy
@pytest.mark.parametrize(
    "make",
    [PartialOrderSampling, RandomWalk, lambda seed: Pct(seed, depth=3)],
    ids=["pos", "walk", "pct"],
)
def test_samples_find_the_bug(build, make):
    """Each strategy alone, within 2,000 schedules; never in the fixed world."""
    assert 0 < hit_rate(build, make(1))
    assert 0 == hit_rate(fixed(build), make(1), 300)


def test_priorities_alone_never_preempt():
    """Depth 1 is any order of actors; what needs a preemption needs more."""
    assert 0 == hit_rate(lost_update, Pct(1, depth=1))
    assert 0 < hit_rate(lost_update, Pct(1, depth=2))


def test_steps_that_depend_on_nothing_do_not_hide_a_bug_from_partial_order_sampling():
    """Random walk must place the racy steps among all others, this one only among themselves."""

    def build(world):
        noise = [world.cell(f"own[{index}]", 0) for index in range(2)]
        lost_update(world)
        published = world.cell("published", 0)

        async def works(own):
            for _ in range(20):
                await own.inc()
            if own is noise[0]:
                assert not await published.read(), "published before it was used"
            else:
                await published.write(1)

        for index, own in enumerate(noise):
            world.actor(f"noise{index}", works, own)

    assert 0.3 < hit_rate(build, PartialOrderSampling(1), 500)


def test_a_seed_gives_the_same_samples():
    """And another seed others."""

    def choices(seed):
        execution = Execution(stale_tlb)
        walk = RandomWalk(seed)
        found = []
        for _ in range(20):
            walk.run(execution)
            found.append(tuple(execution.choices))
        execution.close()
        return found

    assert choices(1) == choices(1)
    assert choices(1) != choices(2)


def test_the_bound_counts_preemptions_only():
    """Who waits, or has ended, is left for nothing."""

    def taking_turns(world):
        turn = world.cell("turn", 0)

        async def takes(index):
            for _ in range(3):
                await turn.until(lambda value: value == index)
                await turn.write(1 - index)

        world.actor("a", takes, 0)
        world.actor("b", takes, 1)

    execution = Execution(taking_turns)
    search = DepthFirst(bound=0)
    search.run(execution)

    assert execution.is_over
    assert 12 == len(execution.steps)
    execution.close()


def test_the_end_of_a_slice_is_a_preemption():
    """A thread that could go on leaves the CPU: that costs as much as any other way to leave it."""

    def slices(world):
        ended = world.cell("ended", 0)

        async def runs():
            for _ in range(3):
                await ended.add(await world.engine.is_preempted("the slice is over"))

        @world.at_end
        def fewer_than_two_slices_end():
            return ended.value < 2

        world.actor("a", runs)

    ends = {}
    for bound in (0, 1):
        execution = Execution(slices)
        strategy = DepthFirst(bound=bound)
        ends[bound] = set()
        while not strategy.is_done:
            strategy.run(execution)
            ends[bound].add(execution.world.engine.objects["ended"].value)
        assert strategy.was_bounded
        execution.close()

    assert {0: {0}, 1: {0, 1}} == ends
    failure = search(slices).failure
    assert failure is not None
    assert 2 == failure.nr_preemptions


def test_the_search_goes_from_few_preemptions_to_all_schedules():
    """So the first schedule found needs the fewest."""
    verdict = search(fixed(stale_tlb))

    assert [
        "up to 0 preemptions",
        "up to 1 preemption",
        "up to 2 preemptions",
        "all schedules",
    ] == list(verdict.nr_by_strategy)
    assert verdict.nr_schedules == sum(verdict.nr_by_strategy.values())


def test_a_bound_that_nothing_meets_is_no_bound():
    """The world is exhausted when no schedule with more preemptions is left."""
    verdict = search(fixed(order))

    assert "exhausted within scope {published, filled}: 1 schedule" == str(verdict)


def test_a_given_bound_is_part_of_the_verdict():
    """What has more preemptions was only sampled."""
    verdict = search(fixed(stale_tlb), options=Options(bound=1, budget=Budget(schedules=100)))

    assert Outcome.BOUNDED is verdict.outcome
    assert (
        "exhausted up to 1 preemption, sampled 100 schedules within scope {pte, tlb1, owner of P}"
        == str(verdict)
    )


def test_a_small_budget_gives_a_sample_and_says_so():
    """Never a bare pass."""
    verdict = search(fixed(stale_tlb), options=Options(budget=Budget(schedules=50)))

    assert Outcome.SAMPLED is verdict.outcome or Outcome.BOUNDED is verdict.outcome
    assert 50 == verdict.nr_schedules
    assert "sampled 50 schedules" in str(verdict)


def test_an_exhaustive_search_needs_no_budget():
    """It goes on until every schedule was tried."""
    options = Options(budget=Budget(schedules=1), is_exhaustive=True)

    assert Outcome.EXHAUSTED is search(fixed(stale_tlb), options=options).outcome


def test_a_budget_of_seconds_ends_the_search():
    """It is looked at between schedules."""

    def build(world):
        cells = [world.cell(f"c[{index}]", 0) for index in range(4)]

        async def works():
            for cell in cells * 5:
                await cell.write(await cell.read() + 1)

        for name in "abcd":
            world.actor(name, works)

    verdict = search(build, options=Options(budget=Budget(seconds=0.2)))

    assert Outcome.EXHAUSTED is not verdict.outcome
    assert verdict.seconds < 5


# -- noise -----------------------------------------------------------------------------------------

every_sampler = pytest.mark.parametrize(
    "make",
    [PartialOrderSampling, RandomWalk, lambda seed: Pct(seed, depth=3)],
    ids=["pos", "walk", "pct"],
)


def with_noise(build, nr_noise=20):
    """Return the world in which each actor takes steps of its own before and after the others."""

    class Noisy:
        def __init__(self, world):
            self.world = world

        def __getattr__(self, name):
            return getattr(self.world, name)

        def actor(self, name, function, *args, **how):
            own = self.world.cell(f"own of {name}", 0)

            async def works(*given):
                for _ in range(nr_noise):
                    await own.write(1)
                result = await function(*given)
                for _ in range(nr_noise):
                    await own.write(2)
                return result

            return self.world.actor(name, works, *args, **how)

    return lambda world: build(Noisy(world))


@every_sampler
def test_noise_that_nobody_shares_does_not_hide_a_bug(make):
    """Twenty private steps on each side of a race leave nearly the same chance to find it."""
    without = hit_rate(lost_update, make(1))
    noisy = hit_rate(with_noise(lost_update), make(1))

    assert noisy > 0.75 * without


@every_sampler
def test_what_turns_out_to_be_shared_is_noise_no_longer(make):
    """An object that somebody else touches only in a rare schedule counts from then on."""

    def build(world):
        gate, own = world.cell("gate", 0), world.cell("own", 0)

        async def writes():
            await gate.write(1)
            await own.write(1)
            await gate.write(2)
            await own.write(2)

        async def looks():
            if await gate.read() == 1:
                assert await own.read() != 1, "the gate was open, and own was 1"

        world.actor("a", writes)
        world.actor("b", looks)

    assert 0 < hit_rate(build, make(1))


@every_sampler
def test_a_law_that_looks_after_each_step_sees_states_between_noisy_steps(make):
    """Both objects are private, and the law speaks of both."""

    def build(world):
        cells = [world.cell(name, 0) for name in "xy"]

        async def works(cell):
            for value in (1, 0, 1, 0):
                await cell.write(value)

        for index, cell in enumerate(cells):
            world.actor(f"a{index}", works, cell)

        @world.always
        def they_are_never_both_one():
            assert not all(cell.value for cell in cells)

    assert 0.1 < hit_rate(build, make(1))


@every_sampler
def test_an_actor_that_makes_noise_for_ever_does_not_keep_others_from_their_turn(make):
    """It is a daemon that touches nothing of anybody's."""

    def build(world):
        own, flag = world.cell("own", 0), world.cell("flag", 0)

        async def hums():
            while True:
                await own.add_return(1)

        async def works():
            await flag.write(1)
            await flag.write(2)

        world.actor("hum", hums, daemon=True)
        world.actor("b", works)

        @world.at_end
        def b_has_worked():
            assert flag.value == 2

    assert 0 == hit_rate(build, make(1), 200)
    execution = Execution(build)
    strategy = make(1)
    lengths = []
    for _ in range(50):
        strategy.run(execution)
        assert execution.is_over
        lengths.append(len(execution.steps))
    execution.close()
    assert min(lengths) < 110


@every_toy
@every_sampler
def test_samples_with_noise_taken_at_once_are_schedules_of_the_world(build, make):
    """Each can be played again, step by step, and ends alike."""
    execution = Execution(with_noise(fixed(build), 3))
    strategy = make(1)
    for _ in range(50):
        strategy.run(execution)
        run_again(execution)
    execution.close()
