"""What is wrong in a scenario although each value by itself is legal.

Works on each part that is legal by itself, so that an error in one part hides nothing in another.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import attrs
from attrs import evolve

from mmactors.actors.state.config import KernelConfig
from mmactors.errors import Problem
from mmactors.hw.config import HardwareConfig
from mmactors.mm.boot.boot import MemoryConfig
from mmactors.mm.boot.problems import problems_of as memory_problems
from mmactors.observe.counters.series import COLUMNS_MAX
from mmactors.option import OptionDoc
from mmactors.rules import Rules
from mmactors.scenario.counter_names import CounterNames, instance_names, process_names
from mmactors.scenario.death import ExpectedDeath, names_of_processes
from mmactors.scenario.document import MappingNode, Node, ScalarNode, SequenceNode
from mmactors.scenario.event_names import event_names
from mmactors.scenario.faults.config import FailPageAlloc, FailSlab
from mmactors.scenario.faults.problems import object_problems, page_problems
from mmactors.scenario.overrides import find
from mmactors.scenario.process_meaning import ProcessParts, place_of, process_problems
from mmactors.scenario.race_config import RaceConfig
from mmactors.scenario.schema import (
    Expectation,
    Expected,
    MachineConfig,
    ProcessConfig,
    RecordConfig,
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
    kernel = part(find(root, ("kernel",)), KernelConfig)
    slab = "slub" if kernel is None else kernel.slab
    yield from _memory_problems(machine_parts["memory"], nr_cpus or 1, root, slab)
    yield from page_problems(part(find(root, ("faults", "fail_page_alloc")), FailPageAlloc), root)
    processes = find(root, ("processes",))
    parts = []
    if isinstance(processes, SequenceNode):
        parts = [_process_parts(process, part) for process in processes.items]
    failslab = part(find(root, ("faults", "failslab")), FailSlab)
    yield from object_problems(failslab, [each.program for each in parts], root, slab)
    names = _counter_names(nr_cpus, parts)
    record = part(find(root, ("record",)), RecordConfig)
    if record is not None:
        yield from _record_problems(record, names, root)
    expectations = find(root, ("expect",))
    known: list[Expected | None] = []
    if isinstance(expectations, SequenceNode):
        known = [part(item, Expected) for item in expectations.items]
        yield from _expectation_problems(known, names, root)
    if isinstance(processes, SequenceNode):
        memory = machine_parts["memory"]
        nr_nodes = None if memory is None else memory.nr_nodes
        yield from process_problems(parts, root, nr_cpus=nr_cpus, nr_nodes=nr_nodes)
        yield from _expected_death_problems(known, parts, root)
        race_node = find(root, ("race",))
        race = None if _is_empty(race_node) else part(race_node, RaceConfig)
        if race is not None:
            yield from _race_problems(race, parts, root)


def _process_parts(process: Node, part: Callable[..., Any]) -> ProcessParts:
    fields = config_fields(ProcessConfig)

    def key(name: str) -> Any:
        node, known = find(process, (name,)), fields[name]
        if node is None:
            return None if known.default is attrs.NOTHING else known.default
        return part(node, known.type, known.doc)

    return ProcessParts(
        name=key("name"),
        cpu=key("cpu"),
        copies=key("copies"),
        malloc=key("malloc"),
        environment=key("environment"),
        program=_operations(find(process, ("program",)), part),
    )


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


def _counter_names(nr_cpus: int | None, processes: Sequence[ProcessParts]) -> CounterNames:
    """Return the names of counters, as far as CPUs and processes are legal by themselves."""
    instances = []
    for each in processes:
        if each.name is None or each.copies is None or each.program is None:
            return CounterNames(nr_cpus=nr_cpus)
        program = [operation for operation in each.program if operation is not None]
        names = instance_names(each.name, each.copies)
        instances += [(name, program) for name in names]
    return CounterNames(nr_cpus=nr_cpus, processes=process_names(instances) or None)


def _record_problems(record: RecordConfig, names: CounterNames, root: Node) -> Iterator[Problem]:
    if record.sample is not None:
        yield from _sample_problems(record, names, root)
    known = event_names()
    for index, glob in enumerate(record.events):
        if not known.match(glob):
            yield Problem(
                place=place_of(root, f"record.events[{index}]"),
                found=f"record.events[{index}] is {glob!r}, which no event matches",
                legal=f"expected names or globs of {', '.join(known.names)}",
                advice=did_you_mean(glob, known.names, otherwise="docs/events.md lists them"),
            )


def _sample_problems(record: RecordConfig, names: CounterNames, root: Node) -> Iterator[Problem]:
    columns: dict[str, None] = {}
    for index, glob in enumerate(record.counters):
        matched = names.match(glob)
        columns |= dict.fromkeys(matched)
        path = f"record.counters[{index}]"
        problem = names.glob_problem(glob)
        if problem is not None:
            yield Problem(
                place=place_of(root, path),
                found=f"{path} names {problem.found}",
                legal=problem.legal,
                advice=problem.advice,
            )
    if not columns and not record.counters:
        yield Problem(
            place=place_of(root, "record.counters"),
            found="record.counters is empty, and record.sample asks for samples",
            legal="expected names or globs of counters; docs/counters.md lists them",
            advice="write `counters: [pgfault]`, or leave sample out",
        )
    if len(columns) > COLUMNS_MAX:
        yield Problem(
            place=place_of(root, "record.counters"),
            found=f"record.counters matches {len(columns)} counters",
            legal=f"expected at most {COLUMNS_MAX}",
            advice="write narrower globs, such as `cpu[*].pgfault`",
        )


def _expectation_problems(
    expectations: Sequence[Expected | None], names: CounterNames, root: Node
) -> Iterator[Problem]:
    """`expectations` has None for those that are not legal by themselves."""
    for index, expectation in enumerate(expectations):
        if not isinstance(expectation, Expectation):
            continue
        problem = names.problem(expectation.counter)
        if problem is not None:
            path = f"expect[{index}]"
            yield Problem(
                place=place_of(root, path),
                found=f"{path} names {problem.found}",
                legal=problem.legal,
                advice=problem.advice,
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


def _memory_problems(
    memory: MemoryConfig | None, nr_cpus: int, root: Node, slab: str
) -> Iterator[Problem]:
    if memory is not None:
        for problem in memory_problems(memory, nr_cpus, root.place, slab):
            found = f"machine.memory.{problem.found}"
            yield _at_its_place(evolve(problem, found=found), root)


def _at_its_place(problem: Problem, root: Node) -> Problem:
    path = _PATH_AT_START.match(problem.found)
    assert path is not None, f"{problem.found} does not begin with a path"
    return evolve(problem, place=place_of(root, path[0]))
