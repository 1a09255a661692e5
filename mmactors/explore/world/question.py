"""What a world asks between two steps: laws, goals, monitors and conditions, plain functions all.

An async function or a generator function would only make an object that is always true, and never
run. It is refused where it is declared, or, if it cannot be told before, when it has answered.
"""

import inspect
from collections.abc import Callable
from functools import partial
from types import FunctionType
from typing import Final, NoReturn

from mmactors.engine.report import FinalError
from mmactors.errors import Place, Problem, UserError

NEVER_RUNS: Final = inspect.CO_COROUTINE | inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR
"""What the code of a function is marked with that does nothing when it is called."""
_NO_ASYNC: Final = "write def instead of async def, without yield; it looks at cell.value"


class NotPlain(UserError, FinalError):  # noqa: N818 - says what it is
    """What the world was to ask is not to be asked like that."""


def must_check_asserts() -> None:
    """Raise UserError if Python leaves assertions out: no law would be checked."""
    if not __debug__:
        raise UserError(
            Problem(
                place=Place("python -O"),
                found="assertions are off, by -O or by PYTHONOPTIMIZE",
                legal="expected that laws are checked: most are assertions, and so are our own",
                advice="run python without -O, and unset PYTHONOPTIMIZE",
            )
        )


def must_be_plain(what: str, function: object) -> None:
    """Raise UserError unless `function` can be called, and runs when it is: `what` it is for."""
    code = getattr(function, "__code__", None)
    if type(function) is type or (code is not None and not code.co_flags & NEVER_RUNS):
        return  # Nearly all are, and this is said anew in each schedule.
    if not callable(function):
        raise NotPlain(
            Problem(
                place=line_of_test(),
                found=f"{what} is {function!r}",
                legal="expected a function that is called again and again",
                advice="hand over the function itself, or a lambda: ...",
            )
        )
    kind = kind_of(function)
    if kind is not None:
        _refuse(what, function, f"is {kind}; a plain call never runs it", _NO_ASYNC)


def must_be_question(what: str, function: Callable[..., object]) -> None:
    """Raise UserError unless `function` is plain, and called without arguments."""
    if type(function) is FunctionType:
        code = function.__code__
        if not (code.co_flags & NEVER_RUNS or code.co_argcount or code.co_kwonlyargcount):
            return  # Nearly all are, and this is said anew in each schedule.
    must_be_plain(what, function)
    try:
        inspect.signature(function).bind()
    except TypeError as error:
        raise NotPlain(
            Problem(
                place=place_of(function),
                found=f"{what} {name_of(function)!r} cannot be called: {error}",
                legal="expected a function without arguments",
                advice="let it look at the cells around it, as cell.value",
            )
        ) from None
    except ValueError:
        return  # It is of C, and does not say.


def must_have_answered(what: str, function: object, answer: object) -> None:
    """Raise UserError if `answer` is no answer, but something that would have to be run for one."""
    is_awaitable = inspect.isawaitable(answer)
    if is_awaitable or inspect.isgenerator(answer) or inspect.isasyncgen(answer):
        close = getattr(answer, "close", None)
        if close is not None:
            close()
        found = f"returns a {type(answer).__name__}; nobody awaits it"
        _refuse(what, function, found, _NO_ASYNC)


def must_say(what: str, function: object, answer: object) -> None:
    """Raise UserError if `answer` says nothing: a function, an object that was not looked into."""
    must_have_answered(what, function, answer)
    kind = type(answer)
    is_unasked = callable(answer) and not isinstance(answer, type)
    is_ours = kind.__module__.startswith("mmactors.")
    is_pair = isinstance(answer, tuple) and any(type(part) is bool for part in answer)
    if is_unasked or is_ours or is_pair or hasattr(kind, "__next__"):
        found = f"returns a {kind.__name__}, always true"
        _refuse(what, function, found, "call what it returns, or look at its value")


def place_of(function: object) -> Place:
    """Return where a function, or what stands for one, was written."""
    while isinstance(function, partial):
        function = function.func
    function = inspect.unwrap(function) if callable(function) else function
    if not hasattr(function, "__code__"):
        function = getattr(type(function), "__call__", None)  # noqa: B004 - its code is looked at
    code = getattr(function, "__code__", None)
    return Place(getattr(code, "co_filename", "?"), getattr(code, "co_firstlineno", None))


def name_of(function: object) -> str:
    """Return what a function is called, in reports."""
    while isinstance(function, partial):
        function = function.func
    return str(getattr(function, "__name__", None) or type(function).__name__)


def refuse_actor(name: str, function: object, made: object) -> NoReturn:
    """Raise UserError: a call of `function` made `made`, which is no coroutine."""
    found = f"it is {name_of(function)!r}, which returns {type(made).__name__}"
    if not callable(function):
        found = f"it is a {type(function).__name__}"
        if inspect.iscoroutine(function):
            function.close()
    raise NotPlain(
        Problem(
            place=place_of(function) if callable(function) else line_of_test(),
            found=f"the actor {name!r} runs no coroutine: {found}",
            legal="expected a function that is async def, without yield, and its arguments",
            advice=f"write world.actor({name!r}, function, argument, ...)",
        )
    )


def kind_of(function: object) -> str | None:
    """Return what a call makes instead of running the function; None: it runs."""
    called = getattr(type(function), "__call__", None)  # noqa: B004 - its code is looked at
    for each in (function, None if inspect.isclass(function) else called):
        if inspect.iscoroutinefunction(each):
            return "async"
        if inspect.isasyncgenfunction(each):
            return "an async generator function"
        if inspect.isgeneratorfunction(each):
            return "a generator function"
    return None


def _refuse(what: str, function: object, found: str, advice: str) -> NoReturn:
    raise NotPlain(
        Problem(
            place=place_of(function),
            found=f"{what} {name_of(function)!r} {found}",
            legal="expected a plain function that asserts, or returns whether it holds",
            advice=advice,
        )
    )


def line_of_test() -> Place:
    """Return the line outside of this package that called."""
    frame = inspect.currentframe()
    while frame is not None and frame.f_globals.get("__name__", "").startswith("mmactors."):
        frame = frame.f_back
    return Place("?") if frame is None else Place(frame.f_code.co_filename, frame.f_lineno)
