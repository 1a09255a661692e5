"""What Python only complains about: coroutines that nobody awaited, generators that nobody closed.

A coroutine that is dropped before it has begun does nothing: a step of the model is missing, and
the verdict is about another program. Python warns on stderr, and says no line. Here it is an error
that names the line that made it: once there is one, all begins again, with Python told to remember
where coroutines are made, which costs too much to be done always.

An asynchronous generator of an abandoned schedule is closed quietly, as its coroutines are.
"""

import gc
import linecache
import os
import sys
import warnings
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from attrs import frozen

from mmactors.errors import Place, Problem, UserError
from mmactors.explore.engine.search_actor import abandon
from mmactors.explore.execution.loud import BecameVisible

_PACKAGE: Final = str(Path(__file__).parents[2])
_HOOK: Final = "_warn_unawaited_coroutine"
"""What CPython calls with a coroutine that nobody has awaited."""


@frozen
class _Forgotten:
    """A coroutine that nobody awaited."""

    name: str
    place: Place | None
    """Where it was made, or else dropped; None: nobody knows."""
    is_exact: bool
    """It was made there."""


class Leftovers:
    """Notices them during one search."""

    def __init__(self, tell: Callable[[], None]) -> None:
        self._tell: Final = tell
        self._forgotten: Final[list[_Forgotten]] = []
        self._first: _Forgotten | None = None
        """What was found before all began again."""
        self._is_collecting = False
        """The garbage collector runs: it drops things in the middle of anything."""
        self._process: Final = os.getpid()

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Notice them inside; put everything back as it was."""
        hook = getattr(warnings, _HOOK)
        hooks = sys.get_asyncgen_hooks()
        depth = sys.get_coroutine_origin_tracking_depth()
        setattr(warnings, _HOOK, self._note)
        sys.set_asyncgen_hooks(firstiter=None, finalizer=_close)
        gc.callbacks.append(self._collects)
        try:
            yield
        finally:
            gc.callbacks.remove(self._collects)
            setattr(warnings, _HOOK, hook)
            sys.set_asyncgen_hooks(*hooks)
            sys.set_coroutine_origin_tracking_depth(depth)

    def check(self) -> None:
        """Raise UserError if a coroutine was forgotten, or BecameVisible to find out where."""
        if self._forgotten:
            self._raise(self._forgotten[0])

    def check_all(self) -> None:
        """The same when nothing runs any more: what waits for the garbage collector counts too."""
        gc.collect(1)  # Older ones, of earlier schedules, were looked at meanwhile.
        self.check()
        if self._first is not None:
            self._raise(self._first)

    def _raise(self, forgotten: _Forgotten) -> None:
        self._forgotten.clear()
        may_begin_again = self._first is None and os.getpid() == self._process
        if not forgotten.is_exact and may_begin_again:
            self._first = forgotten
            sys.set_coroutine_origin_tracking_depth(1)
            raise BecameVisible
        raise _error(forgotten)

    def _note(self, coro: Coroutine[Any, Any, Any]) -> None:
        """Take down a coroutine that Python is about to complain of."""
        origin = getattr(coro, "cr_origin", None)
        frame = sys._getframe(1)  # noqa: SLF001 - there is no other way to see who dropped it
        place = None
        if origin:
            place = Place(origin[0][0], origin[0][1])
        elif not self._is_collecting and not frame.f_code.co_filename.startswith(_PACKAGE):
            place = Place(frame.f_code.co_filename, frame.f_lineno)
        self._forgotten.append(
            _Forgotten(getattr(coro, "__qualname__", "?"), place, is_exact=bool(origin))
        )

    def _collects(self, phase: str, _info: object) -> None:
        self._is_collecting = phase == "start"


def _error(forgotten: _Forgotten) -> UserError:
    place = forgotten.place
    line = ""
    if place is not None and place.line is not None:
        line = linecache.getline(place.file, place.line).strip()
    return UserError(
        Problem(
            place=Place("?") if place is None else place,
            found=f"nobody awaited the coroutine {forgotten.name}: it did nothing",
            legal="expected await before everything that is async",
            advice=f"write await before it in: {line}" if line else "write await before the call",
        )
    )


def _close(generator: AsyncGenerator[object, None]) -> None:
    """Close an asynchronous generator that nobody will iterate any more."""
    closing = _closing(generator)
    try:
        closing.send(None)
    except (Exception, GeneratorExit):  # noqa: BLE001 - nobody is there any more to whom it would matter
        return
    abandon(closing)


async def _closing(generator: AsyncGenerator[object, None]) -> None:
    await generator.athrow(GeneratorExit())
