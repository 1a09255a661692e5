"""`@mmactors.explore`: a test whose world is explored, and `mmactors.play`: one schedule of it.

The test is a plain function: it builds the world, and is called afresh for each schedule. It is not
async, so that pytest-trio leaves it alone; its other arguments are fixtures and parameters as ever.
"""

import inspect
import shlex
from collections.abc import Callable, Sequence
from functools import partial, wraps
from types import MethodType
from typing import Any, TypeVar, overload

from attrs import evolve

from mmactors.errors import Place, Problem, UserError
from mmactors.explore.execution.script import script_of
from mmactors.explore.report.story import DEFAULT_WIDTH
from mmactors.explore.search.budget import Budget
from mmactors.explore.search.options import Options
from mmactors.explore.search.search import play_script, replay, search
from mmactors.explore.search.session import Session, current
from mmactors.explore.search.verdict import Verdict

F = TypeVar("F", bound=Callable[..., Any])

EXPLORED = "mmactors_explored"
"""The attribute of a decorated test that holds the function it was made of."""


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
    budget: int | str = 20_000,
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
    budget: int | str = 20_000,
    seed: int = 0,
    exhaustive: bool = False,
    max_steps: int = 1000,
    jobs: int = 1,
) -> Any:
    """Make a test of a function that builds a world.

    `scope` names the objects whose steps are choice points (all, if it is not given). `bound` looks
    at schedules with at most so many preemptions only. `budget` is a number of schedules or a time
    such as "10s"; `exhaustive` goes on until every schedule was tried. A schedule of more than
    `max_steps` steps is ended in turns. `jobs` host processes search.
    """
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
    function = getattr(build, EXPLORED, build)
    if inspect.ismethod(build):
        function = MethodType(function, build.__self__)
    world_of = partial(function, *args, **kwargs) if args or kwargs else function
    name = getattr(function, "__name__", "schedule")
    options = Options()
    if isinstance(schedule, str):
        verdict = replay(world_of, schedule, name=name, options=options)
    else:
        verdict = play_script(world_of, script_of(schedule), name=name, options=options)
    _raise_failure(verdict)


def _test_of(function: F, options: Options) -> F:
    _refuse_async(function)
    signature = inspect.signature(function)
    parameters = list(signature.parameters.values())
    is_method = bool(parameters) and parameters[0].name == "self"
    if len(parameters) < 1 + is_method:
        raise UserError(
            Problem(
                place=_place(function),
                found=f"{function.__qualname__} takes no argument",
                legal="expected the world as its first argument",
                advice=f"write def {function.__name__}(world): ...",
            )
        )

    @wraps(function)
    def test(*args: Any, **kwargs: Any) -> None:
        _check(function, options, args, kwargs)

    rest = [*parameters[:is_method], *parameters[1 + is_method :]]
    test.__signature__ = signature.replace(parameters=rest)  # type: ignore[attr-defined]
    setattr(test, EXPLORED, function)
    return test  # type: ignore[return-value]


def _check(
    function: Callable[..., Any], options: Options, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    """Search, and raise what was found."""
    __tracebackhide__ = True
    session = current()
    name = session.name if session.name is not None else function.__qualname__
    world_of = partial(function, *args, **kwargs) if args or kwargs else function
    verdict = _run(world_of, name, options, session)
    if session.on_verdict is not None:
        session.on_verdict(verdict)
    _raise_failure(verdict)


def _run(world_of: Callable[..., Any], name: str, options: Options, session: Session) -> Verdict:
    options = evolve(
        options,
        budget=options.budget if session.budget is None else session.budget,
        seed=options.seed if session.seed is None else session.seed,
        is_exhaustive=options.is_exhaustive or session.is_exhaustive,
        jobs=options.jobs if session.jobs is None else session.jobs,
        store=session.store,
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
    return "\n".join(
        [
            told,
            f"found by {failure.found_by} in schedule {failure.at_schedule:,}",
            "",
            "to run this schedule again:",
            f"  pytest {_in_shell(verdict.name)} --mmactors-replay={failure.replay}",
            "or paste:",
            *(f"  {line}".rstrip() for line in failure.scripted_test.splitlines()),
        ]
    )


def _in_shell(name: str) -> str:
    """Return a word of a shell, in quotes."""
    return f"'{name}'" if "'" not in name else shlex.quote(name)


def _refuse_async(function: Callable[..., Any]) -> None:
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise UserError(
            Problem(
                place=_place(function),
                found=f"{function.__qualname__} is async",
                legal="expected a plain function that builds the world",
                advice="write def instead of async def; its actors are the async functions",
            )
        )


def _place(function: Callable[..., Any]) -> Place:
    code = getattr(function, "__code__", None)
    return Place(getattr(code, "co_filename", "?"), getattr(code, "co_firstlineno", None))
