"""A search in several processes finds and proves what one does, whichever is faster."""

import os
import signal

import pytest
from toys import TOYS, aba, fixed, stale_tlb

from mmactors.errors import UserError
from mmactors.explore import Nondeterminism, Options, Outcome, search
from mmactors.explore.execution.execution import Execution
from mmactors.explore.search.budget import Budget
from mmactors.explore.strategy.dfs import DepthFirst, Part


def three_preemptions(world, *, bug=True):
    """A bug that the searches with few preemptions do not find: x has to be left three times."""
    turn = world.cell("turn", 0)
    noise = [world.cell(f"noise[{index}]", 0) for index in range(3)]

    async def steps(mine):
        for at in (0, 1, 2, 3):
            if await turn.read() == 2 * at + mine:
                await turn.write(2 * at + mine + 1)
            await noise[mine].inc()

    async def looks():
        for _ in range(2):
            await noise[2].add_return(1)
        assert not bug or await turn.read() != 5, "five turns were taken"

    world.actor("a", steps, 0)
    world.actor("b", steps, 1)
    world.actor("looker", looks)


@pytest.mark.parametrize("build", TOYS.values(), ids=TOYS)
@pytest.mark.parametrize("jobs", [2, 3])
def test_several_processes_prove_what_one_proves(build, jobs):
    """Each explores its branches to the end."""
    options = Options(jobs=jobs, is_exhaustive=True)

    assert Outcome.EXHAUSTED is search(fixed(build), options=options).outcome


def test_parts_are_the_whole_tree_and_share_nothing():
    """Each schedule belongs to one part."""

    def schedules(part):
        execution = Execution(fixed(aba))
        strategy = DepthFirst(has_states=False, part=part)
        found = []
        while not strategy.is_done:
            strategy.run(execution)
            if not strategy.was_elsewhere:
                found.append(tuple(execution.choices))
        execution.close()
        return found

    whole = schedules(None)
    parts = [schedules(Part(index=index, of=3, depth=4)) for index in range(3)]

    assert all(parts)
    assert sorted(whole) == sorted(parts[0] + parts[1] + parts[2])


def test_the_failure_and_the_verdict_do_not_depend_on_who_is_faster():
    """The same again and again, to the last number."""
    options = Options(jobs=2, budget=Budget(schedules=3000))
    verdicts = [search(three_preemptions, options=options) for _ in range(3)]

    assert "five turns were taken" in verdicts[0].failure.broken.text
    assert verdicts[0].failure.nr_preemptions > 2
    for verdict in verdicts[1:]:
        assert verdicts[0].failure.script == verdict.failure.script
        assert str(verdicts[0]) == str(verdict)
        assert verdicts[0].nr_by_strategy == verdict.nr_by_strategy


def test_the_budget_is_shared():
    """A budget of schedules is one for all."""
    options = Options(jobs=2, budget=Budget(schedules=60))
    verdict = search(fixed(stale_tlb), options=options)

    assert verdict.nr_schedules <= 60


def test_what_goes_wrong_in_a_process_is_raised_here():
    """A world that does not repeat itself is no less refused."""
    nr_calls = [0]

    def build(world):
        nr_calls[0] += 1
        count = world.cell("count", 0)

        async def counts():
            for _ in range(4):
                await count.add_return(1)
            is_odd = nr_calls[0] > 2000 and nr_calls[0] % 2
            await (count.read() if is_odd else count.xchg(0))

        for name in "abc":
            world.actor(name, counts)

    with pytest.raises(Nondeterminism):
        search(build, options=Options(jobs=2, twice_every=10))
    assert nr_calls[0] < 2000, "a process of its own noticed"


def test_a_process_that_the_host_ends_is_told():
    """As where memory runs out: it is nobody's bug."""
    ours = os.getpid()

    def build(world):
        if os.getpid() != ours:
            os.kill(os.getpid(), signal.SIGKILL)
        three_preemptions(world, bug=False)

    with pytest.raises(UserError, match=r"search process \d was ended by signal 9, Killed"):
        search(build, options=Options(jobs=2, budget=Budget(schedules=3000)))
