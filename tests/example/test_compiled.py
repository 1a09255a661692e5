"""Compiled functions: which of them Python may call."""

import ast
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest

import mmactors
from mmactors.arch import jit
from mmactors.arch.jit import compiled, precompile

PACKAGE = Path(mmactors.__file__ or "").parent


def modules() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if "@compiled" in path.read_text())


def is_compiled(function: ast.FunctionDef) -> bool:
    return any(
        isinstance(each, ast.Name) and each.id == "compiled" for each in function.decorator_list
    )


@pytest.mark.parametrize("path", modules(), ids=lambda path: path.stem)
def test_python_calls_no_compiled_function_that_has_no_entry(path):
    """A compiled function named with an underscore has no entry from Python: calling it crashes."""
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


def _row_of(table, at):
    row = table[at]
    if row[0] > 3:
        row = table[at + 1]
    return row[0]


def _counts_references(dispatcher) -> bool:
    return any("NRT_incref" in text for text in dispatcher.inspect_llvm().values())


@pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="nothing is compiled")
def test_compiled_code_does_not_count_references_to_arrays():
    """Counting costs the access path a factor of 1.6 and more; Numba by itself does it here."""
    table = np.zeros((3, 3), np.int64)
    counting: Any = numba.njit(_row_of)
    counting.compile((numba.typeof(table), numba.int64))
    ours: Any = compiled(_row_of)
    precompile(ours, table, 1)

    assert _counts_references(counting)
    assert not _counts_references(ours)


def test_nothing_is_compiled_in_another_way():
    others = [path for path in PACKAGE.rglob("*.py") if "njit" in path.read_text()]

    assert [PACKAGE / "arch" / "jit.py"] == others


def test_compiled_code_is_made_anew_when_any_module_that_compiles_changes(monkeypatch):
    """However deep in the house it lies."""
    seen = {str(path) for path in modules()}
    stat = Path.stat

    def seeing(path, **options):
        seen.discard(str(path))
        return stat(path, **options)

    monkeypatch.setattr(Path, "stat", seeing)
    jit._source_stamp.__wrapped__()

    assert {str(PACKAGE / "arch" / "jit.py")} >= seen
