"""What a search says of itself while it goes on: nothing at first, then how far it is."""

import itertools

import pytest
from toys import aba, fixed

from mmactors.explore import Budget, Options, search
from mmactors.explore.search.progress import LOG_SECONDS, Progress, Teller


class Clock:
    """Shows what it is told."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def slow(build, clock, seconds):
    """Return the world whose building takes so long."""

    def built(world):
        clock.now += seconds
        build(world)

    return built


def told_of(build, clock, **options):
    """Return all that a search says of itself."""
    told = []
    search(build, options=Options(on_progress=told.append, clock=clock, **options))
    return told


def test_whoever_listens_is_told_between_schedules_and_of_shrinking():
    """However long a schedule takes; and who explores, and how far it is."""
    clock = Clock()
    told = told_of(slow(aba, clock, 1.0), clock, budget=Budget(seconds=300))
    seconds = [progress.seconds for progress in told]

    assert max(later - now for now, later in itertools.pairwise(seconds)) <= 2.0
    assert "up to 0 preemptions" == told[0].strategy
    assert "shrunk" not in str(told[0])
    assert "one failed, and is made as short as it can be: " in str(told[-1])
    assert sorted(seconds) == seconds


def test_within_a_long_schedule_somebody_is_told():
    """A schedule may take longer than people wait."""
    clock = Clock()

    def build(world):
        cells = [world.cell(name, 0) for name in "xy"]

        async def works(cell):
            while True:
                await cell.add_return(1)
                clock.now += 0.05

        for index, cell in enumerate(cells):
            world.actor(f"a{index}", works, cell)

    told = told_of(build, clock, budget=Budget(seconds=30), max_steps=1_000_000)
    seconds = [progress.seconds for progress in told]

    assert 0 == told[-1].nr_schedules
    assert max(later - now for now, later in itertools.pairwise(seconds)) < 2.0


def test_lines_come_after_ten_seconds_and_then_every_ten():
    """So that ordinary suites stay clean."""
    clock = Clock()
    lines = []
    teller = Teller(lambda text: lines.append((clock.now, text)), every_s=LOG_SECONDS, clock=clock)

    search(
        slow(fixed(aba), clock, 0.5),
        options=Options(on_progress=teller, clock=clock, budget=Budget(seconds=45)),
    )

    times = [now for now, _ in lines]
    assert [10, 20, 30, 40] == [10 * round(now / 10) for now in times]
    assert times[0] >= 10
    assert "9 schedules in 10 s (0.9/s), 22% of 45 s, now partial-order sampling" == lines[0][1]


@pytest.mark.parametrize(
    ("progress", "text"),
    [
        (
            Progress(
                nr_schedules=1234,
                seconds=12.3,
                strategy="random walk",
                bound=1,
                budget="20,000 schedules or 20 s",
                used=0.615,
            ),
            (
                "1,234 schedules in 12 s (100/s), 62% of 20,000 schedules or 20 s, "
                "all with up to 1 preemption tried, now random walk"
            ),
        ),
        (
            Progress(nr_schedules=1, seconds=2.0, strategy="all schedules", budget="10 s"),
            (
                "1 schedule in 2 s (0.5/s), whatever the budget, until all are tried, "
                "now all schedules"
            ),
        ),
        (
            Progress(
                nr_schedules=50,
                seconds=5.0,
                strategy="all schedules",
                budget="10 s",
                used=1.5,
                nr_shrinking=7,
            ),
            (
                "50 schedules in 5 s (10/s), 100% of 10 s, "
                "one failed, and is made as short as it can be: 7 schedules played"
            ),
        ),
    ],
    ids=["search", "exhaustive", "shrinking"],
)
def test_progress_is_a_line(progress, text):
    """How many, how fast, how far of the budget, what is proven, and who is at it."""
    assert text == str(progress)
