"""What is in scope is a choice point; what is outside goes on by itself and is named."""

from functools import partial

from mmactors.engine.cell import Cell
from mmactors.engine.mailbox import Mailbox
from mmactors.engine.wait_queue import WaitQueue
from mmactors.explore import Kind, Options, Outcome, search


class Column:
    """One word of a big array, made when it is asked for."""

    def __init__(self, words, index):
        self.words = words
        self.index = index

    def key(self):
        return self.words[self.index]

    def show(self):
        return f"{self.words[self.index]:#x}"


class Lazy(dict):
    """Viewers of the words of one array, by name."""

    def __init__(self, words, made):
        super().__init__()
        self.words = words
        self.made = made

    def __missing__(self, name):
        column, _, index = name.rstrip("]").partition("[")
        if column != "words":
            raise KeyError(name)
        self.made.append(name)
        thing = self[name] = Column(self.words, int(index))
        return thing


def served(world, *, has_scope):
    """Two CPUs get pages from a zone, which is an actor, and write one entry."""
    engine = world.engine
    pte = world.cell("pte", 0)
    zone = Mailbox(engine, "zone")
    free = [3, 2, 1]

    async def serves():
        while True:
            request = await zone.receive()
            await engine.spend(100)
            request.reply.send(free.pop())

    async def faults():
        page = await zone.ask("a page")
        seen = await pte.read()
        if not seen:
            await pte.write(page)

    engine.spawn("zone", serves())
    for index in range(2):
        world.cpu(index).spawn_thread(f"cpu{index} thread", faults())
    if has_scope:
        world.scope(pte)


def test_a_service_outside_the_scope_answers_within_the_step_that_asks():
    """Its mailbox, the CPUs and their idle loops make no choice points."""
    narrow = search(partial(served, has_scope=True))
    wide = search(partial(served, has_scope=False))

    assert Outcome.EXHAUSTED is narrow.outcome
    assert Outcome.EXHAUSTED is wide.outcome
    assert ["zone"] == [each.name for each in narrow.outside]
    assert ("pte",) == narrow.scope
    assert narrow.nr_schedules <= 12
    assert wide.nr_schedules > 3 * narrow.nr_schedules


def test_a_lock_outside_the_scope_lets_its_waiters_in_at_once():
    """Who waits before it makes no choice point either."""

    def build(world):
        lock = world.lock("mmap_lock")
        pte = world.cell("pte", 0)

        async def faults():
            async with lock:
                await pte.add_return(1)

        for name in "abc":
            world.actor(name, faults)
        world.scope(pte)

        @world.at_end
        def all_were_counted():
            assert 3 == pte.value

    verdict = search(build)

    assert Outcome.EXHAUSTED is verdict.outcome
    assert verdict.nr_schedules <= 6


def lazy_world(world, *, fixed, made=None, is_listed=False):
    """Two actors write words of an array that nobody lists; one more only looks around."""
    words = [0] * 100
    world.engine.objects = Lazy(words, [] if made is None else made)
    if is_listed:
        assert [world.engine.objects[f"words[{index}]"] for index in (7, 50)]

    async def adds():
        await world.step("read", reads=("words[7]",))
        seen = words[7]
        if fixed:
            await world.step("add", writes=("words[7]",))
            words[7] += 1
        else:
            await world.step("write", writes=("words[7]",))
            words[7] = seen + 1

    async def looks(index):
        await world.step(f"look {index}", reads=(f"words[{index}]",))

    world.actor("a", adds)
    world.actor("b", adds)
    world.actor("looker", looks, 50)

    @world.at_end
    def both_are_counted():
        assert 2 == words[7]


def test_objects_that_show_up_when_they_are_touched_make_no_state_new():
    """What they hold follows from what the actors did and saw."""
    made = []
    verdict = search(partial(lazy_world, fixed=True, made=made))
    listed = search(partial(lazy_world, fixed=True, is_listed=True))

    assert Outcome.EXHAUSTED is verdict.outcome
    assert {"words[7]", "words[50]"} == set(made)
    assert {"words[7]", "words[50]"} == set(verdict.scope)
    assert listed.nr_schedules == verdict.nr_schedules


def test_objects_that_show_up_are_shown_from_the_first_step_on():
    """And no others."""
    failure = search(partial(lazy_world, fixed=False)).failure

    assert "words[7]: 0x0 → 0x1" in failure.report
    assert "none" not in failure.report
    assert 1 == failure.nr_preemptions


def test_a_schedule_of_a_world_with_such_objects_replays():
    """They are no part of its fingerprint."""
    from mmactors.explore import replay

    build = partial(lazy_world, fixed=False)
    failure = search(build).failure

    assert failure.script == replay(build, failure.replay).failure.script


# -- what is touched without a label ---------------------------------------------------------------


def test_messages_to_different_mailboxes_have_no_order():
    """A send touches its mailbox and nothing else."""

    def build(world, *, nr_boxes):
        boxes = [Mailbox(world.engine, f"box{index}") for index in range(nr_boxes)]

        async def sends(index):
            await world.step(f"send {index}", writes=(f"own[{index}]",))
            boxes[index % nr_boxes].tell(index)

        for index in range(3):
            world.actor(f"sender{index}", sends, index)

    apart = search(partial(build, nr_boxes=3), options=Options(bound=None))
    together = search(partial(build, nr_boxes=1))

    assert apart.nr_by_strategy["up to 0 preemptions"] == 6
    assert apart.nr_schedules <= 7
    assert together.nr_schedules >= 6


def sleeping(world, *, fixed):
    """A thread looks whether there is work, and sleeps if there is none."""
    engine = world.engine
    queue = WaitQueue(engine, "work")
    has_work = Cell(engine, 0, name="has work")
    work = []

    async def waits():
        while not await has_work.read():
            await queue.sleep(unless=(lambda: bool(work)) if fixed else None)

    async def wakes():
        await has_work.write(1)
        work.append(1)
        queue.wake_all(at_ns=world.engine.clock.now)

    world.cpu(0).spawn_thread("worker", waits())
    world.cpu(1).spawn_thread("boss", wakes())


def test_a_wake_up_between_look_and_sleep_is_lost_in_a_queue_of_the_engine():
    """The report says who gave it."""
    failure = search(partial(sleeping, fixed=False)).failure

    assert Kind.DEADLOCK is failure.broken.kind
    assert "lost wake-up" == failure.broken.law
    assert "work: cpu1/boss woke it between the look and the sleep, a lost wake-up" in (
        failure.broken.text
    )
    assert 1 == failure.nr_preemptions


def test_a_look_from_inside_the_queue_loses_no_wake_up():
    """As wait_event does it."""
    assert Outcome.EXHAUSTED is search(partial(sleeping, fixed=True)).outcome
