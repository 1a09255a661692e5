"""The language of operations: what is written is read back as the same value."""

import typing
from pathlib import Path

import attrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmactors.option import option_doc
from mmactors.workload.operation.address import Address, Region, Span
from mmactors.workload.operation.all import (
    OPERATIONS,
    By,
    Generate,
    MapFlag,
    Mmap,
    Mremap,
    Order,
    Prot,
    Read,
    Touch,
    parse_operation,
)
from mmactors.workload.operation.generator import PATTERNS
from mmactors.workload.operation.grammar import OperationError, arguments_of
from mmactors.workload.touch import block_offsets, nr_touches, touch_pages, touch_trace

RECORDED = (
    Path(__file__).parents[1] / "reference/linux-6.1/userland/operations/operations.txt"
).read_text()

names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,6}", fullmatch=True).filter(
    lambda name: name not in {"brk", "stack"}
)
sizes = st.one_of(st.integers(0, 1 << 20), st.integers(0, 1 << 40).map(lambda n: n << 12))
addresses = st.one_of(
    st.integers(0, (1 << 64) - 1).map(lambda number: Address(None, number)),
    st.builds(Address, st.one_of(names, st.sampled_from(["brk", "stack"])), sizes),
    st.builds(lambda name, size: Address(name, -size), names, sizes),
)
regions = st.builds(
    Region, names, st.none() | st.tuples(st.integers(0, 1 << 40), st.integers(0, 1 << 40))
)
ranges = regions | st.builds(Span, addresses, sizes)
words = st.text(
    st.characters(codec="utf-8", categories=["L", "N", "P", "S", "Zs"], exclude_characters='"'),
    min_size=1,
).filter(lambda text: text.isprintable() and text == text.strip())


def flag_sets(enum, *flags):
    return st.sets(st.sampled_from(flags)).map(lambda chosen: enum(sum(chosen)))


def values_of(kind, hint):
    """Draw what a kind of argument may hold."""
    if hint is Order:
        return st.integers(0, (1 << 64) - 1).map(lambda seed: Order(seed=seed))
    if kind.choices and hint is str:
        return st.sampled_from(kind.choices)
    if hint is int and kind.symbol == "VALUE":
        return st.integers(-(1 << 31), (1 << 31) - 1)
    by_symbol = {
        "NAME": names,
        "FILE": names,
        "RANGE": ranges,
        "ADDRESS": addresses,
        "+SIZE|-SIZE|0": st.integers(-(1 << 40), 1 << 40),
        "PATH": words,
        "WORD": words,
        "VALUE": words,
        "TIME": st.integers(0, 1 << 61),
        "PROT": flag_sets(Prot, *Prot),
    }
    if kind.symbol in by_symbol:
        return by_symbol[kind.symbol]
    if kind.symbol == "FLAG,...":
        return flag_sets(hint, *hint)
    # Numbers and sizes: whatever of a few the kind itself accepts.
    candidates = [n for n in (-5, 0, 1, 7, 300, 4096, 5000, 1 << 33) if is_legal(kind, n)]
    return st.sampled_from(candidates)


def is_legal(kind, number):
    try:
        return kind.read(kind.write(number)) == number
    except ValueError:
        return False


def plain(hint):
    """Return a type hint without None."""
    left = [arm for arm in typing.get_args(hint) if arm is not type(None)]
    return left[0] if left and type(None) in typing.get_args(hint) else hint


def operations_of(cls):
    hints = typing.get_type_hints(cls)
    fields = {}
    for name, argument in arguments_of(cls).items():
        if argument.is_switch:
            fields[name] = st.booleans()
            continue
        values = values_of(argument.kind, plain(hints[name]))
        fields[name] = values if argument.is_required else st.just(argument.default) | values
    if cls is Generate:
        fields["pattern"] = st.sampled_from(list(PATTERNS.values())).flatmap(patterns_of)
    return st.builds(cls, **fields)


def patterns_of(cls):
    fields = {}
    for field in attrs.fields(cls):
        doc = option_doc(field)
        low = doc.minimum or 0
        high = 1 << 60 if doc.maximum is None else doc.maximum
        values = st.sampled_from(doc.choices) if doc.choices else st.integers(low, high)
        fields[field.name] = st.just(field.default) | values
    return st.builds(cls, **fields)


plain_operations = st.sampled_from(list(OPERATIONS.values())).flatmap(operations_of)
operations = plain_operations | st.builds(
    By, name=names, operation=plain_operations, waits=st.booleans()
)


@given(operations)
def test_the_text_of_an_operation_parses_to_an_equal_operation(operation):
    """Every operation of every class, whatever its values are."""
    assert operation == parse_operation(str(operation))


pieces = st.sampled_from([*OPERATIONS, *PATTERNS, "A", "3..7", "step=1", "C:", '"', "@A:4K"])


def error_of(text):
    try:
        parse_operation(text)
    except OperationError as error:
        return error
    return None


@given(st.text() | st.lists(pieces).map(" ".join))
def test_any_text_is_an_operation_or_an_error_with_a_place(text):
    """No other exception, and the column lies in the text or right behind it."""
    error = error_of(text)

    if error is None:
        operation = parse_operation(text)
        assert operation == parse_operation(str(operation))
    else:
        assert 1 <= error.column <= len(text) + 1
        assert error.found
        assert error.legal
        assert error.advice


def test_every_recorded_operation_is_understood():
    """All distinct texts of the recordings parse, and keep their meaning when written again."""
    texts = RECORDED.splitlines()

    parsed = [parse_operation(text) for text in texts]

    assert len(texts) == 1462
    assert parsed == [parse_operation(str(operation)) for operation in parsed]


def test_an_operation_holds_what_its_text_says():
    """One text with all its parts."""
    expected = By(
        name="C1",
        waits=False,
        operation=Mmap(
            name="Q",
            length=300 << 10,
            address=Address("A", -4096),
            prot=Prot(0),
            flags=MapFlag.PRIVATE | MapFlag.ANONYMOUS | MapFlag.FIXED,
        ),
    )
    text = "C1& mmap Q 300K addr=A-4K flags=private,anon,fixed prot=none"

    assert expected == parse_operation(text)


def test_mremap_binds_the_name_it_was_given_or_the_one_it_moved():
    """`as=`, else the region, else the name in the literal range, else none."""
    texts = ["mremap A len=8K as=B", "mremap A 0..1 len=8K", "mremap @C+1:4K len=8K"]
    found = [parse_operation(text) for text in [*texts, "mremap @0x1000:4K len=8K"]]

    assert all(isinstance(operation, Mremap) for operation in found)
    assert [operation.result_name for operation in found] == ["B", "A", "C", None]


@pytest.mark.parametrize(
    ("text", "column", "found", "advice"),
    [
        ("mmpa A 4K", 1, "'mmpa' is not an operation", "did you mean 'mmap'?"),
        ("madvise A DONTNED", 11, "advice is 'DONTNED'", "did you mean 'DONTNEED'?"),
        ("C: touch A wirte", 12, "access is 'wirte'", "did you mean 'write'?"),
        ("touch A write stp=3", 15, "'stp=3' is not one of its arguments", "did you mean 'step'?"),
        ("mmap A 4K flags=privat,anon", 17, "flags is 'privat,anon'", "did you mean 'private'?"),
        ("mmap A", 7, "length is missing", "write: mmap NAME SIZE"),
        ("read F 0 1M", 12, "bs is missing", "write: read FILE"),
        ("touch A 5..x write", 7, "range is 'A 5..x'", "write RANGE there"),
        ("generate zpif A", 10, "its pattern is 'zpif'", "did you mean 'zipf'?"),
        ("touch A write step=1 step=2", 22, "step stands there twice", "write: touch"),
        ("é: nop", 1, "'é' is not the name", "name it as"),
        ("T& ", 3, "'T&' has no operation behind it", "write T& nop"),
        ("", 1, "the operation is empty", "write nop"),
    ],
)
def test_an_error_says_what_stands_there_and_what_was_meant(text, column, found, advice):
    """Column, what was found, what is legal, and advice."""
    with pytest.raises(OperationError) as caught:
        parse_operation(text)

    assert column == caught.value.column
    assert found in caught.value.found
    assert advice in caught.value.advice


@pytest.mark.parametrize(
    ("text", "nr_pages", "pages"),
    [
        ("touch A write", 4, [0, 1, 2, 3]),
        ("touch A write step=3", 8, [0, 3, 6]),
        ("touch A read step=2 passes=2", 4, [0, 2, 0, 2]),
        ("touch A read order=rev", 3, [2, 1, 0]),
        ("touch A read count=2", 4, [0, 1]),
        ("touch A read", 0, []),
        ("touch A read order=rand:3", 0, []),
    ],
)
def test_touch_visits_pages_in_its_order(text, nr_pages, pages):
    """Ascending, by step, descending, passes one after the other."""
    operation = parse_operation(text)

    assert pages == touch_pages(operation, nr_pages).tolist()
    assert len(pages) == nr_touches(operation, nr_pages)


@given(
    seed=st.integers(0, (1 << 64) - 1),
    count=st.integers(1, 200),
    nr_pages=st.integers(1, 1 << 32),
    passes=st.integers(1, 2),
    chunk_rows=st.integers(1, 70),
)
def test_a_random_touch_is_the_recordings_generator(seed, count, nr_pages, passes, chunk_rows):
    """x = x * 6364136223846793005 + 1442695040888963407 mod 2**64, page = (x >> 33) mod pages."""
    text = f"touch A write order=rand:{seed} count={count} passes={passes}"
    operation = parse_operation(text)
    pages = []
    x = seed
    for _ in range(count * passes):
        x = (x * 6364136223846793005 + 1442695040888963407) % (1 << 64)
        pages.append((x >> 33) % nr_pages)

    assert isinstance(operation, Touch)
    assert pages == touch_pages(operation, nr_pages).tolist()
    traces = touch_trace(operation, start=0, length=nr_pages << 12, chunk_rows=chunk_rows)
    assert pages == (np.concatenate([trace.address for trace in traces]) >> 12).tolist()


def test_blocks_of_a_read_are_ascending_or_random_by_its_seed():
    """Ascending to a short last block; random whole blocks, as many as there are."""
    ascending = parse_operation("read F 100 10000 bs=4K")
    random = parse_operation("read F 4096 40K bs=4K order=rand:5")

    assert isinstance(ascending, Read)
    assert list(block_offsets(ascending)) == [100, 4196, 8292]
    assert isinstance(random, Read)
    offsets = list(block_offsets(random))
    assert len(offsets) == 10
    assert {0} == {offset % 4096 for offset in offsets}
    x = (5 * 6364136223846793005 + 1442695040888963407) % (1 << 64)
    assert 4096 + 4096 * ((x >> 33) % 10) == offsets[0]


def test_ranges_are_resolved_when_they_are_used():
    """Names stand for addresses; a name that was never bound gives None."""
    bindings = {"A": (0x10000, 8192), "stack": (0x7FFF_0000, 0)}

    assert Region("A").resolve(bindings) == (0x10000, 8192)
    assert Region("A", (3, 7)).resolve(bindings) == (0x13000, 0x4000)
    assert Region("B").resolve(bindings) is None
    assert Span.parse("@stack-2M:4K").resolve(bindings) == (0x7FDF_0000, 4096)
    assert Span.parse("@B:4K").resolve(bindings) is None
    assert Span.parse("@0x1000:4K").resolve(bindings) == (0x1000, 4096)
