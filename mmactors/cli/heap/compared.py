"""The machines that are compared: one for each file and library, of one description.

A scenario runs as it is, but for the library of the programs that call one. A heap trace is the
program of one process, on a small machine or on that of a scenario.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from attrs import evolve, frozen

from mmactors.cli.heap.library_choice import LibraryChoice
from mmactors.errors import Place, Problem, UserError
from mmactors.scenario.death import ExpectedDeath
from mmactors.scenario.document import put_at
from mmactors.scenario.load import load_scenario, parse_scenario, read_text
from mmactors.scenario.overrides import Setting
from mmactors.scenario.run.source import tree_of
from mmactors.scenario.schema import SAMPLED_OF_HEAP, Scenario
from mmactors.units import US
from mmactors.workload.heap_trace.file import open_heap_trace
from mmactors.workload.operation.malloc import ORDER_TRACE, RunHeapTrace

_SUFFIXES: Final = (".yaml", ".yml")
_SMALL: Final = """
machine: {cpus: 4, memory: {size: 1G}}
engine: {quantum_ns: 0}      # who waits for a lock, and how long, is exact
processes: []
"""
_SAMPLES: Final = 256
"""About so many samples are taken of a trace whose operations take _ROW_NS each."""
_ROW_NS: Final = 100
_SAMPLE_NS: Final = 10 * US
"""Of a scenario that does not say it."""
_COMM_LENGTH: Final = 15
CALLS: Final = "malloc_calls"
_SAMPLED: Final = (*SAMPLED_OF_HEAP, CALLS)


@frozen(kw_only=True)
class TraceOptions:
    """How a heap trace is run; see the operation `heap_trace`."""

    form: str | None
    limit: int | None
    touch: str | None
    """None: `all`."""
    order: str | None
    """None: `free` if the trace has several threads."""


@frozen(kw_only=True)
class Compared:
    """A trace or a scenario, and the scenario that it is with each library."""

    name: str
    scenarios: tuple[tuple[LibraryChoice, Scenario], ...]


def is_scenario(file: Path) -> bool:
    """Say whether a file is one of scenarios, by its name."""
    return file.suffix.lower() in _SUFFIXES


def compared(
    file: Path,
    choices: Sequence[LibraryChoice],
    *,
    overrides: Sequence[str],
    machine: Path | None,
    options: TraceOptions,
) -> Compared:
    """Return what is run for a file; raise UserError with the problems of all libraries."""
    source = (
        _OfScenario(file, tuple(overrides))
        if is_scenario(file)
        else _OfTrace(file, tuple(overrides), machine, options)
    )
    problems: dict[Problem, None] = {}
    scenarios: list[tuple[LibraryChoice, Scenario]] = []
    for choice in choices:
        try:
            scenarios.append((choice, _told(source.scenario(choice), source.sample_ns)))
        except UserError as error:
            problems |= dict.fromkeys(error.problems)
    if problems:
        raise UserError(list(problems))
    return Compared(
        name=name_of(file),
        scenarios=tuple(scenarios),
    )


@frozen
class _OfScenario:
    file: Path
    overrides: tuple[str, ...]
    sample_ns: int = _SAMPLE_NS

    def scenario(self, choice: LibraryChoice) -> Scenario:
        return load_scenario(self.file, [*self.overrides, *self._settings(choice)])

    def _settings(self, choice: LibraryChoice) -> Iterator[Setting]:
        given = load_scenario(self.file, self.overrides)
        calling = [
            (nth, process)
            for nth, process in enumerate(given.processes)
            if process.malloc_config() is not None
        ]
        if not calling:
            raise UserError(
                Problem(
                    place=Place(str(self.file)),
                    found="no program calls its C library's allocator",
                    legal="expected a heap trace, or a scenario with operations such as malloc",
                    advice="see `mmactors examples`, or record a trace as docs/heap-traces.md says",
                )
            )
        for nth, process in calling:
            # What its own library is told stays; another one would not know it.
            is_own = process.malloc == choice.library and not choice.environment
            yield from _linked(nth, choice, process.environment if is_own else choice.environment)


@frozen
class _OfTrace:
    file: Path
    overrides: tuple[str, ...]
    machine: Path | None
    """Of this scenario the machine, the kernel and the engine are taken."""
    options: TraceOptions

    def scenario(self, choice: LibraryChoice) -> Scenario:
        options = self.options
        _, threads = self._size
        call = RunHeapTrace(
            path=str(self.file.absolute()),
            format=options.form,
            limit=options.limit,
            touch=options.touch or "all",
            order=options.order or ("free" if threads > 1 else ORDER_TRACE),
        )
        process = {"name": name_of(self.file), "cpu": 0, "program": [str(call)]}
        place = Place(str(self.file))
        settings = [
            _setting("processes", [process], place),
            _setting("expect", [], place),
            _setting("race", None, place),
            _setting("record", {"events": []}, place),
            *_linked(0, choice, choice.environment),
        ]
        machine = self.machine
        return parse_scenario(
            _SMALL if machine is None else read_text(machine),
            file="mmactors heap-compare" if machine is None else str(machine),
            folder=Path() if machine is None else machine.parent,
            overrides=[*settings, *self.overrides],
        )

    @property
    def sample_ns(self) -> int:
        rows, _ = self._size
        return max(rows * _ROW_NS // _SAMPLES // US, 1) * US

    @cached_property
    def _size(self) -> tuple[int, int]:
        """Return how many operations and threads it has; raise UserError for what is no trace."""
        trace = open_heap_trace(self.file, self.options.form)
        rows = sum(map(len, trace.chunks()))
        assert trace.threads is not None, "it was read to its end"
        return min(rows, self.options.limit or rows), trace.threads


def name_of(file: Path) -> str:
    """Return what a file is called in tables, and as a process."""
    name = re.sub(r"[^\w-]", "-", file.name.partition(".")[0], flags=re.ASCII)
    return re.sub(r"\A(?![A-Za-z_])", "_", name)[:_COMM_LENGTH]


def _linked(nth: int, choice: LibraryChoice, environment: Mapping[str, str]) -> Iterator[Setting]:
    """Yield what links a process with a library."""
    place = Place(choice.option)
    yield _setting(f"processes[{nth}].malloc", choice.library, place)
    yield _setting(f"processes[{nth}].environment", environment, place)


def _setting(key: str, value: Any, place: Place) -> Setting:
    return Setting(key, put_at(tree_of(value, str(place)), place))


def _told(scenario: Scenario, sample_ns: int) -> Scenario:
    """Return the scenario whose samples tell, besides what it wants, what its heaps hold.

    Of what must hold only deaths are left: numbers are those of the library that it is written for.
    """
    heaps = [each.name for each in scenario.instances() if each.malloc is not None]
    ours = [f"process[{heap}].{name}" for heap in heaps for name in _SAMPLED]
    record = evolve(
        scenario.record,
        sample=scenario.record.sample or sample_ns,
        counters=tuple(dict.fromkeys([*scenario.sampled(), *ours])),
    )
    deaths = tuple(each for each in scenario.expect if isinstance(each, ExpectedDeath))
    return evolve(scenario, record=record, expect=deaths)
