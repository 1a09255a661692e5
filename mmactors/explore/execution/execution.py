"""One schedule after another of one world: begin, who could go, advance.

A strategy calls `begin`, then `candidates` and `advance` until `is_over` or `broken`. A choice is a
number (choice.py). The first candidate is always the actor that ran last, if it can go on, so that
choice 0 is "no preemption".

`advance` runs one step: the operation, and the local code after it, up to the next parking place.
Steps outside the scope belong to the step before them, as long as they can be taken.

Invariants: nobody runs between two calls; `choices` and `steps` are as long as each other.
"""

from collections.abc import Callable
from itertools import islice
from typing import Any, Final

from mmactors.engine.actor import NEVER, PARK
from mmactors.engine.report import EngineError
from mmactors.explore.conduct.conduct import Conduct
from mmactors.explore.engine.foreign import refuse
from mmactors.explore.engine.search_actor import START, SearchActor
from mmactors.explore.engine.step import Step
from mmactors.explore.engine.untimed import INTERRUPT, SearchEngine
from mmactors.explore.engine.virtual_time import TIME
from mmactors.explore.execution.broken import Broken, crashed, deadlock
from mmactors.explore.execution.choice import INDEX_BITS, INDEX_MASK, take_option
from mmactors.explore.execution.course import Course, Run
from mmactors.explore.execution.history import GuardedHistories, Histories
from mmactors.explore.execution.known import KnownSteps
from mmactors.explore.execution.look import LOOK_EVERY
from mmactors.explore.execution.loud import Loud
from mmactors.explore.execution.scope import Scope
from mmactors.explore.execution.watch import Watch
from mmactors.explore.world.world import World
from mmactors.label import Mode

Build = Callable[[World], object]

MAX_LOCAL_STEPS: Final = 100_000
"""How many steps outside the scope an actor may take in a row."""
_CLOCK_IS_READ: Final = (TIME, "read")
"""What is found out as soon as an actor reads the clock: spending time is something to see then."""
THE_END: Final = "the end"
"""What an actor that ends looks at and each step of a daemon changes: it may come too late."""


class Execution:
    """Runs schedules of the world that `build` makes."""

    def __init__(
        self,
        build: Build,
        *,
        scope: tuple[str, ...] | None = None,
        is_keyed: bool = True,
        engine: SearchEngine | None = None,
        repeats: bool = True,
    ) -> None:
        """`repeats`: False takes steps that were taken before as if they were new."""
        self.engine: Final = SearchEngine() if engine is None else engine
        self.choices: Final[list[int]] = []
        self.steps: Final[list[Step]] = []
        """What was done, by choice; a step knows here what it really touched."""
        self.broken: Broken | None = None
        self.current = -1
        """The index of the actor that ran last."""
        self.is_over = False
        self.conduct: Final = Conduct()
        self.fair_from: int | None = None
        """From this step on everybody had a turn: somebody only span, or it grew too long."""
        self.is_long = False
        """It grew too long."""
        self.endless: tuple[str, ...] = ()
        """Who had not ended when everybody had had turns for too long, and nothing came back."""
        self.world: World
        self.nr_cast = 0
        """How many actors the world began with; they are the first."""
        self._nr_kept = 0
        """How many objects were there before it: a builder may keep some over schedules."""
        self._nr_named = 0
        """How many objects it began with; others show up when they are touched."""
        histories = GuardedHistories if self.engine.guard.on else Histories
        self.histories: Final = histories(self.engine)
        self.is_keyed = is_keyed
        """Whether states can be named; turned off by an object that nobody can name."""
        self.met: Final[set[str]] = set()
        """The goals that any schedule so far has met."""
        self.scope: Final = Scope(scope, self.engine)
        self._build: Final = build
        self._kept: Final[dict[str, tuple[Any, Any]]] = {}
        self.loud: Final = Loud()
        self._watch: Watch
        self._is_watched = False
        """Somebody looks at the state after each step."""
        self.is_plain = False
        """There is no scope, no guard, no store buffer: a step may be all that happens."""
        self.was_plain = False
        """The last step was all that happened."""
        self.has_finished = False
        """An actor that is no daemon ended in the present step."""
        self._guard: Final = self.engine.guard if self.engine.guard.on else None
        self.repeats: Final = repeats and self._guard is None
        self.runs: Final[list[Run]] = []
        """Who ran so far in the present step."""
        self.names_states = True
        """Not only what actors look at is noted: somebody wants to know which states were seen."""
        self.is_run_twice = False
        """The next schedule will be run again, and compared: all that it does is noted."""
        self.known: Final = KnownSteps()
        self.uses_known = False
        """Steps cost more than to name the state after each."""
        self.look_up: Callable[[], None] = lambda: None
        self.look_every = LOOK_EVERY

    # -- one schedule ------------------------------------------------------------------------------

    def begin(self) -> None:
        """Build the world afresh and let every actor come to its first step."""
        engine = self.engine
        engine.reset()
        self._nr_kept = len(engine.objects)
        self.choices.clear()
        self.steps.clear()
        self.broken = None
        self.fair_from = None
        self.is_long = False
        self.endless = ()
        self.current = -1
        self.has_finished = False
        self.names_states |= self.is_run_twice
        world = self.world = World(engine, self._kept, self.met)
        if self._guard is None:
            self._build(world)
        else:
            with self._guard.suspended():
                self._build(world)
        if not self.conduct.is_idle:
            self.conduct.begin(engine)
        self._watch = Watch(world, self._guard, is_first=self.conduct.is_first)
        self._is_watched = self._watch.is_eager
        if self.scope.names is not None or world.scope_names is not None:
            self.scope.begin(world.scope_names)
        assert engine.party, "the world has no actors; call world.actor(name, function)"
        if self.loud.names and self.loud.is_named(*_CLOCK_IS_READ):
            engine.is_timed = True
            engine.objects[TIME] = engine.clock
        self._nr_named = len(engine.objects)
        self.nr_cast = len(engine.party)
        self.histories.begin()
        self.histories.is_naming = self.names_states
        engine.extra.clear()
        self.is_plain = self.scope.names is None and self._guard is None and not engine.buffers
        self.uses_known = self.repeats and not self.is_plain
        if self.uses_known:
            self.known.begin(len(self.loud.names))
        self._start()
        self.has_finished = False  # Who had nothing to do ended before the first step.
        engine.extra.clear()  # No choice has been made before.
        engine.running = None
        self.is_over = engine.is_over()
        if self._is_watched or self.is_over:
            self.broken = self._watch.look(is_over=self.is_over)

    def close(self) -> None:
        """Leave no coroutine behind, and no world."""
        self.engine.reset()
        vars(self).update(world=None, _watch=None)

    @property
    def named(self) -> list[str]:
        """The objects that the world began with."""
        return list(islice(self.engine.objects, self._nr_kept, self._nr_named))

    def has_ended(self) -> bool:
        """Return whether the schedule is over, well or badly."""
        return self.is_over or self.broken is not None

    def candidates(self) -> list[int]:
        """Return all choices; the first is to go on with the same actor, if it can.

        An actor that only spins is none, unless all do: see `is_spinning`.
        """
        engine = self.engine
        actors = engine.party
        found: list[int] = []
        if engine.nr_choosing:
            for actor in actors:
                if actor.branch is not None and actor.pending.is_local:
                    return [option << INDEX_BITS | actor.index for option, _ in actor.branch()]
        current = self.current
        has_ways = False
        for index, actor in enumerate(actors):
            if actor.finished or (actor.spins and self.histories.sees_nothing_new(actor)):
                continue
            waits_for = actor.waits_for
            cpu = actor.cpu
            if waits_for is None:
                gate = actor.gate
                is_enabled = gate is None or gate()
            else:
                # actor.is_enabled(), without the call: most actors of a machine only wait.
                at_ns = getattr(waits_for, "at_ns", None)
                if at_ns is None:
                    is_enabled = actor.ready_at is not None
                else:
                    is_enabled = at_ns < NEVER and (cpu is None or cpu.current is actor)
            if is_enabled:
                if actor.branch is not None:
                    found += [option << INDEX_BITS | index for option, _ in actor.branch()]
                    has_ways = True
                elif index == current:
                    found.insert(0, index)
                else:
                    found.append(index)
            if cpu is not None and cpu.interrupt_ns < NEVER and cpu.current is actor:
                found.append(INTERRUPT << INDEX_BITS | index)
                has_ways = True
        if has_ways:
            found.sort(key=lambda choice: choice & INDEX_MASK != current)  # It keeps the rest.
        return found

    def is_spinning(self) -> bool:
        """Return whether somebody could go on, but only to look again at what it just saw."""
        return any(
            not actor.finished and actor.spins and actor.is_enabled() for actor in self.engine.party
        )

    def advance(self, choice: int) -> None:
        """Let the actor of `choice` take its step."""
        engine = self.engine
        actor = engine.party[choice & INDEX_MASK]
        step = actor.pending
        option = choice >> INDEX_BITS
        engine.running = actor
        if (
            self.is_plain
            and option == 0
            and actor.branch is None
            and actor.cpu is None
            and actor.waits_for is None
        ):
            nr_labels = engine.nr_labels
            histories = self.histories
            if histories.is_naming or step.may_look:
                if self.is_keyed and not histories.note(actor, step):
                    self.is_keyed = False
            elif actor.saw is not None:
                actor.acted()
            self._send(actor)
            self.was_plain = not (engine.woken or actor.pending.is_local)
            if not self.was_plain:
                self.runs[:] = ((actor.index, step, nr_labels),)
        else:
            self.was_plain = False
            if len(self.choices) % self.look_every == self.look_every - 1:
                self.look_up()
            self.runs.clear()
            if actor.branch is not None or option:
                step = take_option(engine, actor, option)
            self._resume(actor, step, is_choice=True)
        if not self.was_plain:
            self._go_on(actor)
            if engine.buffers and self.broken is None:
                self.is_over = engine.is_over()
                self.has_finished |= actor.serves  # The last store may be what ends it all.
        engine.running = None
        if engine.extra or engine.has_daemons or actor.cpu is not None:
            step = self._with_extra(actor, step, option)
        self.current = actor.index
        self.choices.append(choice)
        self.steps.append(step)
        if (self._is_watched or self.is_over) and self.broken is None:
            self.broken = self._watch.look(is_over=self.is_over)

    def _with_extra(self, actor: SearchActor, step: Step, option: int) -> Step:
        """Return the step as it is with all that it touched and had not declared."""
        engine = self.engine
        extra = engine.extra
        if engine.offence is not None:
            self._break(actor, engine.offence)
        elif extra:
            if engine.is_timed:
                self.loud.require(_CLOCK_IS_READ)
            touched = tuple(extra)
            is_noted = self.is_keyed and self.names_states
            if is_noted and not self.histories.note_more(actor, step, touched):
                self.is_keyed = False
        if actor.cpu is not None and option != INTERRUPT:
            extra.append((actor.cpu.name, Mode.READ))
        if engine.has_daemons:
            if actor.daemon:
                extra.append((THE_END, Mode.ADD))
            if self.has_finished:
                extra.append((THE_END, Mode.READ))
                self.has_finished = False
        if not extra:
            return step
        step = engine.steps.also(step, tuple(extra))
        extra.clear()
        return step

    def take_temperatures(self) -> None:
        """Let monitors look: everybody has turns now."""
        if self.broken is None:
            self.broken = self._watch.take_temperatures()

    def give_up(self) -> None:
        """Note that nobody can go on."""
        self.broken = deadlock(self.engine.party)

    def _start(self) -> None:
        """Let every actor come to its first step."""
        engine = self.engine
        woken = engine.woken
        if self.is_plain and not self.loud.names:
            starting = woken.copy()
            woken.clear()
            for actor in starting:
                engine.running = actor
                self._send(actor)
                if engine.extra:
                    self._must_be_quiet(actor, START, 0)
                if actor.pending.is_local:
                    woken.append(actor)
        if not woken:
            return
        if self.known.beginning is not None:
            if self.known.beginning.take(engine, self.let_run) is not None:
                self.known.beginning = None
                self.begin()  # Something else decides too: it is found out where schedules differ.
            return
        self.runs.clear()
        self._go_on()
        if self.uses_known and self.broken is None:
            self.known.beginning = Course(self.runs, engine.party)

    # -- inside one step ---------------------------------------------------------------------------

    def _resume(self, actor: SearchActor, step: Step, *, is_choice: bool = False) -> None:
        """Let `actor` run until it parks."""
        engine = self.engine
        nr_extra = len(engine.extra)
        if self.names_states or step.may_look:
            if self.is_keyed and not self.histories.note(actor, step):
                self.is_keyed = False
        elif actor.saw is not None:
            actor.acted()
        self.runs.append((actor.index, actor.pending, engine.nr_labels))
        if self._guard is not None:
            self._guard.end()
        self.let_run(actor)
        if engine.observed is not None:
            self.histories.add(actor, engine.observed)
            engine.observed = None
        if self.scope.names is not None and (
            step.touches or len(engine.extra) > nr_extra or actor.gate is not None
        ):
            self.scope.took(actor, step, tuple(engine.extra[nr_extra:]), is_choice=is_choice)

    def let_run(self, actor: SearchActor) -> None:
        """Let a running actor go on; CPUs all show the latest time."""
        engine = self.engine
        if actor.waits_for is not None:
            if actor.ready_at is not None and actor.ready_at > actor.clock.now:
                actor.clock.now = actor.ready_at
            actor.waits_for = None
        actor.ready_at = None
        if actor.cpu is not None:
            actor.clock.now = max(actor.clock.now, engine.clock.at)
        self._send(actor)
        if actor.cpu is not None:
            engine.clock.at = max(actor.clock.now, engine.clock.at)

    def _send(self, actor: SearchActor) -> None:
        """Let the coroutine run."""
        try:
            trap = actor.send(None)
        except StopIteration as stop:
            actor.result = stop.value
            self.engine.finish(actor)
            self.is_over = self.engine.is_over()
            self.has_finished |= not actor.daemon
        except Exception as error:  # noqa: BLE001 - the one place where an actor's error is caught
            actor.finished = True
            self._break(actor, error)
        else:
            if trap is not PARK:
                self._break(actor, refuse(actor, trap))
            actor.pending = self.engine.parked

    def _break(self, actor: SearchActor, error: Exception) -> None:
        """Note what an actor raised."""
        self.broken = crashed(actor, error, is_first=self.conduct.is_first)

    def _go_on(self, first: SearchActor | None = None) -> None:
        """Let those go on who need no turn for what they do next: who was woken, and `first`.

        They do one step each, in turns. Outside the scope nobody is offered a choice, so that
        services that nobody looks at answer as a part of the step that asks them.
        """
        engine = self.engine
        ready = engine.woken
        if first is not None:
            ready.append(first)
        for nr_taken in range(MAX_LOCAL_STEPS):
            if nr_taken % self.look_every == self.look_every - 1:
                self.look_up()
            if self.scope.names is not None and not ready:
                ready += self._let_in()
            if not ready or self.broken is not None:
                ready.clear()
                return
            actor = ready.pop(0)
            if not self._needs_no_turn(actor):
                continue
            step = actor.pending
            nr_extra = len(engine.extra)
            engine.running = actor
            self._resume(actor, step)
            if len(engine.extra) > nr_extra and (engine.offence or self.broken is None):
                self._must_be_quiet(actor, step, nr_extra)
            ready.append(actor)
        what = f"{actor} took {MAX_LOCAL_STEPS} steps outside the scope in a row"
        self._break(actor, EngineError(what))

    def _needs_no_turn(self, actor: SearchActor) -> bool:
        """Return whether an actor can go on with what is no choice point."""
        step = actor.pending
        return (
            not actor.finished
            and actor.branch is None
            and (step.is_local or self.scope.is_outside(step))
            and actor.is_enabled()
            and not self.loud.is_loud(actor, step)
            and not (actor.spins and self.histories.sees_nothing_new(actor))
        )

    def _let_in(self) -> list[SearchActor]:
        """Return who stood before a gate outside the scope that is open now."""
        return [each for each in self.engine.party if each.gate and self._needs_no_turn(each)]

    def _must_be_quiet(self, actor: SearchActor, step: Step, nr_extra: int) -> None:
        """Raise BecameVisible if what was taken for local touched what others may see."""
        engine = self.engine
        if engine.offence is not None:
            self._break(actor, engine.offence)
            return
        if any(self.scope.is_named(name) for name, _ in engine.extra[nr_extra:]):
            engine.running = None
            self.loud.add(actor.name, step.text)
