"""The machine: a scenario wired, to be moved from anyone's trio program.

    async with Machine(scenario) as machine:
        await machine.run()
        machine.inspect().process(1).areas

It moves only while somebody awaits `run`. Cancelling leaves nothing running.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Final, Self

from attrs import evolve, frozen

from mmactors.actors.program.proc_paths import ReadText
from mmactors.actors.program.process import Process
from mmactors.engine.actor import NEVER
from mmactors.engine.driver import InlineDriver, close_actors
from mmactors.engine.edge import Edge
from mmactors.engine.mailbox import Mailbox
from mmactors.engine.probe import EventSink
from mmactors.engine.schedule import Schedule, fingerprint_of
from mmactors.engine.scope import DriverScope
from mmactors.errors import Place, Problem, UserError
from mmactors.mm.vmstat import NR_FREE_PAGES, PGFAULT
from mmactors.observe.hardware_counters import hardware_counters, nr_accesses
from mmactors.observe.inspection import Inspection, inspect_kernel
from mmactors.observe.proc.of_memory import vmstat_lines
from mmactors.observe.proc.of_process import process_texts
from mmactors.sanitize.config import SanitizeConfig
from mmactors.sanitize.finding import Finding
from mmactors.scenario.dump import dump_scenario
from mmactors.scenario.precompile import precompile_machine
from mmactors.scenario.schema import Expectation, RecordConfig, Scenario
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
        self._exited: Final[dict[int, dict[str, str]]] = {}
        if schedule is not None:
            schedule.must_fit(_fingerprint_of(scenario))
        precompile_machine()
        with _host_memory(scenario):
            self._wired: Final[Wired] = wire(
                scenario,
                engine=make_engine(scenario, schedule),
                sink=sink,
                before_exit=self._keep_process,
            )
        self._engine: Final = self._wired.kernel.engine
        self._scope: Final = DriverScope(self._engine)
        self._edge: Edge | None = None

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
        self._engine.until_ns = NEVER if until_ns is None else until_ns
        await edge.run()
        self._has_moved()

    def run_inline(self, *, until_ns: int | None = None) -> None:
        """Move a machine that was never entered, without any event loop; otherwise as `run`.

        Whatever `engine.driver` says, the inline driver does it. Call `close` at the end.
        """
        assert self._edge is None, "the machine was entered: await run()"
        self._engine.until_ns = NEVER if until_ns is None else until_ns
        InlineDriver(self._engine).run_to_end()
        self._has_moved()

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
        """Virtual time."""
        return self._engine.now_ns

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
        """Return every counter by name: /proc/vmstat's, the hardware's, the processes'."""
        kernel = self._wired.kernel
        counters = dict(vmstat_lines(kernel))
        counters |= hardware_counters(kernel.hardware)
        counters["tlb_shootdowns"] = sum(cpu.interrupts["TLB"] for cpu in kernel.cpus)
        counters["context_switches"] = sum(cpu.context_switches for cpu in kernel.cpus)
        counters["memory_lines"] = self._wired.dram.nr_lines
        counters["memory_queued_ns"] = self._wired.dram.queued_ns
        counters["processes_killed"] = sum(
            process.killed_by is not None for process in self._wired.processes
        )
        return counters

    def summary(self) -> Summary:
        """Return what came of the run so far."""
        counters = self.counters()
        progress = self.progress()
        sanitizer = self._wired.sanitizer
        statistics = self._engine.statistics()
        failed = tuple(
            f"{expectation}, but it is {counters.get(expectation.counter, 'not a counter')}"
            for expectation in self.scenario.expect
            if not _holds(expectation, counters)
        )
        return Summary(
            verdict=self._verdict(failed),
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

    def findings(self) -> tuple[Finding, ...]:
        """Return what the sanitizers have found."""
        sanitizer = self._wired.sanitizer
        return () if sanitizer is None else tuple(sanitizer.findings)

    def lock_orders(self) -> tuple[tuple[str, str], ...]:
        """Return the orders of lock classes that lockdep has seen; none if it is off."""
        sanitizer = self._wired.sanitizer
        return () if sanitizer is None else sanitizer.lock_orders()

    def _verdict(self, failed_expectations: tuple[str, ...]) -> str:
        if findings := self.findings():
            return str(findings[0].law)
        return "ok" if not failed_expectations else "expectation failed"

    def messages(self) -> dict[str, int]:
        """Return how many messages were sent, by kind."""
        return self._engine.statistics().messages

    def schedule(self) -> Schedule:
        """Return the interleaving so far."""
        return self._engine.schedule(_fingerprint_of(self.scenario))

    def proc(self) -> dict[str, str]:
        """Return /proc: relative path to text. Processes that have ended are as just before."""
        with self._engine.guard.suspended():
            texts = self._wired.texts()
            for process in self._wired.processes:
                kept = self._exited.get(process.pid)
                own = process_texts(process) if kept is None else kept
                texts |= {f"{process.pid}/{name}": text for name, text in own.items()}
        return texts

    def texts(self) -> tuple[ReadText, ...]:
        """Return what programs have read of /proc and /sys so far (`get`, `snap`)."""
        return tuple(self._wired.interpreter.proc.texts)

    def _keep_process(self, process: Process) -> None:
        with self._engine.guard.suspended():
            self._exited[process.pid] = process_texts(process)


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


def _fingerprint_of(scenario: Scenario) -> str:
    """Name a scenario in its schedules."""
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


def _holds(expectation: Expectation, counters: dict[str, int]) -> bool:
    value = counters.get(expectation.counter)
    return value is not None and expectation.holds(value)
