"""The world of one schedule: what a test builds, afresh each time.

    def counter(world):
        count = world.cell("count", 0)

        async def increment():
            seen = await count.read()
            await count.write(seen + 1)

        world.actor("a", increment)
        world.actor("b", increment)

        @world.at_end
        def no_update_is_lost():
            assert count.value == 2

State that several actors touch lives in cells, locks, mailboxes and wait queues, of this module or
of `mmactors.engine` on `world.engine`. Whatever else two actors shared would be invisible to the
search: it would explore too little and say too much.
"""

from collections.abc import Callable, Coroutine, Hashable
from types import CoroutineType
from typing import Any, Final, Protocol, TypeVar

from attrs import define

from mmactors.engine import chance
from mmactors.engine.actor import PARKING
from mmactors.engine.cpu import Cpu
from mmactors.explore.engine.exact import exact
from mmactors.explore.engine.search_actor import SearchActor
from mmactors.explore.engine.untimed import SearchEngine
from mmactors.explore.engine.virtual_time import TIME, VirtualTime
from mmactors.explore.world.cell import SharedCell, SharedCount
from mmactors.explore.world.late import (
    LateCell,
    LateCount,
    LateLock,
    LateMailbox,
    late_step,
)
from mmactors.explore.world.lock import SharedLock
from mmactors.explore.world.mailbox import SharedMailbox
from mmactors.explore.world.primitives import Primitives
from mmactors.explore.world.question import (
    must_be_plain,
    must_be_question,
    must_have_answered,
    refuse_actor,
)
from mmactors.explore.world.shared import Named, name_of, names_of
from mmactors.explore.world.wait_queue import SharedWaitQueue
from mmactors.label import Mode
from mmactors.sanitize.finding import raise_finding
from mmactors.sanitize.lockdep import Lockdep

Law = Callable[[], object]
L = TypeVar("L", bound=Law)
T = TypeVar("T")


class Restorable(Protocol):
    """Something big that is put back instead of being made again, such as an arena."""

    def snapshot(self) -> Any:
        """Return a copy of all state."""

    def restore(self, snapshot: Any, /) -> None:
        """Put back what `snapshot` returned."""


R = TypeVar("R", bound=Restorable)


@define(eq=False)
class Monitor:
    """Something that must come again and again."""

    name: str
    hot: Callable[[], bool]
    limit: int
    temperature: int = 0
    """For how many steps in a row it was hot."""


@define(eq=False)
class Watched:
    """A shared object of somebody else's, whose state `key` names."""

    value: Callable[[], Hashable]

    def key(self) -> Hashable:
        """Return the state, by type and content."""
        return exact(self.value())

    def show(self) -> str:
        """Return the state as text."""
        return repr(self.value())


class World(Primitives):
    """Makes actors and what they share, and knows the laws."""

    __slots__ = (
        "_kept",
        "_nr_kept",
        "always_laws",
        "end_laws",
        "goals",
        "met",
        "monitors",
        "scope_names",
    )

    def __init__(
        self, engine: SearchEngine, kept: dict[str, tuple[Any, Any]], met: set[str]
    ) -> None:
        super().__init__(engine)
        self.always_laws: Final[list[Law]] = []
        self.end_laws: Final[list[Law]] = []
        self.scope_names: tuple[str, ...] | None = None
        self.monitors: Final[list[Monitor]] = []
        self.goals: Final[dict[str, Callable[[], bool] | None]] = {}
        self.met: Final = met
        """The goals that any schedule has met."""
        self._kept: Final = kept
        self._nr_kept: Final = len(engine.objects)
        """Objects that a machine has kept from the schedule before."""

    # -- actors ----------------------------------------------------------------------------------

    def actor(
        self,
        name: str,
        function: Callable[..., Coroutine[Any, Any, Any]],
        /,
        *args: Any,
        daemon: bool = False,
    ) -> SearchActor:
        """Make an actor that runs `function(*args)`.

        A schedule is over when all actors that are no daemons have ended. A daemon is how the
        surroundings act: it may take its steps at any time, or never.
        """
        try:
            coro = function(*args)
        except TypeError:
            if not callable(function):
                refuse_actor(name, function, None)
            raise
        if type(coro) is not CoroutineType and not hasattr(coro, "cr_await"):
            refuse_actor(name, function, coro)
        return self.engine.spawn(name, coro, daemon=daemon)

    def cpu(self, index: int, *, switch_ns: int = 0, slice_ns: int = 1_000_000) -> Cpu:
        """Make a CPU; its threads are made by `spawn_thread`, its interrupts are choices."""
        return Cpu(
            self.engine,
            index,
            switch_ns=switch_ns,
            slice_ns=slice_ns,
            on_switch=lambda _cpu, _thread: None,
            clock=VirtualTime(self.engine.read_time),
        )

    # -- what they share -------------------------------------------------------------------------

    def cell(self, name: str, value: Any = 0) -> Any:
        """Make a shared value; one that starts as an integer can count.

        Its type is SharedCell, or SharedCount. The value is any hashable one.
        """
        engine = self.engine
        assert name not in engine.objects, f"two objects are named {name}"
        kind: type[SharedCell[Any]] = SharedCount if type(value) is int else SharedCell
        if engine.allowed and chance.STORE_IS_LATE in engine.allowed:
            kind = LateCount if kind is SharedCount else LateCell
        cell = engine.cells.get(name)
        if cell is None or type(cell) is not kind:
            cell = engine.cells[name] = kind(engine, name, value)
        else:
            cell.renew(value)
        engine.objects[name] = cell
        return cell

    def lock(self, name: str) -> SharedLock:
        """Make a lock with one holder."""
        engine = self.engine
        assert name not in engine.objects, f"two objects are named {name}"
        kind = LateLock if chance.STORE_IS_LATE in engine.allowed else SharedLock
        lock = engine.cells.get(name)
        if type(lock) is not kind:
            lock = engine.cells[name] = kind(engine, name)
        else:
            lock.renew()
        return lock

    def mailbox(self, name: str, *, capacity: int = 1 << 10) -> SharedMailbox:
        """Make a mailbox."""
        assert name not in self.engine.objects, f"two objects are named {name}"
        kind = LateMailbox if chance.STORE_IS_LATE in self.engine.allowed else SharedMailbox
        return kind(self.engine, name, capacity=capacity)

    def wait_queue(self, name: str) -> SharedWaitQueue:
        """Make a queue in which actors sleep until they are woken."""
        assert name not in self.engine.objects, f"two objects are named {name}"
        return SharedWaitQueue(self.engine, name)

    def once(self, name: str, make: Callable[[], R]) -> R:
        """Return what `make` makes, once a search; later schedules get it back as it was new."""
        kept = self._kept.get(name)
        if kept is None:
            thing = make()
            self._kept[name] = (thing, thing.snapshot())
            return thing
        found: R = kept[0]
        found.restore(kept[1])
        return found

    def watch(self, name: str, key: Callable[[], Hashable]) -> None:
        """Let `key()` name the state of the shared object `name` that is not made here.

        If every object that steps touch can be named, states that were seen before are not
        explored again.
        """
        assert name not in self.engine.objects, f"two objects are named {name}"
        self.engine.objects[name] = Watched(key)

    async def now(self) -> int:
        """Return the virtual time in ns, which moves by what actors `engine.spend`; a step."""
        engine = self.engine
        if not engine.is_timed:
            engine.read_time()  # All begins again, with spending time as a step.
        await self.step("read the time", reads=(TIME,))
        return engine.clock.at

    async def fence(self) -> None:
        """Wait until all others see what the running actor has stored (mfence)."""
        await self.engine.fence()

    async def step(
        self,
        what: str,
        *,
        reads: tuple[Named, ...] = (),
        writes: tuple[Named, ...] = (),
        adds: tuple[Named, ...] = (),
    ) -> None:
        """Wait for the turn to touch several objects at once; until the next await it is yours.

        What is read or written through `cell.value` has to be declared here. If stores may be
        late, a step that only writes cells stores to each of them, and one that reads and writes,
        or adds, is locked: it waits until all that the running actor has stored is in memory. One
        that reads what is no cell waits until the own stores to that are.
        """
        engine = self.engine
        if engine.allowed and chance.STORE_IS_LATE in engine.allowed:
            names = map(names_of, (reads, writes, adds))
            await late_step(engine, what, *names)
            return
        key = (what, reads, writes, adds)
        step = engine.combined.get(key)
        if step is None:
            touches = [(name, Mode.READ) for name in names_of(reads)]
            touches += [(name, Mode.WRITE) for name in names_of(writes)]
            touches += [(name, Mode.ADD) for name in names_of(adds)]
            step = engine.combined[key] = engine.steps.of(what, tuple(touches))
        engine.parked = step
        await PARKING
        if engine.detour:
            await engine.take_interrupts(step)

    # -- choices ---------------------------------------------------------------------------------

    async def choose(self, what: str, *options: T) -> T:
        """Return one of `options`; the search tries them all. The first is the ordinary one."""
        if not options:
            raise TypeError(f"world.choose({what!r}) has nothing to choose from: name the options")
        return await self.engine.choose(what, options)

    async def may(self, what: str) -> bool:
        """Return whether `what` happens: no, which is the ordinary way, or yes.

        What `allow` names happens at most as often in a schedule as it says.
        """
        if what in self.engine.allowed:
            return await self.engine.may(what)
        return await self.engine.choose(what, (False, True))

    def allow(self, *what: str, times: int = 1) -> None:
        """Let the machine do what real ones do by themselves, see mmactors.engine.chance.

        Each happens at most `times` times in a schedule; that stores are late has no number.
        Say it before actors and cells are made.
        """
        has_actors = not all(actor.daemon for actor in self.engine.party)
        has_objects = len(self.engine.objects) > self._nr_kept
        comes_late = has_actors or has_objects
        assert not comes_late, "world.allow comes before actors and cells are made"
        for name in what:
            assert name in chance.ALL, f"{name!r} is none of {', '.join(chance.ALL)}"
            self.engine.allow(name, times)

    def any_time(
        self, name: str, action: Callable[[], object], *writes: Named, times: int = 1
    ) -> SearchActor:
        """Let `action()`, which writes the objects `writes`, happen at any time or never.

        It happens at most `times` times in a schedule. If stores may be late, this is locked: all
        that it writes is seen at once.
        """
        reads = writes if chance.STORE_IS_LATE in self.engine.allowed else ()

        must_be_plain(f"the action {name!r}", action)

        async def acts() -> None:
            for _ in range(times):
                await self.step(name, reads=reads, writes=writes)
                must_have_answered(f"the action {name!r}", action, action())

        return self.actor(name, acts, daemon=True)

    # -- laws ------------------------------------------------------------------------------------

    def always(self, law: L) -> L:
        """Let `law()` hold after each step; it asserts, or returns what is false if it is broken.

        None is no answer: a law that only asserts returns it.
        """
        must_be_question("the law", law)
        self.always_laws.append(law)
        return law

    def at_end(self, law: L) -> L:
        """Let `law()` hold when all actors have ended."""
        must_be_question("the law", law)
        self.end_laws.append(law)
        return law

    def monitor(self, name: str, hot: Callable[[], bool], *, limit: int = 200) -> None:
        """Let something good happen again and again: `hot()` says that it is due.

        A monitor that is hot at the end, or for more than `limit` steps in a row of a schedule in
        which everybody gets turns, is broken. A schedule gets there when it is longer than
        `max_steps`, or when all who can go on only spin.
        """
        must_be_question(f"the monitor {name!r}", hot)
        self.monitors.append(Monitor(name, hot, limit))

    def sometimes(self, name: str, holds: Callable[[], bool] | None = None) -> None:
        """Want `holds()` to be true after some step of some schedule; the verdict says if not.

        Without `holds`, an actor says so by `reached(name)`. A window that no schedule enters is
        no bug, but a test that never enters it proves less than it seems to.
        """
        if holds is not None:
            must_be_question(f"the goal {name!r}", holds)
        self.goals[name] = holds

    def reached(self, name: str) -> None:
        """Say that the running schedule has got to where `sometimes(name)` wants it."""
        assert name in self.goals, f"world.sometimes({name!r}) was never said"
        self.met.add(name)

    def lockdep(self) -> None:
        """Let every order of locks that could deadlock be a broken law, also where none does.

        Sleeping locks in atomic context are, too. Locks of one name up to a `[` are one class.
        """
        self.engine.lock_observer = Lockdep(self.engine, on_finding=raise_finding)

    def scope(self, *objects: Named) -> None:
        """Let only steps on these objects be choice points; without a scope all steps are."""
        self.scope_names = tuple(map(name_of, objects))
