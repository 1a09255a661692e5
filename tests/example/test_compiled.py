"""Compiled functions: which of them Python may call, and that they are compiled in one way."""

import ast
from pathlib import Path

import numpy as np
import pytest

import mmactors
from mmactors.arch import jit
from mmactors.arch.jit import compiled
from mmactors.arch.native import store
from mmactors.arch.native.parts import PARTS, declares_compiled, modules_of

PACKAGE = Path(mmactors.__file__ or "").parent


def modules() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if "@compiled" in path.read_text())


def is_compiled(function: ast.FunctionDef) -> bool:
    return any(
        isinstance(each, ast.Name) and each.id == "compiled" for each in function.decorator_list
    )


@pytest.mark.parametrize("path", modules(), ids=lambda path: path.stem)
def test_python_calls_no_compiled_function_that_has_no_entry(path):
    """A compiled function named with an underscore has no entry from Python: it would be slow."""
    tree = ast.parse(path.read_text())
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    compiled = [function for function in functions if is_compiled(function)]
    without_entry = {function.name for function in compiled if function.name.startswith("_")}
    inside = {id(node) for function in compiled for node in ast.walk(function)}
    called = [
        f"line {node.lineno}: {node.func.id}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in without_entry
        and id(node) not in inside
    ]

    assert [] == called


def test_nothing_is_compiled_in_another_way():
    others = [path for path in PACKAGE.rglob("*.py") if "njit" in path.read_text()]

    assert [PACKAGE / "arch" / "jit.py"] == others


def test_every_module_with_compiled_functions_is_in_one_part():
    found = sorted(module for part in PARTS for module in modules_of(part))
    expected = sorted(
        ".".join(("mmactors", *path.relative_to(PACKAGE).with_suffix("").parts))
        for path in PACKAGE.rglob("*.py")
        if declares_compiled(path.read_text())
    )

    assert expected == found
    assert len(modules()) <= len(found)


@pytest.mark.skipif(jit.IS_PLAIN, reason="nothing is compiled")
def test_all_functions_of_the_package_can_be_native():
    """Declared as they are used: none is left to Numba, which would say so on stderr only."""
    jit.prepare()

    assert [] == [part for part in PARTS if not jit.is_native(part)]


@pytest.mark.skipif(jit.IS_PLAIN, reason="nothing is compiled")
def test_functions_of_the_package_are_native_and_know_their_names():
    from mmactors.hw import access

    assert ("builtin_function_or_method", "run", "mmactors.hw.access") == (
        type(access.run).__name__,
        access.run.__name__,
        access.run.__module__,
    )
    assert (access.run.__doc__ or "").startswith("Run the rows of a trace")


@pytest.mark.skipif(jit.IS_PLAIN, reason="nothing is compiled")
def test_a_function_from_elsewhere_is_compiled_by_numba_alone():
    """As all are where native code cannot be made."""

    def add_all(numbers):
        total = 0
        for number in numbers:
            total += number
        return total

    assert 6 == compiled(add_all)(np.arange(4))


@pytest.mark.skipif(jit.IS_PLAIN, reason="nothing is compiled")
def test_code_is_of_every_module_that_was_imported_to_make_it(monkeypatch):
    """However deep in the house it lies: a change in any of them makes all of it anew."""
    jit.prepare()
    seen = set()

    def digest_of(name, digest):
        seen.add(PACKAGE / name)
        return True

    monkeypatch.setattr(store, "_is_unchanged", digest_of)
    for part in PARTS:
        store.find(part)

    assert set() == set(modules()) - seen
