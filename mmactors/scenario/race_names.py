"""What a race names: functions of the user's own (`module:function`), and what is to happen.

A module is looked for beside the scenario, then where Python looks. It is read here, not run: a
scenario can be checked, and run, without running it. What is kept is the file's absolute path, so
that a scenario means the same wherever it is written.
"""

import ast
import importlib.util
import os.path
import re
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, Final

from attrs import frozen

from mmactors.given_file import is_given_file, read_given
from mmactors.limits import PYTHON_BYTES_MAX
from mmactors.scenario.structure import TextError, did_you_mean

ALWAYS: Final = "always_"
"""How the name of a law begins that holds after each step, not only at the end."""
_NAME: Final = r"[^\s:]+:[A-Za-z_]\w*"
_LEGAL: Final = "expected MODULE:FUNCTION, the module beside the scenario or where Python looks"


@frozen
class FunctionName:
    """A function of the user's own, given the machine (`Machine.inspect()` gives the same)."""

    PATTERN: ClassVar[str] = f"^{_NAME}$"
    path: str
    """The file it is defined in."""
    function: str

    @property
    def is_always(self) -> bool:
        """Whether it is asked after each step."""
        return self.function.startswith(ALWAYS)

    @property
    def short(self) -> str:
        """How reports call it: `module:function`."""
        return f"{Path(self.path).stem}:{self.function}"

    def __str__(self) -> str:
        return f"{self.path}:{self.function}"


@frozen
class Goal:
    """What is to happen in some schedule."""

    text: str
    """The name of an event, or the text of a step, in which `*` and `?` match any."""
    function: FunctionName | None = None
    """What tells whether it has happened; None: the text does."""

    @property
    def short(self) -> str:
        """How verdicts call it."""
        return self.text if self.function is None else self.function.short

    def __str__(self) -> str:
        return self.text if self.function is None else str(self.function)


def function_parser(folder: Path) -> Callable[[str], FunctionName]:
    """Return what reads `module:function` of a scenario in this folder; it raises TextError."""

    def parse(text: str) -> FunctionName:
        module, colon, function = text.rpartition(":")
        if not colon or not re.fullmatch(_NAME, text):
            raise TextError(
                found=f"{text!r} names no function",
                legal=_LEGAL,
                advice="write my_laws:no_page_is_lost for def no_page_is_lost(machine) in "
                "my_laws.py",
            )
        path = _find(module, folder)
        _check(_functions(path), path, function, column=len(module) + 2)
        return FunctionName(str(path), function)

    return parse


def goal_parser(folder: Path) -> Callable[[str], Goal]:
    """Return what reads a goal; it raises TextError."""
    parse_function = function_parser(folder)

    def parse(text: str) -> Goal:
        if not text.strip():
            raise TextError(
                found="it is empty",
                legal="expected the name of an event, the text of a step, or MODULE:FUNCTION",
                advice="docs/events.md lists events; the report of a schedule shows steps",
            )
        if re.fullmatch(_NAME, text) is None:
            return Goal(text)
        function = parse_function(text)
        return Goal(function.short, function)

    return parse


def _find(module: str, folder: Path) -> Path:
    """Return the file of a module, absolute."""
    given = module if module.endswith(".py") else f"{module.replace('.', '/')}.py"
    beside = Path(os.path.abspath(folder / given))  # noqa: PTH100 - resolve() follows links
    places = [beside, *_places(module)]
    found = next((place for place in places if is_given_file(place)), None)
    if found is not None and any("\ud800" <= letter <= "\udfff" for letter in str(found)):
        raise TextError(
            found=f"the path {str(found)!a} has bytes that are no text",
            legal="expected a path in UTF-8: the run folder shows it",
            advice="rename the folder, or move scenario and module to another",
        )
    if found is None:
        raise TextError(
            found=f"there is no module {module}: no file {beside}",
            legal=_LEGAL,
            advice="check the name; it is looked for beside the scenario first",
        )
    return found


def _places(module: str) -> list[Path]:
    """Return where Python would look for a module, without running any package."""
    first, *rest = module.split(".")
    try:
        spec = importlib.util.find_spec(first) if first else None
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        return []
    if not rest:
        origin = spec.origin or ""
        return [Path(origin)] if origin.endswith(".py") else []
    return [
        Path(folder, *rest).with_suffix(".py") for folder in spec.submodule_search_locations or ()
    ]


def _functions(path: Path) -> dict[str, ast.FunctionDef | ast.AsyncFunctionDef]:
    """Return the functions that a file defines at its top."""
    try:
        text = read_given(path, bytes_max=PYTHON_BYTES_MAX).decode("utf-8")
        tree = ast.parse(text, filename=str(path))
    except (OSError, ValueError, SyntaxError, RecursionError, MemoryError) as error:
        line = getattr(error, "lineno", None)
        where = path if line is None else f"{path}:{line}:{getattr(error, 'offset', None) or 1}"
        raise TextError(
            found=f"{where}: {getattr(error, 'msg', None) or error}",
            legal="expected a file of Python",
            advice="mend it; `python -m py_compile` says the same",
        ) from None
    functions = [
        each for each in tree.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    return {each.name: each for each in functions}


def _check(
    functions: dict[str, ast.FunctionDef | ast.AsyncFunctionDef],
    path: Path,
    name: str,
    *,
    column: int,
) -> None:
    """Raise TextError unless the file has such a function, which takes the machine."""
    function = functions.get(name)
    if function is None:
        raise TextError(
            found=f"{path} defines no function {name}",
            legal=f"expected one of {', '.join(functions) or 'its functions, but it has none'}",
            advice=did_you_mean(name, functions, otherwise=f"write def {name}(machine): ..."),
            column=column,
        )
    place = f"{path}:{function.lineno}:{function.col_offset + 1}"
    if isinstance(function, ast.AsyncFunctionDef):
        raise TextError(
            found=f"{place}: {name} is async",
            legal="expected a plain function: nothing can happen while it looks",
            advice="write def instead of async def",
            column=column,
        )
    given = function.args
    nr_required = len([*given.posonlyargs, *given.args]) - len(given.defaults)
    takes_any = bool(given.posonlyargs or given.args or given.vararg)
    if nr_required > 1 or not takes_any or None in given.kw_defaults:
        raise TextError(
            found=f"{place}: {name} cannot be called with one argument",
            legal="expected a function of the machine",
            advice=f"write def {name}(machine): ...",
            column=column,
        )
