"""A test that plays a schedule, to be pasted beside the one that found it: always valid Python.

Where none can be written, because what builds the world has no name that a file could use or an
argument has no text that is Python, the comment that stands in its place says so.
"""

import ast
import inspect
import keyword
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from mmactors.engine.schedule import SEPARATOR
from mmactors.explore.execution.broken import Broken
from mmactors.explore.execution.script import Script


class _CannotBeWritten(Exception):  # noqa: N818 - says what happened
    """There is no text of Python for it."""


def pasted_test(build: Callable[..., object], script: Script, broken: Broken) -> str:
    """Return the test, or comments that say why there is none."""
    try:
        function, reference, arguments = _call_of(build)
    except _CannotBeWritten as refusal:
        return (
            f"# no test can be written down: {refusal};\n"
            "# run the schedule again by its replay text"
        )
    lines = [
        f"def test_{_identifier(function)}_as_found():",
        f"    {_docstring(broken)}",
        "    mmactors.play(",
        f"        {reference},",
        "        [",
        *(f"            {quoted(actor + SEPARATOR + label)}," for actor, label in script),
        "        ],",
        *(f"        {argument}," for argument in arguments),
        "    )",
    ]
    return "\n".join(lines)


def quoted(text: str) -> str:
    """Return a string literal of Python, in double quotes where that needs no backslash."""
    literal = repr(text)
    return f'"{literal[1:-1]}"' if literal[0] == "'" and '"' not in text else literal


def _call_of(build: Callable[..., object]) -> tuple[str, str, Sequence[str]]:
    """Return the function's name, how a file calls it, and its arguments besides the world."""
    args: tuple[Any, ...] = ()
    keywords: dict[str, Any] = {}
    while isinstance(build, partial):
        args, keywords = (*build.args, *args), {**build.keywords, **keywords}
        build = build.func
    names = getattr(build, "__qualname__", "").split(".")
    if names == [""]:
        raise _CannotBeWritten("what builds the world is no function")
    for name in names:
        if not name.isidentifier() or keyword.iskeyword(name):
            where = "stands inside another function" if name == "<locals>" else f"is {name}"
            raise _CannotBeWritten(f"what builds the world {where}")
    if inspect.ismethod(build):
        args = (build.__self__, *args)
    if len(names) > 1 and args and type(args[0]).__qualname__ == ".".join(names[:-1]):
        if getattr(args[0], "__dict__", None):
            raise _CannotBeWritten(f"{names[-2]}() has attributes that were set before the test")
        reference = f"{'.'.join(names[:-1])}().{names[-1]}"
        args = args[1:]
    else:
        reference = ".".join(names)
    written = [_written("an argument", value) for value in args]
    written += [f"{name}={_written(name, value)}" for name, value in keywords.items()]
    return names[-1], reference, written


def _written(name: str, value: object) -> str:
    """Return an expression of Python that gives the value back; raise _CannotBeWritten if none."""
    text = repr(value)
    try:
        again = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        is_same = False
    else:
        is_same = type(again) is type(value) and repr(again) == text
    if not is_same:
        shown = text if len(text) <= 60 else f"{text[:57]}..."
        raise _CannotBeWritten(f"{name} is {ascii(shown)[1:-1]}, which is no literal of Python")
    return quoted(value) if isinstance(value, str) else text


def _docstring(broken: Broken) -> str:
    text = f"{broken.kind.value[0].upper()}{broken.kind.value[1:]}: {broken.law}."
    is_plain = text.isprintable() and '"' not in text and "\\" not in text
    return f'"""{text}"""' if is_plain else quoted(text)


def _identifier(function: str) -> str:
    return function.removeprefix("test_").strip("_") or "world"
