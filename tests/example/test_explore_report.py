"""How a failing schedule is told: folded tables, what is hidden, objects by what they are."""

import re
from functools import partial
from pathlib import Path

import pytest
from toys import stale_tlb

from mmactors.explore import Budget, Options, search
from mmactors.explore.world.world import World
from mmactors.races.machine import ExploredMachine
from mmactors.races.pair import with_rules
from mmactors.scenario.load import load_scenario

RACES = Path(__file__).parents[2] / "configs" / "races"


def machine(name):
    """Return the failure of an entry of the gallery, with its broken rules."""
    (path,) = RACES.glob(f"{name}-*.yaml")
    scenario = load_scenario(path, ())
    explored = ExploredMachine(with_rules(scenario, broken=scenario.race.broken))
    options = Options(budget=Budget(schedules=20_000))  # However slow this host is.
    return search(explored, name=name, options=options).failure


class Reads:
    """Has a law for a method."""

    def __init__(self, cell):
        self.cell = cell

    def is_seven(self):
        return self.cell.value == 7


def many_actors(world: World):
    """Six actors with long names, whose steps and values are long, too."""
    total = world.cell("the number of pages that everybody has counted so far", 0)

    async def counts():
        seen = await total.read()
        await total.write(seen + 10**60)

    for name in ("first", "second", "third", "fourth", "fifth", "sixth"):
        world.actor(f"the {name} of all counters", counts)

    @world.at_end
    def nothing_is_lost():
        assert total.value == 6 * 10**60


@pytest.mark.parametrize("width", [60, 80, 120, 200])
@pytest.mark.parametrize("build", [stale_tlb, many_actors])
def test_a_report_is_never_wider_than_it_is_told(build, width):
    """What is long is folded inside its cell; no text gets lost by that."""
    story = search(build).failure.story
    told = story.told(width=width)

    assert max(map(len, told.splitlines())) <= width
    for row in story.rows:
        for word in row.label.split():
            assert word in told


def test_with_many_actors_one_column_says_who():
    """Where there is no room for a column each; where there is, each has its own."""
    story = search(many_actors).failure.story

    assert "   # | actor" in story.told(width=80)
    heads = next(line for line in story.told(width=400).splitlines() if "   # |" in line)
    assert [lane.name for lane in story.lanes] == [head.strip() for head in heads.split("|")[1:-1]]


def test_what_only_one_actor_has_to_do_with_is_hidden_and_counted():
    """Its own notes, which no law reads; -v shows them, a law that reads them does, too."""

    def build(world, *, how=None):
        note = world.cell("note", 0)
        count = world.cell("count", 0)

        async def notes():
            await note.write(7)

        async def counts():
            seen = await count.read()
            await count.write(seen + 1)

        world.actor("c", notes)
        world.actor("a", counts)
        world.actor("b", counts)

        @world.at_end
        def no_update_is_lost():
            assert count.value == 2

        read = {
            "function": lambda: note.value == 7,
            "method": Reads(note).is_seven,
            "object": partial(lambda seen: seen.value == 7, note),
        }
        if how is not None:
            world.at_end(read[how])

    for how in ("function", "method", "object"):
        assert "write note" in search(partial(build, how=how), name=how).failure.report
    story = search(build).failure.story
    told = story.told()

    assert "write note" not in told
    assert "1 line hidden" in told
    assert "write note" in story.told(is_verbose=True)
    assert "hidden" not in story.told(is_verbose=True)


def test_what_another_would_still_have_done_is_not_hidden():
    """A schedule that ends early shows what it read of what nobody came to write."""

    def build(world):
        ready, data = world.cell("ready", 0), world.cell("data", 0)

        async def uses():
            await ready.read()
            await data.read()
            raise ValueError("too early")

        async def makes():
            await data.write(1)
            await ready.write(1)

        world.actor("user", uses)
        world.actor("maker", makes)

    told = search(build).failure.report

    assert "read ready" in told
    assert "data is 0" in told


def test_objects_of_a_machine_are_called_what_they_are():
    """In the columns and beside them; the schedule keeps the names of the engine."""
    failure = machine("a11")
    told = failure.story.told(width=200)

    assert "lock ptl of A of app" in told
    assert "pte of A+0 of app (0x7ffff7ffe000): page 0x1a3e ro young dirty → none" in told
    assert "flags of page 0x1a3e: swapbacked → locked|swapbacked" in told
    assert "tlb of cpu1, A+0 of app (0x7ffff7ffe000) is page 0x1a3e ro young dirty" in told
    assert "[madvise A DONTNEED]" in told
    assert "page_tables[" not in told
    assert "pages[" not in told
    assert any(re.fullmatch(r"lock ptl\[0x\w+\]", text) for _, text in failure.script)


def test_a_deadlock_of_a_machine_names_locks_and_leaves_idle_services_out():
    """Whose lock it is; zones, memory and idle CPUs that wait for work are no part of it."""
    told = machine("c16").story.told(width=200)

    assert "waits for mmap_lock of app, held for write by cpu0/app" in told
    assert "waits for a message" not in told
    assert "i_rwsem of /shm/file: free → written by app/T1" in told


def test_calls_and_files_have_their_names():
    """What a thread does, and which file and page it concerns."""
    told = machine("a16").story.told(width=200)

    assert "[ftruncate F 0]" in told
    assert "page 0 of /mnt/f in the page cache" in told
    assert "uptodate|dirty → locked|uptodate|dirty" in told
