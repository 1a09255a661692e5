"""Primitives of worlds do what a few lines of each say: random programs, all interleavings of both.

The reference is an interpreter of its own: a step is a guard and what it does to a plain state, and
every order of the steps is followed. What the search finds must be the same set of ends, deadlocks
included, with and without what it leaves out.
"""

from functools import partial
from itertools import chain

from brute_force.explored import ends_of_world
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mmactors.engine.chance import WAKE_UP_IS_SPURIOUS

MAX_STATES = 20_000
MAX_SCHEDULES = 3000
OPERATIONS = (
    *("lock", "lock_timed", "trylock", "unlock"),
    *("down", "down_timed", "up"),
    *("set", "clear", "wait_event", "wait_event_timed", "is_set"),
    *("read_lock", "read_timed", "read_unlock", "write_lock", "write_unlock", "downgrade"),
    *("barrier", "once", "fetch_add", "cmpxchg"),
    *("wait", "wait_timed", "notify", "notify_all"),
    *("sleep", "sleep_timed", "sleep_unless", "wake"),
    *("tell", "receive_timed"),
)
STARTS = {
    "lock": None,
    "slots": 1,
    "event": False,
    "readers": (),
    "writer": None,
    "asking": (),
    "here": (),
    "round": 0,
    "once": None,
    "count": 0,
    "waiting": (),
    "asleep": (),
    "woken": frozenset(),
    "box": (),
}


# -- the reference ---------------------------------------------------------------------------------
#
# A micro-step is a function of (state, actor) that returns None if it cannot be taken, or a list of
# (state, result, next micro-steps before the rest of the program).


def always(change, result=None):
    return lambda state, me: [({**state, **change(state, me)}, result, ())]


def when(guard, change, *, result=True):
    def step(state, me):
        return [({**state, **change(state, me)}, result, ())] if guard(state, me) else None

    return step


def timed(guard, change):
    def step(state, me):
        if guard(state, me):
            return [({**state, **change(state, me)}, True, ())]
        return [(state, False, ())]

    return step


def owned(guard, change):
    """What only who has something may do; others do nothing, without a step."""
    return ("owned", guard, always(change))


def without(sequence, one):
    at = sequence.index(one)
    return (*sequence[:at], *sequence[at + 1 :])


def is_free(s, me):
    return s["lock"] is None


def may_read(s, me):
    return s["writer"] is None and not s["asking"]


def may_write(s, me):
    return s["writer"] is None and not s["readers"]


def ask_to_write(state, me):
    """Of a fair lock: who waits to write makes readers wait."""
    if may_write(state, me):
        return [({**state, "writer": me}, True, ())]
    take = when(may_write, lambda s, me: {"writer": me, "asking": without(s["asking"], me)})
    return [({**state, "asking": (*state["asking"], me)}, ..., (take,))]


def come(state, me):
    if state["here"]:
        return [({**state, "here": (), "round": state["round"] + 1}, 1, ())]
    this = state["round"]
    go_on = when(lambda s, me: s["round"] > this, lambda s, me: {}, result=0)
    return [({**state, "here": (me,)}, ..., (go_on,))]


def call(state, me):
    if state["once"] == "done":
        return [(state, False, ())]
    if state["once"] is not None:
        return None
    does = always(lambda s, me: {"count": s["count"] + 1}, ...)
    finish = always(lambda s, me: {"once": "done"}, True)
    return [({**state, "once": me}, ..., (does, finish))]


def begin_wait(*, is_timed):
    def step(state, me):
        state = {**state, "lock": None, "waiting": (*state["waiting"], me)}

        def end(s, me):
            found = []
            if me in s["woken"] and s["lock"] is None:
                found.append(({**s, "lock": me, "woken": s["woken"] - {me}}, True, ()))
            if is_timed:
                waiting = tuple(each for each in s["waiting"] if each != me)
                after = {**s, "waiting": waiting, "woken": s["woken"] - {me}}
                again = when(is_free, lambda s, me: {"lock": me}, result=False)
                found.append((after, ..., (again,)))
            return found or None

        return [(state, ..., (end,))]

    return step


def notify(state, me):
    if not state["waiting"]:
        return [(state, None, ())]
    return [
        (
            {**state, "waiting": without(state["waiting"], one), "woken": state["woken"] | {one}},
            None,
            (),
        )
        for one in state["waiting"]
    ]


def notify_all(state, me):
    woken = state["woken"] | set(state["waiting"])
    return [({**state, "waiting": (), "woken": woken}, None, ())]


def begin_sleep(*, is_timed=False, unless=lambda state: False):
    def end(s, me):
        if me not in s["asleep"]:
            return [(s, True, ())]
        if not is_timed:
            return None
        return [({**s, "asleep": without(s["asleep"], me)}, False, ())]

    def step(state, me):
        if unless(state):
            return [(state, True, ())]
        return [({**state, "asleep": (*state["asleep"], me)}, ..., (end,))]

    return step


def poll(state, me):
    """Look at the event, and sleep for a time if it is not set, again and again."""
    return [(state, True, ())] if state["event"] else [(state, ..., (doze,))]


def doze(state, me):
    return [({**state, "asleep": (*state["asleep"], me)}, ..., (wakes,))]


def wakes(state, me):
    asleep = state["asleep"]
    return [({**state, "asleep": without(asleep, me) if me in asleep else asleep}, ..., (poll,))]


def poll_locked(state, me):
    """The same with a condition, under its lock."""
    return None if state["lock"] is not None else [({**state, "lock": me}, ..., (look,))]


def look(state, me):
    return [(state, ..., (give_back,))] if state["event"] else [(state, ..., (wait_a_while,))]


def give_back(state, me):
    return [({**state, "lock": None}, True, ())]


def wait_a_while(state, me):
    return [({**state, "lock": None, "waiting": (*state["waiting"], me)}, ..., (end_wait,))]


def end_wait(state, me):
    """Notified, or out of time; then the lock again."""
    waiting = tuple(each for each in state["waiting"] if each != me)
    after = {**state, "waiting": waiting, "woken": state["woken"] - {me}}
    found = [(after, ..., (take_again,))]
    if me in state["woken"] and state["lock"] is None:
        found.append(({**after, "lock": me}, ..., (look,)))
    return found


def take_again(state, me):
    return None if state["lock"] is not None else [({**state, "lock": me}, ..., (look,))]


def receive(state, me):
    senders = sorted({sender for sender, _ in state["box"]})
    if not senders:
        return [(state, None, ())]
    found = []
    for sender in senders:
        message = next(each for each in state["box"] if each[0] == sender)
        found.append(({**state, "box": without(state["box"], message)}, message[1], ()))
    return found


def cmpxchg(state, me):
    if state["count"] != 1:
        return [(state, False, ())]
    return [({**state, "count": 5}, True, ())]


REFERENCE = {
    "lock": ("owned", lambda s, me: s["lock"] != me, when(is_free, lambda s, me: {"lock": me})),
    "lock_timed": (
        "owned",
        lambda s, me: s["lock"] != me,
        timed(is_free, lambda s, me: {"lock": me}),
    ),
    "trylock": timed(is_free, lambda s, me: {"lock": me}),
    "unlock": owned(lambda s, me: s["lock"] == me, lambda s, me: {"lock": None}),
    "down": when(lambda s, me: s["slots"], lambda s, me: {"slots": s["slots"] - 1}),
    "down_timed": timed(lambda s, me: s["slots"], lambda s, me: {"slots": s["slots"] - 1}),
    "up": always(lambda s, me: {"slots": s["slots"] + 1}),
    "set": always(lambda s, me: {"event": True}),
    "clear": always(lambda s, me: {"event": False}),
    "wait_event": when(lambda s, me: s["event"], lambda s, me: {}),
    "wait_event_timed": timed(lambda s, me: s["event"], lambda s, me: {}),
    "is_set": lambda state, me: [(state, state["event"], ())],
    "read_lock": when(may_read, lambda s, me: {"readers": tuple(sorted((*s["readers"], me)))}),
    "read_timed": timed(may_read, lambda s, me: {"readers": tuple(sorted((*s["readers"], me)))}),
    "read_unlock": owned(
        lambda s, me: me in s["readers"], lambda s, me: {"readers": without(s["readers"], me)}
    ),
    "write_lock": (
        "owned",
        lambda s, me: s["writer"] != me,
        when(may_write, lambda s, me: {"writer": me}),
    ),
    "write_unlock": owned(lambda s, me: s["writer"] == me, lambda s, me: {"writer": None}),
    "downgrade": owned(
        lambda s, me: s["writer"] == me,
        lambda s, me: {"writer": None, "readers": tuple(sorted((*s["readers"], me)))},
    ),
    "barrier": come,
    "once": call,
    "fetch_add": lambda state, me: [({**state, "count": state["count"] + 1}, state["count"], ())],
    "cmpxchg": cmpxchg,
    "wait": ("owned", lambda s, me: s["lock"] == me, begin_wait(is_timed=False)),
    "wait_timed": ("owned", lambda s, me: s["lock"] == me, begin_wait(is_timed=True)),
    "notify": notify,
    "notify_all": notify_all,
    "sleep": begin_sleep(),
    "sleep_timed": begin_sleep(is_timed=True),
    "sleep_unless": begin_sleep(unless=lambda state: state["event"]),
    "wake": lambda state, me: [({**state, "asleep": state["asleep"][1:]}, None, ())],
    "poll": poll,
    "poll_locked": poll_locked,
    "tell": lambda state, me: [({**state, "box": (*state["box"], (me, "m"))}, None, ())],
    "receive_timed": receive,
}


FAIR = {
    **REFERENCE,
    "write_lock": ("owned", lambda s, me: s["writer"] != me, ask_to_write),
}


def reference_ends(programs, *, fair):
    """Return all ends: whether all came to theirs, what each got, and what the objects hold."""
    reference = FAIR if fair else REFERENCE
    begun = tuple((tuple(map(reference.__getitem__, program)), (), 0) for program in programs)
    is_polling = any(operation.startswith("poll") for operation in chain(*programs))
    found, seen, todo = set(), set(), [(STARTS, begun)]
    while todo:
        state, actors = todo.pop()
        # Micro-steps are closures: where an actor stands is told by how many it took and got. Who
        # polls takes any number; its micro-steps are made once.
        key = (
            *state.values(),
            *((left if is_polling else nr_taken, got) for left, got, nr_taken in actors),
        )
        if key in seen:
            continue
        seen.add(key)
        assume(len(seen) < MAX_STATES)
        nexts = []
        ends = []
        for me, (all_left, got, nr_taken) in enumerate(actors):
            left, results = all_left, got
            while left and isinstance(left[0], tuple) and not left[0][1](state, me):
                left, results = left[1:], (*results, "not mine")
            ends.append(None if left else results)
            if left:
                step = left[0][2] if isinstance(left[0], tuple) else left[0]
                for after, result, more in step(state, me) or ():
                    gets = results if result is ... else (*results, result)
                    moved = ((*more, *left[1:]), gets, nr_taken + 1)
                    nexts.append((after, (*actors[:me], moved, *actors[me + 1 :])))
        todo += nexts
        if not nexts:
            held = state["count"], state["event"], state["slots"]
            found.add((None not in ends, tuple(ends), *held))
    return found


# -- the search ------------------------------------------------------------------------------------


def world_of(programs, fair, spurious, world):
    """Each actor does its operations, and leaves out what only who has something may do."""
    if spurious:
        world.allow(WAKE_UP_IS_SPURIOUS)
    lock = world.lock("lock")
    condition = world.condition("condition", lock)
    slots = world.semaphore("slots", 1)
    event = world.event("event")
    rwlock = world.rwlock("rwlock", fair=fair)
    barrier = world.barrier("barrier", 2)
    once = world.once_flag("once")
    count = world.atomic("count", 0)
    queue = world.wait_queue("queue")
    box = world.mailbox("box")

    async def does(program, me):
        has = dict.fromkeys(("lock", "read", "write"), 0)

        async def counts():
            await count.add(1)

        async def taking(what, waiting):
            is_taken = await waiting
            has[what] += is_taken
            return is_taken

        async def giving(what, waiting):
            has[what] -= 1
            return await waiting

        async def downgrades():
            has["read"] += 1
            await giving("write", rwlock.downgrade())

        async def tells():
            await world.step(f"tell {me}", adds=(f"own {me}",))
            box.tell("m")

        async def one(operation):
            match operation:
                case "lock":
                    return await taking("lock", lock.acquire())
                case "lock_timed":
                    return await taking("lock", lock.acquire(timeout=True))
                case "trylock":
                    return await taking("lock", lock.acquire_nowait())
                case "unlock":
                    return await giving("lock", lock.release())
                case "down":
                    return await slots.acquire()
                case "down_timed":
                    return await slots.acquire(timeout=2.5)
                case "up":
                    return await slots.release()
                case "set":
                    return await event.set()
                case "clear":
                    return await event.clear()
                case "wait_event":
                    return await event.wait()
                case "wait_event_timed":
                    return await event.wait(timeout=True)
                case "is_set":
                    return await event.is_set()
                case "read_lock":
                    return await taking("read", rwlock.acquire_read())
                case "read_timed":
                    return await taking("read", rwlock.acquire_read(timeout=True))
                case "read_unlock":
                    return await giving("read", rwlock.release_read())
                case "write_lock":
                    return await taking("write", rwlock.acquire_write())
                case "write_unlock":
                    return await giving("write", rwlock.release_write())
                case "downgrade":
                    return await downgrades()
                case "barrier":
                    return await barrier.wait()
                case "once":
                    return await once.call(counts)
                case "fetch_add":
                    return await count.fetch_add(1)
                case "cmpxchg":
                    return await count.cmpxchg(expected=1, value=5)
                case "wait":
                    return await condition.wait()
                case "wait_timed":
                    return await condition.wait(timeout=True)
                case "notify":
                    return await condition.notify()
                case "notify_all":
                    return await condition.notify_all()
                case "sleep":
                    return await queue.sleep()
                case "sleep_timed":
                    return await queue.sleep(timeout=True)
                case "sleep_unless":
                    return await queue.sleep(unless=lambda: event.value, reads=(event,))
                case "wake":
                    return await queue.wake()
                case "poll":
                    while not await event.is_set():
                        await queue.sleep(timeout=True)
                    return True
                case "poll_locked":
                    async with condition:
                        while not await event.is_set():
                            await condition.wait(timeout=True)
                    return True
                case "tell":
                    return await tells()
                case _:
                    return await box.receive(timeout=True)

        results = []
        for operation in program:
            is_mine = MINE.get(operation, lambda has: True)
            results.append(await one(operation) if is_mine(has) else "not mine")
        return tuple(results)

    for me, program in enumerate(programs):
        world.actor(f"a{me}", does, program, me)


MINE = {
    "lock": lambda has: not has["lock"],
    "lock_timed": lambda has: not has["lock"],
    "unlock": lambda has: has["lock"],
    "wait": lambda has: has["lock"],
    "wait_timed": lambda has: has["lock"],
    "read_unlock": lambda has: has["read"],
    "write_lock": lambda has: not has["write"],
    "write_unlock": lambda has: has["write"],
    "downgrade": lambda has: has["write"],
}


ends_of = partial(ends_of_world, names=("count", "event", "slots"), max_schedules=MAX_SCHEDULES)


programs = st.lists(
    st.lists(st.sampled_from(OPERATIONS), min_size=1, max_size=3), min_size=2, max_size=3
)
"""Any operations beside each other; most of them have nothing to do with each other."""
FAMILIES = (
    (
        "lock unlock",
        "lock_timed fetch_add unlock",
        "trylock unlock",
        "fetch_add",
        "lock down unlock up",
    ),
    ("lock wait unlock", "lock wait_timed unlock", "lock notify unlock", "notify", "notify_all"),
    (
        "read_lock read_lock read_unlock",
        "read_timed",
        "write_lock write_unlock",
        "write_lock downgrade",
    ),
    ("set", "set clear", "wait_event", "wait_event_timed", "is_set", "sleep_unless", "wake"),
    ("down up", "down_timed", "up", "once", "once cmpxchg", "barrier", "barrier barrier"),
    ("sleep", "sleep_timed", "wake", "tell", "tell tell", "receive_timed receive_timed"),
)
blocks = st.sampled_from(FAMILIES).flatmap(
    lambda family: st.lists(
        st.lists(st.sampled_from(family), min_size=1, max_size=2), min_size=2, max_size=3
    )
)
related = blocks.map(lambda actors: [" ".join(actor).split() for actor in actors])
"""What belongs together, as one uses it."""


@settings(max_examples=100)
@given(st.one_of(programs, related), st.booleans())
def test_every_end_of_the_reference_is_found_and_no_other(programs, fair):
    """With all that the search leaves out, and without, and within a bound that bounds nothing."""
    if sum(map(len, programs)) > 8:
        programs = programs[:2]
    expected = reference_ends(programs, fair=fair)
    build = partial(world_of, programs, fair, False)

    assert expected == ends_of(build)
    assert expected == ends_of(build, bound=20)
    assert expected == ends_of(build, has_sleep_sets=False)


@settings(max_examples=30)
@given(related, st.booleans())
def test_sleep_sets_and_states_leave_out_no_end_where_wake_ups_are_spurious(programs, fair):
    """Of conditions and wait queues; the reference knows of none."""
    build = partial(world_of, programs[:2], fair, True)

    assert ends_of(build, has_sleep_sets=False, has_states=False) == ends_of(build)


POLLERS = ("poll", "poll_locked", "sleep_timed", "lock fetch_add unlock", "fetch_add")
pollers = st.lists(st.sampled_from(POLLERS), min_size=1, max_size=2)
setters = st.lists(st.sampled_from(("wake", "notify", "lock set unlock", "fetch_add")), max_size=2)


@settings(max_examples=10)
@given(pollers, st.sampled_from(POLLERS), setters)
def test_a_loop_with_a_time_out_is_followed_until_it_comes_round(poller, other, setter):
    """All ends are found, though the loops take any number of turns before the event is set."""
    actors = (poller, [other], [*setter, "set"])
    programs = [" ".join(actor).split() for actor in actors]
    build = partial(world_of, programs, False, False)
    expected = reference_ends(programs, fair=False)

    assert expected == ends_of(build, max_schedules=500)
