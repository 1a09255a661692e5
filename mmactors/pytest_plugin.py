"""The pytest plugin: options for explored tests, their verdicts at the end, and what they refuse.

An explored test is a plain function; it builds its world anew for each schedule. Trio fixtures
live in one run of one event loop, so they cannot be part of a world; a test that asks for one is
refused.

A search that takes long says how far it is: on the terminal in a line that changes, elsewhere in a
line every ten seconds, on stderr. Ctrl-C and SIGTERM end it with the verdict reached.
"""

import inspect
import os
import re
import shutil
import signal
import sys
from collections.abc import Generator
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from mmactors.explore.search.verdict import Verdict

_EXPLORED: Final = "mmactors_explored"
_PROPERTY: Final = "mmactors"
_REPLAY: Final = "--mmactors-replay"
_STORIES: Final = pytest.StashKey[list[tuple[str, Any]]]()
_MARGIN: Final = 5
"""What pytest puts before each line of an error."""
_LEAST_WIDTH: Final = 20
"""Columns of a report, however narrow COLUMNS says that the terminal is."""
_MAX_NAME: Final = 150
"""Characters of a file that is named after a test."""


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    """Add the options of explored tests."""
    # pytest rewrites the asserts of every package that brings a plugin. That would slow the engine
    # down, and make other functions than the compiled ones in the cache of the machine code.
    hook = getattr(pluginmanager, "rewrite_hook", None)
    getattr(hook, "_must_rewrite", set()).discard("mmactors")
    group = parser.getgroup("mmactors", "mmactors: tests that explore interleavings")
    group.addoption(
        "--mmactors-seed", type=int, metavar="N", help="seed of all strategies that draw choices"
    )
    group.addoption(
        "--mmactors-budget",
        metavar="BUDGET",
        help="schedules (20000), time (10s, 2min) or both (20000,10s) for each explored test",
    )
    group.addoption(
        "--mmactors-jobs", type=int, metavar="N", help="processes that search each explored test"
    )
    group.addoption(
        _REPLAY,
        metavar="TEXT",
        help="run only the schedule that a failure printed; skip explored tests that it is not of",
    )
    group.addoption(
        "--mmactors-exhaustive",
        action="store_true",
        help="go on, whatever the budget, until every schedule was tried",
    )
    group.addoption(
        "--mmactors-html",
        metavar="FILE|DIR",
        help="draw the schedules that fail as lanes: NAME.html holds all, a folder a file a test",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Refuse a budget that is none before anything runs."""
    budget = config.getoption("--mmactors-budget")
    if budget is not None:
        from mmactors.errors import UserError  # noqa: PLC0415 - imported only when it is used
        from mmactors.explore.search.budget import Budget  # noqa: PLC0415

        try:
            Budget.parse(budget)
        except UserError as error:
            raise pytest.UsageError(f"--mmactors-budget: {error}") from None
    drawn = config.getoption("--mmactors-html")
    is_split = hasattr(config, "workerinput") or config.getoption("numprocesses", None)
    if drawn is not None and drawn.endswith(".html") and is_split:
        raise pytest.UsageError(
            f"--mmactors-html: {drawn} is one file, and the tests run in several processes; "
            "expected a folder then; name one, or run with -n0"
        )


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Refuse fixtures that live in an event loop."""
    function = _explored(item)
    if function is None:
        return
    for name, definitions in item._fixtureinfo.name2fixturedefs.items():  # type: ignore[attr-defined]  # noqa: SLF001 - pytest has no public way
        made_by = definitions[-1].func
        is_async = inspect.iscoroutinefunction(made_by) or inspect.isasyncgenfunction(made_by)
        if is_async or getattr(made_by, "__module__", "").startswith("pytest_trio"):
            pytest.fail(
                f"{item.nodeid} uses the trio fixture {name!r}: an explored test builds its world "
                "anew for each schedule, and a fixture of an event loop would be set up only once; "
                f"build what {name!r} gives inside the test, or make it a plain fixture",
                pytrace=False,
            )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """Let an explored test know the options."""
    __tracebackhide__ = True
    if _explored(item) is None:
        return (yield)
    from mmactors.explore.search.budget import Budget  # noqa: PLC0415 - imported only when it is used
    from mmactors.explore.search.session import Session, using  # noqa: PLC0415
    from mmactors.explore.search.store import DIRECTORY  # noqa: PLC0415

    config = item.config
    verdicts: list[str] = []
    others: list[str] = []
    screen = _Screen(item)

    def note(verdict: "Verdict") -> None:
        verdicts.append(verdict.for_worlds())
        _draw(item, verdict)

    budget = config.getoption("--mmactors-budget")
    session = Session(
        name=item.nodeid,
        shell_name=_name_in_shell(item),
        seed=config.getoption("--mmactors-seed"),
        budget=None if budget is None else Budget.parse(budget),
        jobs=config.getoption("--mmactors-jobs"),
        replay=config.getoption(_REPLAY),
        is_exhaustive=config.getoption("--mmactors-exhaustive"),
        store=Path(config.rootpath) / DIRECTORY,
        width=max(config.get_terminal_writer().fullwidth - _MARGIN, _LEAST_WIDTH),
        is_verbose=config.get_verbosity() > 0,
        on_verdict=note,
        on_other_program=others.append,
        on_progress=screen.teller(),
        on_interrupt=screen.interrupt,
    )
    try:
        with using(session):
            result = yield
    finally:
        screen.clear()
        # One a test, and one an example if hypothesis draws some.
        item.user_properties += [(_PROPERTY, text) for text in dict.fromkeys(verdicts)]
    if others and not verdicts:
        pytest.skip(f"{_REPLAY} is not of this test: {others[0]}")
    return result


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail if there was a schedule to be replayed, and no test that it is of."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if session.config.getoption(_REPLAY) is None or reporter is None:
        return
    if session.exitstatus == pytest.ExitCode.OK and not _verdicts(reporter):
        session.exitstatus = pytest.ExitCode.USAGE_ERROR
        reporter.write_line("")
        reporter.write_line(
            f"ERROR: {_REPLAY}: the schedule is of none of these tests: they have changed since, "
            "or others were collected; run the test that printed it",
            red=True,
        )


def _draw(item: pytest.Item, verdict: "Verdict") -> None:
    """Draw what failed, if that is wanted."""
    drawn = item.config.getoption("--mmactors-html")
    if drawn is None or verdict.failure is None:
        return
    from mmactors.explore.report.lanes import write_page  # noqa: PLC0415

    stories = item.config.stash.setdefault(_STORIES, [])
    stories.append((item.nodeid, verdict.failure.story))
    if drawn.endswith(".html"):
        write_page(Path(drawn), stories, option="--mmactors-html")
    else:
        name = re.sub(r"[^\w.-]+", "_", item.nodeid)[-_MAX_NAME:]
        write_page(Path(drawn, f"{name}.html"), stories[-1:], option="--mmactors-html")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say of each explored test how sure its result is."""
    if terminalreporter.verbosity < 0:
        return
    lines = _verdicts(terminalreporter)
    if lines:
        terminalreporter.section("mmactors")
        for line in lines:
            terminalreporter.write_line(line)


def _verdicts(terminalreporter: Any) -> list[str]:
    """Return the verdicts of all tests that were explored, each after its test's name."""
    return [
        f"{report.nodeid}: {text}"
        for reports in terminalreporter.stats.values()
        for report in reports
        if getattr(report, "when", None) == "call"
        for name, text in getattr(report, "user_properties", ())
        if name == _PROPERTY
    ]


def _name_in_shell(item: pytest.Item) -> str:
    """Return how a test is called from the folder where pytest was; its id begins at the root."""
    path = os.path.relpath(item.path, item.config.invocation_params.dir)
    _, separator, rest = item.nodeid.partition("::")
    return f"{path}{separator}{rest}"


def _explored(item: pytest.Item) -> Any:
    return getattr(getattr(item, "obj", None), _EXPLORED, None)


class _Screen:
    """Where the search of one test says how far it is."""

    def __init__(self, item: pytest.Item) -> None:
        plugins = item.config.pluginmanager
        self._item: Final = item
        self._capture: Final[Any] = plugins.get_plugin("capturemanager")
        is_worker = hasattr(item.config, "workerinput")
        self._reporter: Final[Any] = None if is_worker else plugins.get_plugin("terminalreporter")
        """None: this is a worker of pytest-xdist, of which only stderr is seen."""
        self._is_terminal: Final = self._reporter is not None and self._reporter.isatty
        self._has_written = False

    def teller(self) -> Any:
        """Return who is told of the progress."""
        from mmactors.explore.search import progress  # noqa: PLC0415 - imported only when it is used

        every_s = progress.TERMINAL_SECONDS if self._is_terminal else progress.LOG_SECONDS
        return progress.Teller(self._write, every_s=every_s)

    def interrupt(self, verdict: Any, number: int) -> None:
        """Print the verdict: the session ends now, as it does without a search."""
        text = f"{self._item.nodeid}: {verdict}"
        if verdict.failure is not None:
            text += f"\n{verdict.failure.report}\n{verdict.failure.origin}"
        if self._reporter is None:
            self._write_to_stderr(text)
            return
        with self._uncaptured():
            self._reporter.ensure_newline()
            self._reporter.write_line(text)
        if number == signal.SIGTERM:
            pytest.exit("SIGTERM", returncode=128 + number)

    def clear(self) -> None:
        """Make room for what pytest says next."""
        if self._has_written:
            with self._uncaptured():
                self._reporter.rewrite("", erase=True)
                self._reporter.write("\r")

    def _write(self, text: str) -> None:
        line = f"{self._item.nodeid}: {text}"
        if not self._is_terminal:
            self._write_to_stderr(line)
            return
        with self._uncaptured():
            if not self._has_written:
                self._has_written = True
                self._reporter.ensure_newline()
            width = shutil.get_terminal_size().columns - 1
            self._reporter.rewrite(line[:width], erase=True)
            self._reporter.flush()

    def _write_to_stderr(self, text: str) -> None:
        with self._uncaptured():
            sys.stderr.write(f"\n{text}\n")
            sys.stderr.flush()

    def _uncaptured(self) -> Any:
        """Return what lets through what is written meanwhile."""
        if self._capture is None:
            return nullcontext()
        return self._capture.global_and_fixture_disabled()
