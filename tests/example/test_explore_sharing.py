"""What actors share behind the world's back is named, and nothing is proven of such a world."""

import asyncio
import io
import itertools
import random
import sys
import threading
import weakref
from array import array
from collections import Counter, UserDict, deque
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache, partial, singledispatch
from types import SimpleNamespace

import numpy as np
import pytest

from mmactors.engine.ipi import call_on
from mmactors.errors import UserError
from mmactors.explore import Outcome, search

TOTAL = 0
SEEN = []
ALIVE = {}
VARIABLE = ContextVar("VARIABLE", default=0)
THIS = sys.modules[__name__]


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


# -- things that do not look like shared ones ------------------------------------------------------


class Private:
    __slots__ = ("__count", "__weakref__")

    def __init__(self):
        self.__count = 0

    @property
    def count(self):
        return self.__count

    @count.setter
    def count(self, count):
        self.__count = count


class Numbered(int):
    """A number with attributes."""


def bound_method():
    return partial([].append, 1)


def method_of_an_iterator():
    return itertools.count().__next__


def generator():
    values = (each for each in range(9))
    return lambda: next(values)


def mapped():
    values = map(abs, range(9))
    return lambda: next(values)


def view_of_memory():
    memory = bytearray(1)
    views = [memoryview(memory), np.frombuffer(memory, dtype=np.uint8)]

    def touch():
        views[0][0] += 1

    return touch


def function_attribute():
    def touch():
        touch.count = getattr(touch, "count", 0) + 1

    return touch


def cached_function_that_counts():
    calls = []
    return lru_cache(lambda: calls.append(1))


def statistics_of_a_cache():
    table = lru_cache(str)
    return lambda: table(1) if table.cache_info().misses else table(2)


def context_manager():
    inside = []

    @contextmanager
    def entered():
        inside.append(1)
        yield

    def touch():
        with entered():
            pass

    return touch


def private_slot_behind_a_property():
    private = Private()

    def touch():
        private.count += 1

    return touch


def weak_reference():
    ALIVE["private"] = Private()
    reference = weakref.ref(ALIVE["private"])

    def touch():
        reference().count += 1

    return touch


def attribute_of_a_number():
    number = Numbered(1)
    number.count = 0

    def touch():
        number.count += 1

    return touch


def wrapped_dict():
    table = UserDict(count=0)

    def touch():
        table["count"] = table["count"] + 1

    return touch


def text_stream():
    return partial(io.StringIO().write, "text")


def context_variable():
    return lambda: VARIABLE.set(VARIABLE.get() + 1)


def random_numbers():
    return random.Random(7).random


def random_numbers_of_numpy():
    return np.random.default_rng(7).random


def name_of_a_module():
    THIS.TOTAL = 0

    def touch():
        THIS.TOTAL += 1

    return touch


def globals_by_name():
    def touch():
        globals()["TOTAL"] += 1

    return touch


def index_from_the_end():
    values = [0]

    def touch():
        values[-1] = values[0] + 1

    return touch


def class_of_an_instance():
    class Model:
        count = 0

        def touch(self):
            type(self).count += 1

    return lambda: Model().touch()


@pytest.mark.parametrize(
    "make",
    [
        bound_method,
        method_of_an_iterator,
        generator,
        mapped,
        view_of_memory,
        function_attribute,
        cached_function_that_counts,
        statistics_of_a_cache,
        context_manager,
        private_slot_behind_a_property,
        weak_reference,
        attribute_of_a_number,
        wrapped_dict,
        text_stream,
        context_variable,
        random_numbers,
        random_numbers_of_numpy,
        name_of_a_module,
        globals_by_name,
        index_from_the_end,
        class_of_an_instance,
    ],
)
def test_what_only_looks_private_is_shared(make):
    """Whatever holds it: the search follows what code can reach."""

    def build(world):
        touch = make()

        async def runs(cell):
            await cell.write(1)
            touch()

        two(world, runs)

    verdict = search(build)

    assert Outcome.SAMPLED is verdict.outcome
    assert verdict.shared


def test_a_key_that_changes_is_no_key_of_its_own():
    """Who the closure says it is, and who it is when it writes, are two."""

    def build(world):
        got = {0: 0, 1: 0}

        def actor(number):
            def becomes_the_first():
                nonlocal number
                number = 0

            async def runs(cell):
                await cell.write(1)
                becomes_the_first()
                got[number] += 1

            return runs

        world.actor("a", actor(0), world.cell("x"))
        world.actor("b", actor(1), world.cell("y"))

    assert ("a and b share the dict `got`",) == search(build).shared


def test_what_one_declares_and_another_does_not_is_shared():
    """The order is known of those who say what they touch."""

    def build(world):
        memory = [0]

        async def stores():
            await world.step("store", writes=("memory",))
            memory[0] = 1

        async def looks(cell):
            await cell.write(1)
            if memory[0]:
                await cell.write(2)

        world.actor("a", stores)
        world.actor("b", looks, world.cell("x"))

    assert ("a and b share the list `memory`",) == search(build).shared


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


def lists_by_a_key_that_is_handed_on(world):
    logs = {name: [] for name in "ab"}

    def note(table, who, what):
        table[who].append(what)

    async def runs(cell, who):
        note(logs, who, await cell.read())
        logs[cell.name].append("done")

    for name in "ab":
        world.actor(name, runs, world.cell(name), name)


def elements_of_an_array(world):
    got = np.zeros(2, dtype=int)

    async def runs(cell, number):
        got[number] = await cell.read()

    for number, name in enumerate("ab"):
        world.actor(name, runs, world.cell(name), number)


def a_cached_function(world):
    @lru_cache
    def double(number):
        return 2 * number

    async def runs(cell):
        await cell.write(double(1))

    two(world, runs)


def a_function_of_many_kinds(world):
    @singledispatch
    def double(number):
        return 2 * number

    double.register(str, str.upper)

    async def runs(cell):
        await cell.write(double(1))

    two(world, runs)


HARMLESS = [
    a_function_of_many_kinds,
    lists_by_a_key_that_is_handed_on,
    elements_of_an_array,
    a_cached_function,
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
