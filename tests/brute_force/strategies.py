"""Random programs (hypothesis), small enough for brute force."""

from brute_force.program import (
    BOXES,
    CELLS,
    COUNTS,
    LOCKS,
    QUEUES,
    TESTS,
    Add,
    AddReturn,
    Ask,
    AwaitSignal,
    Choose,
    Cmpxchg,
    Const,
    DecAndTest,
    Down,
    Event,
    Fence,
    GetAndClear,
    If,
    IsSignalled,
    Locked,
    Meet,
    Move,
    Notify,
    Program,
    Read,
    Reading,
    Receive,
    Retry,
    RetryAdd,
    Seen,
    Signal,
    Sleep,
    Step,
    Tell,
    Try,
    Until,
    Up,
    Waiting,
    Wake,
    Write,
    Writing,
    Xchg,
)
from hypothesis import strategies as st

MAX_STEPS = 7
"""Of a program; a body that would make it longer is left out."""
VALUES = (0, 1, True, 1.0, 0.0, -0.0, 2)
"""Some are equal and not alike."""

cells = st.sampled_from((*CELLS, *CELLS, *COUNTS))
counts = st.sampled_from(COUNTS)
constants = st.sampled_from(VALUES).map(Const)
expressions = st.one_of(constants, st.builds(Seen, st.sampled_from((None, 1))))
tests = st.sampled_from(sorted(TESTS))
small = st.integers(1, 2)


def one_of(weights):
    """Return a strategy that draws from each of some as often as its weight says.

    `st.one_of` would draw from all alternatives of all of them alike.
    """
    weighted = [strategy for strategy, weight in weights for _ in range(weight)]
    return st.sampled_from(weighted).flatmap(lambda strategy: strategy)


def _distinct(values):
    return tuple(dict.fromkeys(values))


@st.composite
def steps(draw):
    """A step on several cells, in one of the forms that make sense."""
    some = st.lists(cells, min_size=1, max_size=2).map(_distinct)
    match draw(st.sampled_from(("reads", "writes", "both", "adds"))):
        case "reads":
            return Step(reads=draw(some))
        case "adds":
            adds = draw(st.lists(counts, min_size=1, max_size=2).map(_distinct))
            return Step(adds=adds, moves=tuple(Move(name, name, draw(small)) for name in adds))
        case form:
            reads = draw(some) if form == "both" else ()
            writes = draw(some)
            sources = st.sampled_from((None, *reads, *writes))
            moves = tuple(
                Move(name, draw(sources), draw(st.sampled_from((None, 1)))) for name in writes
            )
            return Step(reads=reads, writes=writes, moves=moves)


plain = one_of([(st.builds(Write, cells, expressions), 1), (st.builds(Read, cells), 1)])
locked = st.one_of(
    st.builds(Xchg, cells, expressions),
    st.builds(Cmpxchg, cells, expressions, expressions),
    st.builds(Add, counts, small),
    st.builds(AddReturn, counts, small),
    st.builds(DecAndTest, counts),
    st.builds(GetAndClear, counts),
    st.builds(Fence),
)
waiting = st.one_of(
    st.builds(Until, cells, tests),
    st.builds(Receive, st.sampled_from(BOXES)),
    st.builds(Ask, st.sampled_from(BOXES), expressions),
    st.builds(Tell, st.sampled_from(BOXES), expressions, st.one_of(st.none(), cells)),
    st.builds(Sleep, st.sampled_from(QUEUES)),
    st.builds(Wake, st.sampled_from(QUEUES), small),
)
choices = st.one_of(
    st.builds(Choose, st.lists(constants, min_size=2, max_size=3).map(tuple)),
    st.just(Choose((Const(False), Const(True)))),
)
semaphores = st.one_of(st.builds(Down, st.booleans()), st.just(Up()))
signals = st.one_of(
    st.builds(Signal, st.booleans()),
    st.just(IsSignalled()),
    st.builds(AwaitSignal, st.booleans()),
)
meetings = st.just(Meet())
notifying = st.builds(Notify, st.booleans())
primitives = st.one_of(semaphores, signals, meetings, notifying)
operations = one_of(
    [(plain, 8), (locked, 2), (waiting, 3), (steps(), 2), (choices, 1), (primitives, 2)]
)
bodies = st.lists(operations, min_size=1, max_size=2).map(tuple)
sections = st.one_of(st.builds(Reading, bodies), st.builds(Writing, bodies))
waits = st.builds(Waiting, st.booleans(), bodies)
nested = st.one_of(
    sections,
    waits,
    st.builds(Locked, st.sampled_from(LOCKS), bodies),
    st.builds(
        lambda locks, body: Locked(locks[0], (Locked(locks[1], body),)),
        st.permutations(LOCKS),
        bodies,
    ),
    st.builds(Try, st.sampled_from(LOCKS), bodies),
    st.builds(If, tests, bodies, bodies),
    st.builds(Retry, st.integers(2, 4), cells, tests),
    st.builds(RetryAdd, st.integers(1, 3), counts),
)
statements = one_of([(operations, 3), (nested, 1)])
of_memory = one_of([(plain, 6), (locked, 2), (statements, 2)])
"""What shows whether a store was late."""
families = st.sampled_from(
    [semaphores, signals, sections, meetings, one_of([(waits, 2), (notifying, 3)])]
)
"""What belongs to one primitive."""


@st.composite
def events(draw):
    """A cell is set, or counted up, at any time or never."""
    name = draw(cells)
    move = draw(st.sampled_from((Move(name, None), Move(name, None, 1), Move(name, name, 1))))
    step = Step(writes=(name,), moves=(move,), is_event=True)
    return Event(f"event {name}", step, draw(small))


def size(body):
    """Return how many steps a body takes, at most."""
    return sum(map(_size, body))


def _size(statement):
    match statement:
        case Locked(_, body) | Try(_, body) | Reading(body) | Writing(body):
            return 2 + size(body)
        case Waiting(_, body):
            return 5 + size(body)
        case If(_, then, orelse):
            return max(size(then), size(orelse))
        case Retry(times, _, _):
            return times
        case RetryAdd(times, _):
            return 2 * times
        case Choose():
            return 0
    return 1


def _short(body, max_steps):
    """Leave out what is too much."""
    left = max_steps
    kept = []
    for statement in body:
        if size((statement,)) <= left:
            left -= size((statement,))
            kept.append(statement)
    return tuple(kept)


@st.composite
def programs(draw, *, is_late=None, max_steps=MAX_STEPS):
    """Two or three actors on a few objects."""
    late = draw(st.booleans()) if is_late is None else is_late
    any_statement = of_memory if late else statements
    if draw(st.booleans()):
        family = draw(families)
        any_statement = one_of([(family, 3), (any_statement, 2)])
    body = st.lists(any_statement, min_size=2, max_size=4)
    max_steps -= late  # Each store drains, which is a step, too.
    bodies_of_all = draw(st.lists(body, min_size=2, max_size=3))
    some_events = draw(st.one_of(st.just(()), st.tuples(events())))
    return Program(
        cells=(
            *((name, draw(constants)) for name in CELLS),
            *((name, Const(0)) for name in COUNTS),
        ),
        actors=tuple(_short(each, -(-max_steps // len(bodies_of_all))) for each in bodies_of_all),
        nr_daemons=draw(st.sampled_from((0, 0, 0, 1))),
        events=some_events,
        is_late=late,
    )
