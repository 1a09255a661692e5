"""What the surroundings of a test say about its search: the options of pytest, and who listens."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from attrs import frozen

from mmactors.explore.search.budget import Budget
from mmactors.explore.search.progress import Progress
from mmactors.explore.search.verdict import Verdict


@frozen(kw_only=True)
class Session:
    """Options that stand above those of the test; None: the test's own."""

    name: str | None = None
    """How the test is called, wherever it is run from."""
    shell_name: str | None = None
    """How it is called from the shell, in the folder where this session began."""
    seed: int | None = None
    budget: Budget | None = None
    jobs: int | None = None
    replay: str | None = None
    is_exhaustive: bool = False
    store: Path | None = None
    width: int | None = None
    """Columns of a report; None: as many as it has by itself."""
    is_verbose: bool = False
    """Reports show every line."""
    on_verdict: Callable[[Verdict], None] | None = None
    on_other_program: Callable[[str], None] | None = None
    """Told that the schedule to be replayed is of another program; None: that is an error."""
    on_progress: Callable[[Progress], None] | None = None
    on_interrupt: Callable[[Verdict, int], None] | None = None


_sessions: list[Session] = [Session()]


def current() -> Session:
    """Return the options that hold now."""
    return _sessions[-1]


@contextmanager
def using(session: Session) -> Iterator[None]:
    """Let these options hold inside."""
    _sessions.append(session)
    try:
        yield
    finally:
        _sessions.pop()
