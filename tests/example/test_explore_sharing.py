"""What actors share behind the world's back is named, and nothing is proven of such a world."""

import asyncio
import threading
from array import array
from collections import Counter, deque
from types import SimpleNamespace

import numpy as np
import pytest

from mmactors.engine.ipi import call_on
from mmactors.errors import UserError
from mmactors.explore import Outcome, search

TOTAL = 0
SEEN = []


def two(world, function, *args):
    """Two actors run `function`, each with a cell of its own, so that no two steps depend."""
    for name in "ab":
        world.actor(name, function, world.cell(f"cell {name}"), *args)


# -- worlds that share -----------------------------------------------------------------------------


def a_list(world):
    seen = []

    async def runs(cell):
        await cell.write(1)
        seen.append(cell.name)

    two(world, runs)


def a_list_of_an_argument(world):
    async def runs(cell, seen):
        await cell.write(1)
        seen[0] += 1

    two(world, runs, [0])


def a_list_of_a_module(world):
    SEEN.clear()

    async def runs(cell):
        await cell.write(1)
        SEEN.append(1)

    two(world, runs)


def a_list_before_the_first_step(world):
    seen = []

    async def runs(cell):
        seen.append(cell.name)
        await cell.write(1)

    two(world, runs)


def a_list_through_a_function(world):
    seen = []

    def note(what):
        seen.append(what)

    async def runs(cell):
        await cell.write(1)
        note(cell.name)

    two(world, runs)


def a_default(world):
    def note(what, seen=[]):  # noqa: B006 - that it is shared is the point
        seen.append(what)

    async def runs(cell):
        await cell.write(1)
        note(cell.name)

    two(world, runs)


def a_variable(world):
    total = 0

    async def runs(cell):
        nonlocal total
        await cell.write(1)
        total += 1

    two(world, runs)


def a_global(world):
    async def runs(cell):
        global TOTAL  # noqa: PLW0603 - that it is shared is the point
        await cell.write(1)
        TOTAL += 1

    two(world, runs)


def an_attribute(world):
    state = SimpleNamespace(total=0)

    async def runs(cell):
        await cell.write(1)
        state.total += 1

    two(world, runs)


def a_lock_of_a_plain_attribute(world):
    """In the end it is free, as it was: only in between is it taken."""

    class Lock:
        def __init__(self):
            self.taken = False

        async def acquire(self, cell):
            while self.taken:
                await cell.read()
            self.taken = True
            await cell.write(1)
            self.taken = False

    lock = Lock()

    async def runs(cell):
        await lock.acquire(cell)

    two(world, runs)


def an_object_whose_methods_are_actors(world):
    class Model:
        def __init__(self):
            self.queues = {"first": deque()}

        def put(self, what):
            self.queues["first"].append(what)

        async def runs(self, cell):
            await cell.write(1)
            self.put(cell.name)

    two(world, Model().runs)


def a_class(world):
    class Model:
        total = 0

    async def runs(cell):
        await cell.write(1)
        Model.total += 1

    two(world, runs)


def one_key(world):
    got = {}

    async def runs(cell):
        got["last"] = await cell.read()

    two(world, runs)


def a_set_that_is_looked_at(world):
    seen = set()

    async def runs(cell):
        await cell.write(1)
        if "first" not in seen:
            seen.add("first")

    two(world, runs)


def a_counter(world):
    total = Counter()

    async def runs(cell):
        await cell.write(1)
        total["steps"] += 1

    two(world, runs)


def bytes_of_memory(world):
    memory = bytearray(4)

    async def runs(cell):
        await cell.write(1)
        memory[0] += 1

    two(world, runs)


def words_of_memory(world):
    memory = array("Q", [0])

    async def runs(cell):
        await cell.write(1)
        memory[0] += 1

    two(world, runs)


def an_array(world):
    memory = np.zeros(4)

    async def runs(cell):
        await cell.write(1)
        memory[0] += 1

    two(world, runs)


def an_iterator(world):
    values = iter([1, 2])

    async def runs(cell):
        await cell.write(next(values))

    two(world, runs)


def a_lock_of_asyncio(world):
    lock = asyncio.Lock()

    async def runs(cell):
        if not lock.locked():
            await cell.write(1)

    two(world, runs)


def a_flag_that_one_sets(world):
    is_set = [False]

    async def sets(cell):
        await cell.write(1)
        is_set[0] = True

    async def looks(cell):
        await cell.write(1)
        if is_set[0]:
            await cell.write(2)

    world.actor("a", sets, world.cell("x"))
    world.actor("b", looks, world.cell("y"))


def what_happens_at_any_time(world):
    flags = []

    async def looks(cell):
        await cell.write(1)
        if flags:
            await cell.write(2)

    cell = world.cell("x")
    world.actor("a", looks, cell)
    world.any_time("b", lambda: flags.append(1), cell)


def a_list_in_steps_that_write_a_cell(world):
    """The cell says nothing of the list: two states that differ would have one name."""
    seen = []
    cell = world.cell("x")

    async def runs():
        await world.step("note", writes=(cell,))
        seen.append(1)

    world.actor("a", runs)
    world.actor("b", runs)


SHARING = {
    a_list: "list `seen`",
    a_list_of_an_argument: "list `seen`",
    a_list_of_a_module: "list `SEEN`",
    a_list_before_the_first_step: "list `seen`",
    a_list_through_a_function: "list `seen`",
    a_default: "list `a default of note`",
    a_variable: "variable `total`",
    a_global: "global `TOTAL`",
    an_attribute: "SimpleNamespace `state`",
    a_lock_of_a_plain_attribute: "Lock `lock`",
    an_object_whose_methods_are_actors: "deque `self.queues['first']`",
    a_class: "class `Model`",
    one_key: "dict `got`",
    a_set_that_is_looked_at: "set `seen`",
    a_counter: "Counter `total`",
    bytes_of_memory: "bytearray `memory`",
    words_of_memory: "array `memory`",
    an_array: "ndarray `memory`",
    an_iterator: "list_iterator `values`",
    a_lock_of_asyncio: "asyncio.locks.Lock `lock`",
    a_flag_that_one_sets: "list `is_set`",
    what_happens_at_any_time: "list `flags`",
    a_list_in_steps_that_write_a_cell: "list `seen`",
}


@pytest.mark.parametrize("build", SHARING, ids=lambda build: build.__name__)
def test_what_two_actors_share_is_named_and_nothing_is_proven(build):
    """Every order that the search sees was tried; that is not all there is."""
    verdict = search(build)

    assert (f"a and b share the {SHARING[build]}",) == verdict.shared
    assert Outcome.SAMPLED is verdict.outcome
    assert str(verdict).startswith(f"not proven: a and b share the {SHARING[build]}, which the sea")
    assert "make it a world.cell" in str(verdict)


# -- worlds that do not ----------------------------------------------------------------------------


def results_by_actor(world):
    got = {}

    async def runs(cell, number):
        got[number] = await cell.read()
        for at in range(2):
            got[number, at] = await cell.read()

    for number, name in enumerate("ab"):
        world.actor(name, runs, world.cell(name), number)


def results_in_a_list(world):
    got = [None, None]

    async def runs(cell, number):
        got[number] = await cell.read()
        got[number] += 1

    for number, name in enumerate("ab"):
        world.actor(name, runs, world.cell(name), number)


def results_in_attributes(world):
    got = SimpleNamespace()
    x, y = world.cell("x"), world.cell("y")

    async def first():
        got.first = await x.read()

    async def second():
        got.second = await y.read()

    world.actor("a", first)
    world.actor("b", second)


def results_in_a_set(world):
    seen = set()

    async def runs(cell):
        await cell.write(1)
        seen.add(cell.name)

    two(world, runs)


def a_table_of_cells(world):
    cells = {name: [world.cell(f"{name}{at}") for at in range(2)] for name in "xy"}

    async def runs():
        for name in cells:
            await cells[name][0].add(1)

    world.actor("a", runs)
    world.actor("b", runs)


def a_mechanism_made_of_cells(world):
    class SpinLock:
        def __init__(self, name):
            self.taken = world.cell(name, False)

        async def acquire(self):
            while not await self.taken.cmpxchg(expected=False, value=True):
                await self.taken.until(lambda taken: not taken)

    lock = SpinLock("lock")

    async def runs():
        await lock.acquire()
        await lock.taken.write(False)

    world.actor("a", runs)
    world.actor("b", runs)


def memory_in_declared_steps(world):
    words = [0]

    async def runs():
        await world.step("store", writes=("memory",))
        words[0] += 1

    world.actor("a", runs)
    world.actor("b", runs)


def a_list_that_one_fills(world):
    seen = []

    async def fills(cell):
        await cell.write(1)
        seen.append(1)

    async def other(cell):
        await cell.write(1)

    world.actor("a", fills, world.cell("x"))
    world.actor("b", other, world.cell("y"))

    @world.at_end
    def it_is_full():
        assert [1] == seen


def what_is_local(world):
    async def runs(cell):
        seen, total = [], 0

        def note():
            nonlocal total
            total += 1
            seen.append(total)

        await cell.write(1)
        note()

    two(world, runs)


def a_list_of_a_handler(world):
    """Whoever runs it: the actor that hands it on does not look at what it fills."""
    cpus = [world.cpu(index) for index in range(2)]
    handled = []
    cell = world.cell("x")

    async def handler(cpu):
        handled.append(cpu.index)

    async def calls():
        await call_on(cpus[0], [cpus[1]], handler, vector="TLB", latency_ns=10)

    async def works():
        await cell.read()

    cpus[0].spawn_thread("a", calls())
    cpus[1].spawn_thread("b", works())


HARMLESS = [
    results_by_actor,
    results_in_a_list,
    results_in_attributes,
    results_in_a_set,
    a_table_of_cells,
    a_mechanism_made_of_cells,
    memory_in_declared_steps,
    a_list_that_one_fills,
    what_is_local,
    a_list_of_a_handler,
]


@pytest.mark.parametrize("build", HARMLESS, ids=lambda build: build.__name__)
def test_what_no_order_can_change_is_no_sharing(build):
    """A tool that cries wolf is of no use."""
    verdict = search(build)

    assert () == verdict.shared
    assert Outcome.EXHAUSTED is verdict.outcome


def test_a_change_that_comes_late_in_a_long_search_is_seen():
    """Code that changes something shared is looked at until it has run."""

    def build(world):
        seen = [0]
        cells = [world.cell(f"c{at}") for at in range(2)]

        async def runs(mine, other):
            values = []
            for number in range(3):
                await mine.write(number + 1)
                values.append(await other.read())
            if values == [1, 2, 3]:
                seen[0] += 1

        world.actor("a", runs, *cells)
        world.actor("b", runs, *reversed(cells))

    verdict = search(build)

    assert 100 < verdict.nr_schedules
    assert ("a and b share the list `seen`",) == verdict.shared


def test_a_lock_of_threads_is_refused():
    """It would stop the only thread there is."""

    def build(world):
        lock = threading.Lock()

        async def runs(cell):
            with lock:
                await cell.write(1)

        two(world, runs)

    with pytest.raises(UserError, match=r"a and b share the _thread.lock `lock`, .*use world.lock"):
        search(build)
