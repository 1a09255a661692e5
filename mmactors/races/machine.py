"""A machine whose interleavings are searched: set up once, then every schedule of its race.

The machine is the one that `mmactors run` makes, actors and kernel paths unchanged, on an engine
that leaves every step to the search. What its programs do before `race` is set-up: it is done once,
without choices; no page waits in a batch then, as if somebody had drained all (lru_add_drain_all).
The state at rest is kept, and each schedule begins with it: serving actors, CPUs
and threads get new coroutines for what they have left to do.

A schedule is over when every thread has done its operations; the processes still stand then, so
that laws can look at what came of it. A process that a signal ends breaks its schedule, unless the
scenario expects that, or lets the process go on.
"""

from collections.abc import Callable
from typing import Final

from attrs import evolve

from mmactors.actors.state.fatal_signal import FatalSignal
from mmactors.engine.mailbox import Mailbox
from mmactors.engine.wait_queue import WaitQueue
from mmactors.errors import Place, Problem, UserError
from mmactors.explore.engine.untimed import SearchEngine
from mmactors.explore.execution.execution import Execution
from mmactors.explore.execution.loud import BecameVisible
from mmactors.explore.world.world import World
from mmactors.hw.config import CacheConfig, HardwareConfig
from mmactors.mm.fault.siginfo import SIGKILL
from mmactors.observe.inspection import Inspection, inspect_kernel
from mmactors.races.checkpoint import Checkpoint
from mmactors.races.objects import MachineObjects
from mmactors.races.own_laws import OwnLaws
from mmactors.races.scope_names import must_be_known
from mmactors.races.surroundings import allow
from mmactors.races.teller import MachineTeller
from mmactors.sanitize.config import SanitizeConfig
from mmactors.scenario.death import ExpectedDeath, UnexpectedDeath, deaths_of
from mmactors.scenario.dump import dump_scenario
from mmactors.scenario.schema import Scenario
from mmactors.scenario.wiring import Wired, wire
from mmactors.workload.operation.all import Race

_MAX_SETUP_STEPS: Final = 1_000_000


class ExploredMachine:
    """Builds the world of each schedule of one scenario."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario: Final = scenario
        race = scenario.race
        self._own: Final = None if race is None or not race.has_own else OwnLaws(race)
        self._engine: SearchEngine | None = None
        self.wired: Wired
        """The machine's parts, once it is prepared; each schedule begins with them as they were."""
        self._checkpoint: Checkpoint

    def __call__(self, world: World) -> None:
        """Build the world of one schedule."""
        self.prepare(world.engine)
        self._checkpoint.restore()
        wired = self.wired
        race = self.scenario.race
        if race is not None and race.may:
            allow(world, wired.kernel, wired.processes, race.may)
        for cpu in wired.kernel.cpus:
            cpu.start()
        wired.start_services()
        for process in wired.processes:
            if process.space is not None:
                for thread in process.threads.values():
                    thread.resume(0)
        if wired.sanitizer is not None:
            world.at_end(wired.sanitizer.at_rest)
        if self._own is not None:
            self._own.declare(world, self._inspect, wired.kernel.probe, self.teller())
        if race is not None and race.scope:
            world.scope(*race.scope)

    def prepare(self, engine: SearchEngine) -> None:
        """Come to the race, once a search; no schedule has to wait for that."""
        if self._engine is not engine:
            self._set_up(engine)
            self._engine = engine

    def warm_up(self) -> None:
        """Come to the race once: what was never compiled on this host is compiled now."""
        self._set_up(SearchEngine())
        if self.wired.sanitizer is not None:
            self.wired.sanitizer.at_rest()

    def program(self) -> str:
        """Return what is built, for the fingerprint of schedules: the scenario with its rules."""
        return dump_scenario(self.scenario)

    def teller(self) -> MachineTeller:
        """Return who tells people what its objects are."""
        return MachineTeller(self.wired.kernel, lambda: self.wired.processes)

    def _inspect(self) -> Inspection:
        return inspect_kernel(self.wired.kernel, self.wired.processes)

    # -- once a search ---------------------------------------------------------------------------

    def _set_up(self, engine: SearchEngine) -> None:
        """Run all programs up to `race`, and keep the state."""
        self._run_to_race(engine)
        engine.reset()
        wired = self.wired
        wired.interpreter.race_gate = None
        wired.switcher.forget_actors()
        for process in wired.processes:
            process.outlives_threads = True
        for thing in Checkpoint(wired).objects:
            if isinstance(thing, Mailbox | WaitQueue):
                thing.forget_actors()
        self._checkpoint = Checkpoint((wired, engine.registered))
        engine.objects = MachineObjects(wired.kernel, wired.table.processes, engine.registered)
        if self.scenario.race is not None:
            must_be_known(self.scenario.race.scope, engine.registered)

    def _run_to_race(self, engine: SearchEngine) -> None:
        setup = Execution(self._build_for_setup, engine=engine, scope=(), is_keyed=False)
        while True:
            try:
                setup.begin()
                for _ in range(_MAX_SETUP_STEPS):
                    candidates = setup.candidates()
                    if not candidates or setup.has_ended():
                        break
                    setup.advance(candidates[0])
                break
            except BecameVisible:
                continue  # Nothing was explored that could be void.
        if setup.broken is not None:
            raise UserError(
                Problem(
                    place=Place("race"),
                    found=f"the set-up before the race fails: {setup.broken}",
                    legal="expected every program to come to its `race`",
                    advice="run the scenario with `mmactors run`, and look at its log",
                )
            )
        self._must_be_at_race()
        for batches in self.wired.kernel.lru:
            batches.drain()
            assert not batches.released, "what was freed in the set-up waits in a batch"

    def _build_for_setup(self, world: World) -> None:
        # The search finds deadlocks; what only could become one is of interest if one asks for it.
        sanitize = evolve(
            SanitizeConfig.everything(panic=True), lockdep=self.scenario.sanitize.lockdep
        )
        machine = self.scenario.machine
        self.wired = wire(
            evolve(
                self.scenario,
                sanitize=sanitize,
                machine=evolve(machine, hardware=_small(machine.hardware)),
            ),
            engine=world.engine,
            sink=None if self._own is None else self._own.notes,
            before_exit=lambda _process: None,
        )
        self.wired.interpreter.race_gate = WaitQueue(world.engine, "race")
        for process in self.wired.processes:
            process.on_death = _refusing_deaths(self.scenario)

    def _must_be_at_race(self) -> None:
        """Raise UserError unless every program with a race has come to it, and nobody is busy."""
        for process in self.wired.processes:
            leader = process.leader
            if not leader.is_leader:
                continue  # A child does what its program tells it.
            done = leader.program[: leader.next_operation]
            has_come = done and isinstance(done[-1], Race)
            if process.parent is None and not has_come:  # Children have no program of their own.
                raise UserError(
                    Problem(
                        place=Place(f"race: process {process.comm}"),
                        found=f"its program came to {done[-1] if done else 'nothing'} and stopped",
                        legal="expected every program to come to its `race` by itself",
                        advice="let what it waits for happen before the `race`, or write one",
                    )
                )
            busy = [thread.name for thread in process.threads.values() if thread.is_busy]
            if busy:
                raise UserError(
                    Problem(
                        place=Place(f"race: process {process.comm}"),
                        found=f"{', '.join(busy)} still has something to do when the race begins",
                        legal="expected every thread to be idle then",
                        advice="write `wait` before `race`",
                    )
                )


def _small(hardware: HardwareConfig) -> HardwareConfig:
    """Return the hardware with the least caches of data: they cost time, which is not explored.

    TLBs and walk caches, whose entries may be stale, stay what they are.
    """
    return evolve(
        hardware,
        l1i=_one_set(hardware.l1i),
        l1d=_one_set(hardware.l1d),
        l2=None,
        llc=_one_set(hardware.llc),
    )


def _one_set(cache: CacheConfig) -> CacheConfig:
    return evolve(cache, size_bytes=cache.ways * cache.line_bytes)


def _refusing_deaths(scenario: Scenario) -> Callable[[FatalSignal], None]:
    """Return what breaks a schedule in which a fault ends a process that `expect` does not name.

    Who gets no memory is killed where allocations may fail: that is no finding.
    """
    expected = [each for each in scenario.expect if isinstance(each, ExpectedDeath)]
    places = {each.name: each.places for each in scenario.instances()}

    def refuse(fatal: FatalSignal) -> None:
        (death,) = deaths_of([fatal], expected, places)
        if not death.is_expected and fatal.signal.number != SIGKILL:
            raise UnexpectedDeath(death)

    return refuse
