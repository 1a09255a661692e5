"""What is wrong in a scenario although each value by itself is legal.

Works on each part that is legal by itself, so that an error in one part hides nothing in another.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import attrs
from attrs import evolve

from mmactors.errors import Problem
from mmactors.hw.config import HardwareConfig
from mmactors.mm.boot.boot import MemoryConfig
from mmactors.mm.boot.boot import problems_of as memory_problems
from mmactors.option import OptionDoc
from mmactors.rules import Rules
from mmactors.scenario.counter_names import counter_names
from mmactors.scenario.death import ExpectedDeath, names_of_processes
from mmactors.scenario.document import MappingNode, Node, ScalarNode, SequenceNode
from mmactors.scenario.event_names import event_names
from mmactors.scenario.overrides import find
from mmactors.scenario.process_meaning import ProcessParts, place_of, process_problems
from mmactors.scenario.race_config import RaceConfig
from mmactors.scenario.schema import (
    Expectation,
    Expected,
    MachineConfig,
    ProcessConfig,
    RecordConfig,
    instance_names,
)
from mmactors.scenario.structure import Invalid, Structurer, config_fields, did_you_mean
from mmactors.workload.operation.all import Operation, Race

_NO_DOC: Final = OptionDoc(doc="")
_PATH_AT_START = re.compile(r"[\w.\[\]]+")


def meaning_problems(root: Node, texts: Mapping[Any, Callable[[str], object]]) -> Iterator[Problem]:
    """Yield the problems of all parts of a scenario's tree that are legal by themselves."""

    def part(node: Node | None, part_class: Any, doc: OptionDoc = _NO_DOC) -> Any:
        if node is None:
            return None
        value = Structurer(texts=texts).structure(node, part_class, "", doc, default=None)
        return None if isinstance(value, Invalid) else value

    machine = find(root, ("machine",))
    has_machine = isinstance(machine, MappingNode) or _is_empty(machine)
    machine_parts: dict[str, Any] = {
        name: (known_field.default if has_machine else None)
        if (node := find(root, ("machine", name))) is None
        else part(node, known_field.type, known_field.doc)
        for name, known_field in config_fields(MachineConfig).items()
    }
    nr_cpus = machine_parts["cpus"]
    yield from _hardware_problems(machine_parts["hardware"], nr_cpus or 1, root)
    yield from _memory_problems(machine_parts["memory"], nr_cpus or 1, root)
    record = part(find(root, ("record",)), RecordConfig)
    if record is not None:
        yield from _record_problems(record, root)
    expectations = find(root, ("expect",))
    known: list[Expected | None] = []
    if isinstance(expectations, SequenceNode):
        known = [part(item, Expected) for item in expectations.items]
        yield from _expectation_problems(known, root)
    processes = find(root, ("processes",))
    if isinstance(processes, SequenceNode):
        fields = config_fields(ProcessConfig)

        def key(process: Node, name: str) -> Any:
            node, known_field = find(process, (name,)), fields[name]
            if node is None:
                default = known_field.default
                return None if default is attrs.NOTHING else default
            return part(node, known_field.type, known_field.doc)

        parts = [
            ProcessParts(
                name=key(process, "name"),
                cpu=key(process, "cpu"),
                copies=key(process, "copies"),
                program=_operations(find(process, ("program",)), part),
            )
            for process in processes.items
        ]
        yield from process_problems(parts, nr_cpus, root)
        yield from _expected_death_problems(known, parts, root)
        race_node = find(root, ("race",))
        race = None if _is_empty(race_node) else part(race_node, RaceConfig)
        if race is not None:
            yield from _race_problems(race, parts, root)


def _operations(node: Node | None, part: Callable[..., Any]) -> tuple[Operation | None, ...] | None:
    if not isinstance(node, SequenceNode):
        return None
    return tuple(part(item, Operation) for item in node.items)


def _race_problems(
    race: RaceConfig, processes: Sequence[ProcessParts], root: Node
) -> Iterator[Problem]:
    rules = tuple(config_fields(Rules))
    for index, name in enumerate(race.broken):
        if name not in rules:
            path = f"race.broken[{index}]"
            yield Problem(
                place=place_of(root, path),
                found=f"{path} is {name!r}, which is no rule",
                legal=f"expected names of kernel.rules: {', '.join(rules)}",
                advice=did_you_mean(name, rules, otherwise="docs/scenario.md lists them"),
            )
    for index, process in enumerate(processes):
        program = process.program or (None,)
        if not any(step is None or isinstance(step, Race) for step in program):
            yield Problem(
                place=place_of(root, "race"),
                found=f"the program of {process.name or f'processes[{index}]'} has no operation "
                "`race`",
                legal="expected one in each program: what stands before it is set-up",
                advice="write `- race` behind the set-up",
            )


def _is_empty(node: Node | None) -> bool:
    return node is None or (isinstance(node, ScalarNode) and node.kind == "null")


def _record_problems(record: RecordConfig, root: Node) -> Iterator[Problem]:
    known = event_names()
    for index, glob in enumerate(record.events):
        if not known.match(glob):
            yield Problem(
                place=place_of(root, f"record.events[{index}]"),
                found=f"record.events[{index}] is {glob!r}, which no event matches",
                legal=f"expected names or globs of {', '.join(known.names)}",
                advice=did_you_mean(glob, known.names, otherwise="docs/events.md lists them"),
            )


def _expectation_problems(expectations: Sequence[Expected | None], root: Node) -> Iterator[Problem]:
    """`expectations` has None for those that are not legal by themselves."""
    names = counter_names()
    for index, expectation in enumerate(expectations):
        if isinstance(expectation, Expectation) and expectation.counter not in names:
            path = f"expect[{index}]"
            yield Problem(
                place=place_of(root, path),
                found=f"{path} names the counter {expectation.counter!r}, which no run has",
                legal="expected a name of /proc/vmstat or of counters.json of any run",
                advice=did_you_mean(expectation.counter, names, otherwise="write pgfault"),
            )


def _expected_death_problems(
    expectations: Sequence[Expected | None], processes: Sequence[ProcessParts], root: Node
) -> Iterator[Problem]:
    """`expectations` has None for those that are not legal by themselves."""
    names: list[str] = []
    for process in processes:
        name, copies, program = process.name, process.copies, process.program
        if name is None or copies is None or program is None or None in program:
            return  # Who knows what it is called, and forks.
        known = [operation for operation in program if operation is not None]
        for instance in instance_names(name, copies):
            names += names_of_processes(instance, known)
    for index, expected in enumerate(expectations):
        if isinstance(expected, ExpectedDeath) and not any(map(expected.names, names)):
            path = f"expect[{index}]"
            shown = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
            yield Problem(
                place=place_of(root, path),
                found=f"{path} names the process {expected.process!r}, which never is",
                legal=f"expected one of {shown}; * and ? match any",
                advice=did_you_mean(expected.process, names, otherwise="write one of them"),
            )


def _hardware_problems(
    hardware: HardwareConfig | None, nr_cpus: int, root: Node
) -> Iterator[Problem]:
    if hardware is not None:
        for problem in hardware.problems(root.place, "machine.hardware", nr_cpus=nr_cpus):
            yield _at_its_place(problem, root)


def _memory_problems(memory: MemoryConfig | None, nr_cpus: int, root: Node) -> Iterator[Problem]:
    if memory is not None:
        for problem in memory_problems(memory, nr_cpus, root.place):
            found = f"machine.memory.{problem.found}"
            yield _at_its_place(evolve(problem, found=found), root)


def _at_its_place(problem: Problem, root: Node) -> Problem:
    path = _PATH_AT_START.match(problem.found)
    assert path is not None, f"{problem.found} does not begin with a path"
    return evolve(problem, place=place_of(root, path[0]))
