"""Primitives of worlds whose stores may be late: random programs against a machine with buffers.

The reference is an x86-TSO machine of its own: memory, a buffer for each actor, and for each
operation a guard and what it does. A plain store goes into the buffer, a load sees the newest store
of its own buffer, what is locked waits until the buffer is empty, and the oldest store of a buffer
may drain at any time. What the search finds must be the same set of ends.
"""

from functools import partial

from brute_force.explored import ends_of_world
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mmactors.engine.chance import STORE_IS_LATE

MAX_STATES = 20_000
MAX_SCHEDULES = 4000
MEMORY = {"x": 0, "y": 0, "event": False, "lock": None, "writer": None, "readers": 0}
MEMORY |= {"other lock": None, "slots": 1, "once": False, "runner": None}


# -- the machine -----------------------------------------------------------------------------------


def seen(state, me, name):
    """Return what an actor loads."""
    own = [value for stored, value in state["buffers"][me] if stored == name]
    return own[-1] if own else state[name]


def stored(state, me, name, value):
    """Return the state in which a store waits in the buffer."""
    buffers = state["buffers"]
    own = (*buffers[me], (name, value))
    return {**state, "buffers": (*buffers[:me], own, *buffers[me + 1 :])}


def drained(state, me):
    """Return the state in which the oldest store of a buffer has reached memory."""
    buffers = state["buffers"]
    (name, value), *rest = buffers[me]
    after = {**state, name: value, "buffers": (*buffers[:me], tuple(rest), *buffers[me + 1 :])}
    if name == "once":
        after["runner"] = None
    return after


def load(name):
    return lambda state, me: [(state, seen(state, me, name), ())]


def store(name, value, result=None):
    return lambda state, me: [(stored(state, me, name, value), result, ())]


def locked(guard, change, result):
    """What acts on memory, and not before the buffer is empty."""

    def step(state, me):
        if state["buffers"][me] or not guard(state):
            return None
        return [({**state, **change(state, me)}, result(state), ())]

    return step


def until(name, *, is_timed):
    def step(state, me):
        is_there = bool(seen(state, me, name))
        return [(state, is_there, ())] if is_there or is_timed else None

    return step


def call(state, me):
    """Do something once: set x, then the flag."""
    if seen(state, me, "once"):
        return [(state, False, ())]
    if state["runner"] is not None or state["buffers"][me]:
        return None
    does = lambda state, me: [(stored(state, me, "x", 7), ..., ())]  # noqa: E731
    finish = lambda state, me: [(stored(state, me, "once", True), True, ())]  # noqa: E731
    return [({**state, "runner": me}, ..., (does, finish))]


def lock_timed(state, me):
    """Take a lock, which is locked, and give it back; or see that it is taken, which is a load.

    Who has given it back sees that, late as it may be for others.
    """
    if seen(state, me, "other lock") is not None:
        return [(state, False, ())]
    if state["buffers"][me]:
        return None
    unlocks = store("other lock", None, True)
    return [({**state, "other lock": me}, ..., (unlocks,))]


def anyway(state):
    return True


MACHINE = {
    "load x": load("x"),
    "load y": load("y"),
    "store x": store("x", 1),
    "store y": store("y", 1),
    "store x seq_cst": locked(anyway, lambda s, me: {"x": 2}, lambda s: None),
    "fetch_add y": locked(anyway, lambda s, me: {"y": s["y"] + 3}, lambda s: s["y"]),
    "set": store("event", True),
    "clear": store("event", False),
    "is_set": load("event"),
    "wait": until("event", is_timed=False),
    "wait_timed": until("event", is_timed=True),
    "lock": locked(lambda s: s["lock"] is None, lambda s, me: {"lock": me}, lambda s: True),
    "lock_timed": lock_timed,
    "unlock": store("lock", None),
    "down": locked(lambda s: s["slots"], lambda s, me: {"slots": s["slots"] - 1}, lambda s: True),
    "up": locked(anyway, lambda s, me: {"slots": s["slots"] + 1}, lambda s: None),
    "read_lock": locked(
        lambda s: s["writer"] is None,
        lambda s, me: {"readers": s["readers"] + 1},
        lambda s: True,
    ),
    "read_unlock": locked(anyway, lambda s, me: {"readers": s["readers"] - 1}, lambda s: None),
    "write_lock": locked(
        lambda s: s["writer"] is None and not s["readers"],
        lambda s, me: {"writer": me},
        lambda s: True,
    ),
    "write_unlock": store("writer", None),
    "once": call,
}


def machine_ends(programs):
    """Return all ends: whether all came to theirs, what each got, and what memory holds."""
    start = {**MEMORY, "buffers": ((),) * len(programs)}
    begun = tuple((tuple(map(MACHINE.__getitem__, program)), (), 0) for program in programs)
    found, known, todo = set(), set(), [(start, begun)]
    while todo:
        state, actors = todo.pop()
        key = (*state.values(), *((got, nr_taken) for _, got, nr_taken in actors))
        if key in known:
            continue
        known.add(key)
        assume(len(known) < MAX_STATES)
        nexts = [(drained(state, me), actors) for me, own in enumerate(state["buffers"]) if own]
        for me, (left, got, nr_taken) in enumerate(actors):
            for after, result, more in (left and left[0](state, me)) or ():
                gets = got if result is ... else (*got, result)
                moved = ((*more, *left[1:]), gets, nr_taken + 1)
                nexts.append((after, (*actors[:me], moved, *actors[me + 1 :])))
        todo += nexts
        if not nexts:
            ends = tuple(None if left else got for left, got, _ in actors)
            found.add((None not in ends, ends, state["x"], state["y"], state["event"]))
    return found


# -- the search ------------------------------------------------------------------------------------


def world_of(programs, world):
    world.allow(STORE_IS_LATE)
    x, y = world.atomic("x"), world.atomic("y")
    event, lock, slots = world.event("event"), world.lock("lock"), world.semaphore("slots")
    rwlock, flag = world.rwlock("rwlock", fair=False), world.once_flag("once")

    async def makes():
        await x.store(7, "relaxed")

    other_lock = world.lock("other lock")

    async def locks_in_time():
        is_taken = await other_lock.acquire(timeout=True)
        if is_taken:
            await other_lock.release()
        return is_taken

    does = {
        "load x": partial(x.load, "acquire"),
        "load y": partial(y.load, "relaxed"),
        "store x": partial(x.store, 1, "release"),
        "store y": partial(y.store, 1, "relaxed"),
        "store x seq_cst": partial(x.store, 2),
        "fetch_add y": partial(y.fetch_add, 3, "relaxed"),
        "set": event.set,
        "clear": event.clear,
        "is_set": event.is_set,
        "wait": event.wait,
        "wait_timed": partial(event.wait, timeout=True),
        "lock": lock.acquire,
        "lock_timed": locks_in_time,
        "unlock": lock.release,
        "down": slots.acquire,
        "up": slots.release,
        "read_lock": rwlock.acquire_read,
        "read_unlock": rwlock.release_read,
        "write_lock": rwlock.acquire_write,
        "write_unlock": rwlock.release_write,
        "once": partial(flag.call, makes),
    }

    async def runs(program):
        return tuple([await does[operation]() for operation in program])

    for me, program in enumerate(programs):
        world.actor(f"a{me}", runs, program)


ends_of = partial(ends_of_world, names=("x", "y", "event"), max_schedules=MAX_SCHEDULES)


BLOCKS = (
    *("load x", "load y", "store x", "store y", "store x seq_cst", "fetch_add y"),
    *("set", "clear", "is_set", "wait", "wait_timed", "once", "store x set", "wait load x"),
    *("store x load y", "store y load x", "store x seq_cst load y", "set is_set"),
)
GUARDED = (
    ("lock store x store y unlock", "lock load x load y unlock", "store x lock_timed load y"),
    ("store x lock_timed load y", "fetch_add y load x"),
    ("down store x store y up", "down load x load y up", "store x up load y", "store y up load x"),
    ("write_lock store x store y write_unlock", "read_lock load x load y read_unlock"),
    ("store y write_lock write_unlock load x", "store x seq_cst load y"),
    ("once load x", "store x once load y", "fetch_add y load x"),
)
actors = st.sampled_from((BLOCKS, *GUARDED)).flatmap(
    lambda blocks: st.lists(
        st.lists(st.sampled_from(blocks), min_size=1, max_size=2), min_size=2, max_size=2
    )
)


@settings(max_examples=60)
@given(actors)
def test_every_end_of_the_machine_is_found_and_no_other(blocks):
    """With all that the search leaves out, and without."""
    programs = [" ".join(actor).split() for actor in blocks]
    programs = [split_names(program) for program in programs]
    expected = machine_ends(programs)
    build = partial(world_of, programs)

    assert expected == ends_of(build)
    assert expected == ends_of(build, has_sleep_sets=False)


def split_names(words):
    """Return the operations of a program: some have names of two or three words."""
    found = []
    while words:
        size = next(size for size in (3, 2, 1) if " ".join(words[:size]) in MACHINE)
        found.append(" ".join(words[:size]))
        words = words[size:]
    return found
