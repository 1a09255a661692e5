"""`@mmactors.explore`: a test whose world is explored, and `mmactors.play`: one schedule of it.

The test is a plain function: it builds the world, and is called afresh for each schedule. It is not
async, so that pytest-trio leaves it alone; its other arguments are fixtures and parameters as ever.
"""

import inspect
import shlex
from collections.abc import Callable, Sequence
from functools import partial, wraps
from typing import Any, TypeVar, overload

from attrs import evolve

from mmactors.engine.schedule import ScheduleMismatch
from mmactors.errors import Problem, UserError
from mmactors.explore.execution.nondeterminism import Nondeterminism
from mmactors.explore.execution.script import OtherProgram, script_of
from mmactors.explore.report.story import DEFAULT_WIDTH
from mmactors.explore.search.budget import DEFAULT_BUDGET, Budget
from mmactors.explore.search.options import Options
from mmactors.explore.search.search import play_script, replay, search
from mmactors.explore.search.session import Session, current
from mmactors.explore.search.tested import EXPLORED, lines_of_test, must_be_test
from mmactors.explore.search.verdict import Verdict
from mmactors.explore.world.question import place_of

F = TypeVar("F", bound=Callable[..., Any])


class RaceFound(AssertionError):  # noqa: N818 - the test found what it was written to find
    """A schedule breaks something; the text has the schedule, and how to run it again."""

    def __init__(self, verdict: Verdict) -> None:
        self.verdict = verdict
        super().__init__(_text(verdict))


@overload
def explore(build: F, /) -> F: ...


@overload
def explore(
    *,
    scope: Sequence[str] | None = None,
    bound: int | None = None,
    budget: int | str | Budget = DEFAULT_BUDGET,
    seed: int = 0,
    exhaustive: bool = False,
    max_steps: int = 1000,
    jobs: int = 1,
) -> Callable[[F], F]: ...


def explore(
    build: F | None = None,
    /,
    *,
    scope: Sequence[str] | None = None,
    bound: int | None = None,
    budget: int | str | Budget = DEFAULT_BUDGET,
    seed: int = 0,
    exhaustive: bool = False,
    max_steps: int = 1000,
    jobs: int = 1,
) -> Any:
    """Make a test of a function that builds a world.

    `scope` names the objects whose steps are choice points (all, if it is not given). `bound` looks
    at schedules with at most so many preemptions only. `budget` is a number of schedules, a time
    such as "10s", or both as in "20000,10s": the first that is used up ends search and shrinking.
    `exhaustive` goes on, whatever the budget, until every schedule was tried. A schedule of more
    than `max_steps` steps is ended in turns. `jobs` host processes search.
    """
    if isinstance(scope, str):
        scope = (scope,)
    options = Options(
        scope=None if scope is None else tuple(scope),
        bound=bound,
        budget=Budget.parse(budget),
        seed=seed,
        is_exhaustive=exhaustive,
        max_steps=max_steps,
        jobs=jobs,
    )

    def decorate(function: F) -> F:
        return _test_of(function, options)

    return decorate if build is None else decorate(build)


def play(
    build: Callable[..., Any], schedule: Sequence[str] | str, /, *args: Any, **kwargs: Any
) -> None:
    """Run one schedule; raise RaceFound if it breaks something.

    `schedule` is the text that a failure printed, or a list of entries such as `"cpu0: read pte"`.
    Other arguments are handed to `build`.
    """
    __tracebackhide__ = True
    owner = getattr(build, "__self__", None) if hasattr(build, EXPLORED) else None
    function = getattr(build, EXPLORED, build)
    world_of = _world_of(function, args if owner is None else (owner, *args), kwargs)
    name = getattr(function, "__name__", "schedule")
    options = Options()
    if isinstance(schedule, str):
        verdict = _plainly(lambda: replay(world_of, schedule, name=name, options=options))
    else:
        script = script_of(schedule)
        verdict = _plainly(lambda: play_script(world_of, script, name=name, options=options))
    _raise_failure(verdict)


def _test_of(function: F, options: Options) -> F:
    must_be_test(function)
    signature = inspect.signature(function)
    parameters = list(signature.parameters.values())
    is_method = _is_method(parameters)
    if len(parameters) < 1 + is_method:
        raise UserError(
            Problem(
                place=place_of(function),
                found=f"{function.__qualname__} takes no argument",
                legal="expected the world as its first argument",
                advice=f"write def {function.__name__}(world): ...",
            )
        )

    @wraps(function)
    def test(*args: Any, **kwargs: Any) -> None:
        __tracebackhide__ = _is_mistake
        _check(function, options, args, kwargs)

    rest = [*parameters[:is_method], *parameters[1 + is_method :]]
    test.__signature__ = signature.replace(parameters=rest)  # type: ignore[attr-defined]
    setattr(test, EXPLORED, function)
    return test  # type: ignore[return-value]


def _is_mistake(raised: Any) -> bool:
    """Tell pytest whether the lines of the test that raised stand in the traceback already."""
    return not isinstance(raised.value, RaceFound)


def _is_method(parameters: Sequence[inspect.Parameter]) -> bool:
    return bool(parameters) and parameters[0].name in ("self", "cls")


def _world_of(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Callable[..., Any]:
    """Return what builds the world when it gets it: all other arguments go by their names."""
    if not args and not kwargs:
        return function
    parameters = list(inspect.signature(function).parameters.values())
    nr_owners = int(_is_method(parameters))
    owner, given = args[:nr_owners], args[nr_owners:]
    rest = parameters[nr_owners + 1 :]
    may_be_named = inspect.Parameter.POSITIONAL_OR_KEYWORD
    names = [parameter.name for parameter in rest if parameter.kind is may_be_named]
    twice = [name for name in names[: len(given)] if name in kwargs]
    if len(given) > len(names) or twice:
        found = f"gets {twice[0]!r} twice" if twice else f"gets {len(given)} more by position"
        raise UserError(
            Problem(
                place=place_of(function),
                found=f"{function.__qualname__} {found}",
                legal=f"expected besides the world: {', '.join(names) or 'nothing'}",
                advice="the world comes by itself; give the others by name",
            )
        )
    return partial(function, *owner, **dict(zip(names, given, strict=False)), **kwargs)


def _check(
    function: Callable[..., Any], options: Options, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    """Search, and raise what was found."""
    __tracebackhide__ = True
    session = current()
    name = session.name if session.name is not None else function.__qualname__
    world_of = _world_of(function, args, kwargs)
    try:
        verdict = _plainly(lambda: _run(world_of, name, options, session))
    except OtherProgram as error:
        if session.on_other_program is None:
            raise
        session.on_other_program(str(error))
        return
    if session.on_verdict is not None:
        session.on_verdict(verdict)
    _raise_failure(verdict)


def _plainly(run: Callable[[], Verdict]) -> Verdict:
    """Run; an error shows the lines of the test it comes from, and none of this package."""
    __tracebackhide__ = True
    try:
        return run()
    except (UserError, ScheduleMismatch, Nondeterminism) as error:
        # What these say has all that there is to know; lines of this package would only be long.
        raise error.with_traceback(lines_of_test(error.__traceback__, or_all=False))  # noqa: B904
    except Exception as error:  # noqa: BLE001 - it is raised again
        raise error.with_traceback(lines_of_test(error.__traceback__))  # noqa: B904 - the same


def _run(world_of: Callable[..., Any], name: str, options: Options, session: Session) -> Verdict:
    options = evolve(
        options,
        budget=options.budget if session.budget is None else session.budget,
        seed=options.seed if session.seed is None else session.seed,
        is_exhaustive=options.is_exhaustive or session.is_exhaustive,
        jobs=options.jobs if session.jobs is None else session.jobs,
        store=session.store,
        on_progress=session.on_progress,
        on_interrupt=session.on_interrupt,
    )
    if session.replay is not None:
        return replay(world_of, session.replay, name=name, options=options)
    return search(world_of, name=name, options=options)


def _raise_failure(verdict: Verdict) -> None:
    __tracebackhide__ = True
    if verdict.failure is not None:
        raise RaceFound(verdict) from verdict.failure.broken.cause


def _text(verdict: Verdict) -> str:
    failure = verdict.failure
    assert failure is not None, "nothing failed"
    session = current()
    told = failure.story.told(
        width=DEFAULT_WIDTH if session.width is None else session.width,
        is_verbose=session.is_verbose,
    )
    again = ["to run this schedule again, paste:"]
    if session.shell_name is not None:
        again = [
            "to run this schedule again:",
            f"  pytest {_in_shell(session.shell_name)} --mmactors-replay={failure.replay}",
            "or paste:",
        ]
    return "\n".join(
        [
            told,
            failure.origin,
            "",
            *again,
            *(f"  {line}".rstrip() for line in failure.scripted_test.splitlines()),
        ]
    )


def _in_shell(name: str) -> str:
    """Return a word of a shell, in quotes."""
    return f"'{name}'" if "'" not in name else shlex.quote(name)
