"""The machine: a scenario wired, to be moved from anyone's trio program.

    async with Machine(scenario) as machine:
        await machine.run()
        machine.inspect().process(1).areas

It moves only while somebody awaits `run`. Cancelling leaves nothing running.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Final, Self

from attrs import evolve, frozen

from mmactors.actors.program.proc_paths import ReadText
from mmactors.actors.program.process import Process
from mmactors.engine.actor import NEVER, latest_ns
from mmactors.engine.driver import InlineDriver, close_actors
from mmactors.engine.edge import Edge
from mmactors.engine.lock.lock_stat import LockClassStatistics
from mmactors.engine.mailbox import Mailbox
from mmactors.engine.probe import EventSink
from mmactors.engine.report import Deadlock, StepBudgetExceeded
from mmactors.engine.schedule import Recorder, Schedule, fingerprint_of
from mmactors.engine.scope import DriverScope
from mmactors.errors import Place, Problem, UserError
from mmactors.mm.slab.slub.slub import Slub
from mmactors.mm.vmstat import NR_FREE_PAGES, PGFAULT
from mmactors.observe.counters.read import Counted, nr_accesses
from mmactors.observe.counters.series import Sampler, Series
from mmactors.observe.inspection import Inspection, inspect_kernel
from mmactors.observe.proc.of_process import view_of_process
from mmactors.observe.proc.of_slab import sys_slab_listing
from mmactors.observe.proc.process import process_tree
from mmactors.observe.proc.process_view import ProcessView
from mmactors.sanitize.config import SanitizeConfig
from mmactors.sanitize.finding import Finding
from mmactors.scenario.counter_names import unit_of
from mmactors.scenario.death import DIED, Death, ExpectedDeath, deaths_of
from mmactors.scenario.dump import dump_scenario
from mmactors.scenario.schema import Expected, RecordConfig, Scenario
from mmactors.scenario.wiring import Wired, make_engine, wire
from mmactors.units import format_bytes


@frozen(kw_only=True)
class Progress:
    """How far a machine has come."""

    now_ns: int
    events: int
    accesses: int
    faults: int
    free_pages: int


@frozen(kw_only=True)
class Summary:
    """What came of a run."""

    verdict: str
    """`ok`, or what does not hold."""
    deaths: tuple[Death, ...]
    """Whom a signal ended, in order of time; those expected, too."""
    seed: int
    now_ns: int
    nr_cpus: int
    accesses: int
    faults: int
    switches: int
    messages: int
    failed_expectations: tuple[str, ...]
    nr_findings: int
    findings: tuple[str, ...]
    """What sanitizers found, one line each; the first hundred."""
    counters: dict[str, int]


class Machine:
    """A simulated machine. Use it as an async context manager."""

    def __init__(
        self,
        scenario: Scenario,
        *,
        sink: EventSink | None = None,
        schedule: Schedule | None = None,
    ) -> None:
        self.scenario: Final = scenario
        self._exited: Final[dict[int, ProcessView]] = {}
        self._heaps: Final[dict[int, dict[str, str]]] = {}
        if schedule is not None:
            schedule.must_fit(fingerprint_of_scenario(scenario))
        with _host_memory(scenario):
            self._wired: Final[Wired] = wire(
                scenario,
                engine=make_engine(scenario, schedule),
                sink=sink,
                before_exit=self._keep_process,
            )
        self._engine: Final = self._wired.kernel.engine
        self._counted: Final = Counted(
            kernel=self._wired.kernel,
            processes=lambda: self._wired.processes,
            dram=self._wired.dram,
        )
        self._sampler: Final = self._make_sampler()
        self._is_stopped = False
        self._scope: Final = DriverScope(self._engine)
        self._edge: Edge | None = None
        self._inline: Final = InlineDriver(self._engine)

    async def __aenter__(self) -> Self:
        self._edge = Edge(self._engine, await self._scope.__aenter__())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._scope.__aexit__(kind, error, traceback)

    async def run(self, *, until_ns: int | None = None) -> None:
        """Move the machine to its end, or to a time; raise the engine's error if it is stuck."""
        edge = self.edge
        try:
            with self._telling_of_deaths():
                for stretch_ns in self._stretches(until_ns):
                    self._engine.until_ns = stretch_ns
                    await edge.run()
        finally:
            self._finish_series()
        self._has_moved()

    def run_inline(
        self, *, until_ns: int | None = None, between: Callable[[], None] | None = None
    ) -> None:
        """Move a machine that was never entered, without any event loop; otherwise as `run`.

        Whatever `engine.driver` says, the inline driver does it. `between` is called every
        hundredth of a second of the host or so, between two steps. Call `close` at the end.
        """
        assert self._edge is None, "the machine was entered: await run()"
        try:
            with self._telling_of_deaths():
                for stretch_ns in self._stretches(until_ns):
                    self._engine.until_ns = stretch_ns
                    self._inline.run_to_end(between=between)
        finally:
            self._finish_series()
        self._has_moved()

    def _stretches(self, until_ns: int | None) -> Iterator[int]:
        """Yield the times to which the machine is to be moved, one after another.

        Between two of them a sample is taken; without samples there is one stretch.
        """
        engine, sampler = self._engine, self._sampler
        end_ns = NEVER if until_ns is None else until_ns
        self._is_stopped = False
        is_first = True
        while sampler is not None and sampler.next_ns <= end_ns:
            if sampler.is_full:
                sampler.is_whole = False
                break
            # Somebody who was cut short may be about to go on: the first time it is always asked.
            if is_first or engine.policy.next_ns < sampler.next_ns:
                is_first = False
                yield sampler.next_ns - 1
            if self._is_stopped or engine.is_complete or engine.policy.is_over:
                return
            if engine.is_stuck:
                break
            with engine.guard.suspended():
                sampler.take()
        yield end_ns

    def _finish_series(self) -> None:
        """Take the last sample if the machine has come to its end, whatever that is."""
        if self._sampler is not None and (self.is_complete or self._engine.failure is not None):
            with self._engine.guard.suspended():
                self._sampler.finish(self.now_ns)

    def series(self) -> Series | None:
        """Return the samples of counters so far; None: the scenario asks for none."""
        return None if self._sampler is None else self._sampler.series()

    @contextmanager
    def _telling_of_deaths(self) -> Iterator[None]:
        """Let the report of a machine that cannot go on begin with those who died before."""
        try:
            yield
        except (Deadlock, StepBudgetExceeded) as stuck:
            deaths = "".join(f"{death}\n" for death in self.deaths())
            if not deaths:
                raise
            raise type(stuck)(f"{deaths}{stuck}") from None

    def _has_moved(self) -> None:
        if self.is_complete and self._wired.sanitizer is not None:
            self._wired.sanitizer.at_rest()

    def close(self) -> None:
        """Let go of a machine that was never entered."""
        close_actors(self._engine)

    def inspect(self) -> Inspection:
        """Return the machine as it is now, to look inside; nothing is read before it is asked."""
        return inspect_kernel(self._wired.kernel, self._wired.processes)

    def stop(self) -> None:
        """Let `run` return between two steps; callable from a signal handler or another thread."""
        self._is_stopped = True
        self._engine.stop_requested = True
        self._engine.turn.cut()
        self._engine.limit = -1

    @property
    def edge(self) -> Edge:
        """How tasks of the surrounding trio program talk to the machine's actors."""
        assert self._edge is not None, "enter the machine first: async with Machine(...)"
        return self._edge

    @property
    def mailboxes(self) -> dict[str, Mailbox[Any]]:
        """The mailboxes of the serving actors by name: `memory`, `zone 0 Normal`..."""
        kernel = self._wired.kernel
        return {box.name: box for box in (*kernel.zone_mailboxes, kernel.dram)}

    @property
    def now_ns(self) -> int:
        """The virtual time that the machine has come to; asked again, it is never less."""
        return latest_ns(self._engine.actors)

    @property
    def is_complete(self) -> bool:
        """Whether all programs have ended."""
        return self._engine.is_complete

    def progress(self) -> Progress:
        """Return how far the machine has come."""
        kernel = self._wired.kernel
        vmstat = kernel.vmstat
        return Progress(
            now_ns=self.now_ns,
            events=kernel.probe.nr_events,
            accesses=nr_accesses(kernel.hardware),
            faults=vmstat.event(PGFAULT),
            free_pages=sum(
                vmstat.zone_page_state(zone.number, NR_FREE_PAGES)
                for zone in kernel.allocator.zones
            ),
        )

    def counters(self) -> dict[str, int]:
        """Return every counter by name (docs/counters.md).

        First the machine's, then those of each CPU, `cpu[1].pgfault`, and each process,
        `process[a].min_flt`.
        """
        with self._engine.guard.suspended():
            return self._counted.all(self.now_ns)

    def _make_sampler(self) -> Sampler | None:
        record = self.scenario.record
        if record.sample is None:
            return None
        units = {name: unit_of(name) for name in self.scenario.sampled()}
        return Sampler(record.sample, units, self._counted.reader(tuple(units)))

    def summary(self) -> Summary:
        """Return what came of the run so far."""
        counters = self.counters()
        progress = self.progress()
        sanitizer = self._wired.sanitizer
        statistics = self._engine.statistics()
        deaths = self.deaths()
        failed = tuple(
            f"{expected}, but {lack}"
            for expected in self.scenario.expect
            if (lack := self.lack(expected, counters, deaths)) is not None
        )
        return Summary(
            verdict=self._verdict(failed, deaths),
            deaths=deaths,
            seed=self.scenario.engine.seed,
            now_ns=progress.now_ns,
            nr_cpus=self.scenario.machine.cpus,
            accesses=progress.accesses,
            faults=progress.faults,
            switches=statistics.switches,
            messages=sum(statistics.messages.values()),
            failed_expectations=failed,
            nr_findings=0 if sanitizer is None else sanitizer.nr_findings,
            findings=tuple(finding.head for finding in self.findings()),
            counters=counters,
        )

    def deaths(self) -> tuple[Death, ...]:
        """Return whom a signal has ended so far, in order of time."""
        instances = self.scenario.instances()
        fatal = [process.fatal_signal for process in self._wired.processes]
        return deaths_of(
            [each for each in fatal if each is not None],
            [each for each in self.scenario.expect if isinstance(each, ExpectedDeath)],
            {instance.name: instance.places for instance in instances},
        )

    def lack(
        self, expected: Expected, counters: dict[str, int], deaths: tuple[Death, ...]
    ) -> str | None:
        """Return what is not as expected, as a clause; None: nothing."""
        if isinstance(expected, ExpectedDeath):
            return expected.lack(deaths, [process.label for process in self._wired.processes])
        value = counters.get(expected.counter)
        if value is not None and expected.holds(value):
            return None
        return f"it is {'not a counter' if value is None else value}"

    def findings(self) -> tuple[Finding, ...]:
        """Return what the sanitizers have found."""
        sanitizer = self._wired.sanitizer
        return () if sanitizer is None else tuple(sanitizer.findings)

    def lock_orders(self) -> tuple[tuple[str, str], ...]:
        """Return the orders of lock classes that lockdep has seen; none if it is off."""
        sanitizer = self._wired.sanitizer
        return () if sanitizer is None else sanitizer.lock_orders()

    def _verdict(self, failed_expectations: tuple[str, ...], deaths: tuple[Death, ...]) -> str:
        if findings := self.findings():
            return str(findings[0].law)
        if not all(death.is_expected for death in deaths):
            return DIED
        return "ok" if not failed_expectations else "expectation failed"

    def messages(self) -> dict[str, int]:
        """Return how many messages were sent, by kind."""
        return self._engine.statistics().messages

    def lock_statistics(self) -> tuple[LockClassStatistics, ...]:
        """Return what locks have cost so far, by class."""
        return self._wired.kernel.locks.statistics()

    def flush(self) -> None:
        """Hand the events that wait to the sink, though they are few."""
        if self._engine.tracer is not None:
            self._engine.tracer.flush()

    @property
    def recorder(self) -> Recorder:
        """Who takes down the interleaving."""
        return self._engine.recorder

    def schedule(self) -> Schedule:
        """Return the interleaving so far."""
        return self._engine.schedule(fingerprint_of_scenario(self.scenario))

    def proc(self) -> dict[str, str]:
        """Return /proc: relative path to text. Processes that have ended are as just before."""
        with self._engine.guard.suspended():
            texts = self._wired.texts()
            for process in self._wired.processes:
                kept = self._exited.get(process.pid)
                own = process_tree(view_of_process(process) if kept is None else kept)
                texts |= {f"{process.pid}/{name}": text for name, text in own.items()}
        return texts

    def sysfs(self) -> dict[str, str]:
        """Return what there is of /sys: relative path to text. Only SLUB has anything there."""
        with self._engine.guard.suspended():
            slab = self._wired.kernel.slab
            return {"kernel/slab.txt": sys_slab_listing(slab)} if isinstance(slab, Slub) else {}

    def heaps(self) -> dict[str, str]:
        """Return what is to be said of programs' heaps, as of now or just before they ended.

        By pid and name, such as `1/malloc_info.xml`; nothing of who never called its library.
        """
        heaps: dict[str, str] = {}
        with self._engine.guard.suspended():
            for process in self._wired.processes:
                kept = self._heaps.get(process.pid)
                own = _heap_texts(process, self.now_ns) if kept is None else kept
                heaps |= {f"{process.pid}/{name}": text for name, text in own.items()}
        return heaps

    def texts(self) -> tuple[ReadText, ...]:
        """Return what programs have read of /proc and /sys so far (`get`, `snap`)."""
        return tuple(self._wired.interpreter.proc.texts)

    def _keep_process(self, process: Process) -> None:
        with self._engine.guard.suspended():
            self._exited[process.pid] = view_of_process(process)
            self._heaps[process.pid] = _heap_texts(process, self.now_ns)


def _heap_texts(process: Process, now_ns: int) -> dict[str, str]:
    """Return the texts of a process's heap; where there is none, nothing is imported."""
    if process.heap is None:
        return {}
    from mmactors.observe.heap_texts import heap_texts  # noqa: PLC0415 - see above

    return heap_texts(process, now_ns)


@contextmanager
def _host_memory(scenario: Scenario) -> Iterator[None]:
    """Turn a host that has too little memory for the machine's arrays into the user's error."""
    try:
        yield
    except MemoryError:
        size = format_bytes(scenario.machine.memory.size)
        raise UserError(
            Problem(
                place=Place("machine"),
                found=f"the host refuses the memory to simulate {size} and these caches",
                legal="expected a machine whose page structs and cache lines fit into the host",
                advice="lower machine.memory.size, the caches, or the number of CPUs",
            )
        ) from None


def fingerprint_of_scenario(scenario: Scenario) -> str:
    """Return the digest that names a scenario in its schedules."""
    return fingerprint_of(dump_scenario(_decisive(scenario)))


def _decisive(scenario: Scenario) -> Scenario:
    """Return the scenario without what has no influence on the interleaving."""
    return evolve(
        scenario,
        engine=evolve(scenario.engine, driver="trio", guard=False),
        record=RecordConfig(),
        sanitize=SanitizeConfig(),
        expect=(),
    )
