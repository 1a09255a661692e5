"""Scenario files: what they say is what is loaded, and what is written loads again."""

import json
import subprocess
import sys
import time
from pathlib import Path

import jsonschema
import pytest
from attrs import has
from ruamel.yaml import YAML

from mmactors.scenario.dump import dump_scenario
from mmactors.scenario.generate import generated_files
from mmactors.scenario.json_schema import scenario_schema
from mmactors.scenario.load import load_scenario, parse_scenario
from mmactors.scenario.schema import Expectation, Scenario
from mmactors.scenario.structure import config_fields, optional_type
from mmactors.units import MIB
from mmactors.workload.operation.all import By, RunTrace, Touch

ROOT = Path(__file__).parents[2]
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))

EXAMPLE = """
machine:
  cpus: 2
  memory: {size: 256M, reserved_ranges: [[0x100000, 0x200000]]}
  hardware:
    l1d: {ways: 4}
    l2: null
    stlb_2m: {entries: 32, ways: 4}
    costs: {memory_ns: 1us}
engine: {policy: seeded, seed: 7}
processes:
  - name: app
    copies: 3
    program:
      - mmap A 4K
      - thread T cpu=1
      - T: touch A read
      - "T& touch A 0..1 write"
  - name: other
    program: [nop]
record: {events: ["mm_*", page_fault_user], sample: 10us, counters: ["pg*", "cpu[*].read.*"]}
expect: [pgfault >= 1, "nr_free_pages>0", "cpu[1].read.l1_misses < 50000"]
"""


def parse(text: str, **options) -> Scenario:
    return parse_scenario(text, file="test.yaml", folder=ROOT / "configs", **options)


def test_values_are_what_the_file_says():
    """Sizes and times with units, nested options, operations and comparisons are understood."""
    scenario = parse(EXAMPLE)

    assert 256 * MIB == scenario.machine.memory.size
    assert ((0x100000, 0x200000),) == scenario.machine.memory.reserved_ranges
    assert scenario.machine.hardware.l2 is None
    assert 1000 == scenario.machine.hardware.costs.memory_ns
    assert Expectation("nr_free_pages", ">", 0) == scenario.expect[1]
    assert Expectation("cpu[1].read.l1_misses", "<", 50_000) == scenario.expect[2]
    assert (10_000, ("pg*", "cpu[*].read.*")) == (scenario.record.sample, scenario.record.counters)


def test_what_a_nested_option_leaves_out_keeps_its_default():
    """`l1d: {ways: 4}` changes the ways and nothing else of the L1D."""
    default = parse("processes: [{name: a, program: [nop]}]").machine.hardware.l1d

    l1d = parse(EXAMPLE).machine.hardware.l1d

    assert (default.size_bytes, default.line_bytes, 4) == (l1d.size_bytes, l1d.line_bytes, l1d.ways)


def test_an_operation_with_a_label_needs_no_quotes():
    """YAML takes `T: touch A read` for a mapping; it is the operation that was written."""
    operation = parse(EXAMPLE).processes[0].program[2]

    assert isinstance(operation, By)
    assert isinstance(operation.operation, Touch)
    assert "T: touch A read" == str(operation)


def test_copies_start_on_the_cpus_that_follow():
    """Three copies on two CPUs go round robin; the next process goes on behind them."""
    instances = [(instance.name, instance.cpu) for instance in parse(EXAMPLE).instances()]

    assert [("app.0", 0), ("app.1", 1), ("app.2", 0), ("other", 1)] == instances


def test_set_changes_what_the_file_says():
    """`--set` reaches mappings, list items, and keys that the file does not have."""
    scenario = parse(
        EXAMPLE,
        overrides=[
            "machine.cpus=8",
            "processes[1].program=[mmap B 8K, munmap B]",
            "processes.0.copies=1",
            "engine.quantum_ns=3us",
            "record.events=[]",
        ],
    )

    assert 8 == scenario.machine.cpus
    assert ["mmap B 8K", "munmap B"] == list(map(str, scenario.processes[1].program))
    assert 1 == scenario.processes[0].copies
    assert 3000 == scenario.engine.quantum_ns
    assert () == scenario.record.events


def test_a_trace_is_found_beside_the_scenario_file():
    """A relative path begins at the scenario's folder and is absolute afterwards."""
    scenario = parse(
        "processes: [{name: a, program: [trace ../tests/reference/traces/true.npz limit=5]}]"
    )

    trace = scenario.processes[0].program[0]

    assert isinstance(trace, RunTrace)
    assert str(ROOT / "tests/reference/traces/true.npz") == trace.path


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_resolved_scenario_loads_to_an_equal_one(path):
    """What is written with all defaults means the same, and writing it again changes nothing."""
    scenario = load_scenario(path)

    text = dump_scenario(scenario)

    again = parse_scenario(text, file="resolved", folder=Path("/nowhere"))
    assert scenario == again
    assert text == dump_scenario(again)


def test_the_example_survives_being_written():
    """Nulls, nested tuples, labels and globs come back as they were."""
    scenario = parse(EXAMPLE)

    assert scenario == parse(dump_scenario(scenario))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_json_schema_accepts_the_examples(path):
    """An editor that uses the schema finds no fault with configs/."""
    schema = scenario_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    document = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))

    errors = list(jsonschema.Draft202012Validator(schema).iter_errors(document))

    assert [] == errors


@pytest.mark.parametrize(
    "change",
    [
        {"machin": {}},
        {"machine": {"cpus": 0}},
        {"machine": {"memory": {"size": "64 potatoes"}}},
        {"processes": []} | {"processes": [{"name": "a"}]},
        {"engine": {"policy": "chaotic"}},
        {"record": {"sample": 0}},
        {"expect": ["cpu[1].pgfault"]},
    ],
)
def test_the_json_schema_refuses_what_the_loader_refuses(change):
    """Unknown keys, limits, units, missing keys and choices are in the schema."""
    document = {"processes": [{"name": "a", "program": ["nop"]}]} | change

    assert not jsonschema.Draft202012Validator(scenario_schema()).is_valid(document)


def numbers_without_minimum(config_class: type, path: str = "") -> list[str]:
    found = []
    for name, known in config_fields(config_class).items():
        inner, _ = optional_type(known.type)
        if isinstance(inner, type) and has(inner):
            found += numbers_without_minimum(inner, f"{path}{name}.")
        elif inner in (int, float) and known.doc.minimum is None:
            found.append(f"{path}{name}")
    return found


def test_every_number_has_a_least_value():
    """A negative cost would let time go backwards."""
    assert [] == numbers_without_minimum(Scenario)


def test_the_generated_documents_are_current():
    """docs/ is what the code says; `python -m mmactors.scenario.generate docs` makes it so."""
    committed = {
        name: (ROOT / "docs" / name).read_text(encoding="utf-8") for name in generated_files()
    }

    assert generated_files() == committed


def test_the_schema_file_is_json():
    """Other tools can read docs/scenario.schema.json."""
    schema = json.loads((ROOT / "docs" / "scenario.schema.json").read_text(encoding="utf-8"))

    assert "https://json-schema.org/draft/2020-12/schema" == schema["$schema"]


def test_loading_a_scenario_builds_no_machine():
    """Checking needs neither Numba nor an event loop nor structlog."""
    code = (
        "import sys; from pathlib import Path; from mmactors.scenario.load import load_scenario;"
        f"load_scenario(Path({str(CONFIGS[0])!r}));"
        "print([name for name in ('numba', 'structlog', 'trio') if name in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "[]\n" == done.stdout


def test_loading_a_scenario_is_fast():
    """A scenario is read in a small part of the half second that `check` may take."""
    load_scenario(CONFIGS[0])
    started = time.process_time()

    load_scenario(CONFIGS[0])

    assert time.process_time() - started < 0.25
