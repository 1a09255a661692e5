"""What is left out is refused by name, with why and what to use instead; nothing of it is there."""

import attrs
import pytest

import mmactors
from mmactors.errors import UserError
from mmactors.left_out import LEFT_OUT, LEGAL, left_out_at, left_out_called
from mmactors.scenario.json_schema import TEXTS
from mmactors.scenario.schema import Scenario
from mmactors.scenario.structure import config_fields, optional_type
from mmactors.workload.operation.all import OPERATIONS
from mmactors.workload.operation.grammar import arguments_of
from mmactors.workload.operation.memory import ADVICES

WORDS = [(each, word) for each in LEFT_OUT for word in each.words]
WRITTEN = {
    "cgcreate": "cgcreate g",
    "cgset": "cgset g memory.max 1M",
    "cgjoin": "cgjoin g",
    "cgget": "cgget g memory.max",
}
"""Operations that recordings have, and that are therefore understood."""
PATHS = [(each, path) for each in LEFT_OUT for path in each.paths]


def problems_of(scenario):
    with pytest.raises(UserError) as caught:
        mmactors.load({"processes": [{"name": "p", "program": ["nop"]}], **scenario})
    return caught.value.problems


def program(*operations):
    return {"processes": [{"name": "p", "program": ["mmap A 4K", *operations]}]}


def keys_of(config_class):
    """Return all keys of a configuration class, those of nested ones too."""
    for name, field in config_fields(config_class).items():
        yield name
        inner, _ = (field.type, None) if field.type in TEXTS else optional_type(field.type)
        for part in (inner, *getattr(inner, "__args__", ())):
            if part not in TEXTS and isinstance(part, type) and attrs.has(part):
                yield from keys_of(part)


@pytest.mark.parametrize(("each", "word"), WORDS, ids=[word for _, word in WORDS])
def test_each_name_is_refused_as_an_operation_and_as_a_key(each, word):
    """Four parts: the place, the mechanism with its reason, the list, and what to use."""
    for scenario in (program(WRITTEN.get(word, word)), {"kernel": {word: True}}):
        (problem,) = problems_of(scenario)
        assert each.found in problem.found
        assert (LEGAL, each.instead) == (problem.legal, problem.advice)


@pytest.mark.parametrize(("each", "path"), PATHS, ids=[path for _, path in PATHS])
def test_each_file_is_refused_to_readers_and_writers(each, path):
    """Also what lies below it."""
    for operation in (f"get {path}", f"put {path}/run 1"):
        (problem,) = problems_of(program(operation))
        assert each.found in problem.found


@pytest.mark.parametrize(
    ("operation", "begins"),
    [
        ("madvise A MERGEABLE", "processes[0].program[1]: madvise: KSM is left out for good: "),
        ("madvise A MADV_HWPOISON", "processes[0].program[1]: madvise: memory failure is left "),
        ("mmap B 4K mempolicy=bind", "processes[0].program[1]: mmap: memory policies are left "),
        ("mmap B 4K flags=private,anon,dax", "processes[0].program[1]: mmap: persistent memory "),
    ],
)
def test_an_argument_is_refused_by_name(operation, begins):
    """An advice, a key, a flag."""
    (problem,) = problems_of(program(operation))

    assert problem.found.startswith(begins)


def test_nothing_that_is_listed_is_there():
    """What comes leaves the list: as an operation that runs, an advice, an argument, or a key."""
    there = {*keys_of(Scenario), *(advice.casefold() for advice in ADVICES)}
    there |= {
        argument.key for cls in OPERATIONS.values() for argument in arguments_of(cls).values()
    }
    listed = {word for _, word in WORDS}

    assert {"mergeable", "unmergeable"} == listed & there
    assert set(WRITTEN) == listed & set(OPERATIONS)
    assert len(WORDS) == len(listed)


def test_names_are_known_in_any_spelling():
    """Lower and upper case, hyphens, the constant's name."""
    assert "KSM is" == left_out_called("MADV_MERGEABLE").name
    assert left_out_called("lru-gen") is left_out_called("lru_gen")
    assert left_out_called("pgfault") is None
    assert left_out_at("/sys/kernel/mm/ksmd") is None
