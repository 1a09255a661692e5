"""Compiled functions: which of them Python may call."""

import ast
from pathlib import Path

import pytest

import mmactors

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
