"""What an actor awaited that is not its world's, and what to write instead.

Some of it parks and yields something that is no PARK. Some fails before it yields: trio, asyncio
and sniffio look for an event loop, and there is none. Both are errors of the test, and no race.
"""

from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any, Final

from mmactors.engine.actor import Actor
from mmactors.engine.report import ForeignAwait
from mmactors.explore.engine.search_actor import SearchActor, abandon

_LIBRARIES: Final = ("trio", "asyncio", "sniffio", "anyio", "curio", "outcome")
_INSTEAD: Final = (
    ("Event", 'use world.event("name")'),
    ("Semaphore", 'use world.semaphore("name", 1)'),
    ("CapacityLimiter", 'use world.semaphore("name", 1)'),
    ("Condition", 'use world.condition("name", lock)'),
    ("Barrier", 'use world.barrier("name", 2)'),
    ("Lock", 'use world.lock("name")'),
    ("Channel", 'use world.mailbox("name"): tell and receive'),
    ("Queue", 'use world.mailbox("name"): tell and receive'),
    ("Stream", 'use world.mailbox("name"): tell and receive'),
    ("nursery", "use world.actor(name, function) for each task"),
    ("TaskGroup", "use world.actor(name, function) for each task"),
    ("gather", "use world.actor(name, function) for each task"),
    ("create_task", "use world.actor(name, function) for each task"),
    ("ensure_future", "use world.actor(name, function) for each task"),
    ("to_thread", "use world.actor(name, function) for what runs in the thread, or a plain call"),
    ("run_sync", "use world.actor(name, function) for what runs in the thread, or a plain call"),
    ("from_thread", "use world.actor(name, function) for what runs in the thread, or a plain call"),
    ("timeout", "use await world.may(what) where time may run out"),
    ("fail_after", "use await world.may(what) where time may run out"),
    ("move_on", "use await world.may(what) where time may run out"),
    ("sleep", "leave it out: others may go on before every operation, however long that takes"),
    ("checkpoint", "leave it out: others may go on before every operation"),
)
"""By a word in the name of what was awaited: what a world has for it."""
_ELSE: Final = "use the cells, locks and other operations of the world (docs/races.md)"


def refuse(actor: SearchActor, trap: object) -> ForeignAwait:
    """End an actor that awaited what is not the engine's; return what to say about it."""
    actor.finished = True
    give_up = getattr(trap, "abort_func", None)
    if give_up is not None:
        give_up(lambda: None)
    frames = list(_frames(actor.coro))
    name = next((_name(frame) for frame in frames if _is_foreign(frame)), f"{trap!r}")
    traceback = None
    for frame in reversed([frame for frame in frames if not _is_foreign(frame)]):
        traceback = TracebackType(traceback, frame, frame.f_lasti, frame.f_lineno)
    error = ForeignAwait(_text(actor, name)).with_traceback(traceback)
    abandon(actor.coro)
    return error


def as_foreign(actor: Actor, error: Exception) -> ForeignAwait | None:
    """Return what to say if `actor` failed inside another library; None: it did not."""
    traceback = error.__traceback__
    kept: list[TracebackType] = []
    last = traceback
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    if last is None or isinstance(error, ForeignAwait) or not _is_foreign(last.tb_frame):
        return None
    while traceback is not None:
        if _is_foreign(traceback.tb_frame):
            again: TracebackType | None = None
            for each in reversed(kept):
                again = TracebackType(again, each.tb_frame, each.tb_lasti, each.tb_lineno)
            text = _text(actor, _name(traceback.tb_frame))
            foreign = ForeignAwait(text).with_traceback(again)
            foreign.__suppress_context__ = True  # That there is no event loop is no news.
            return foreign
        kept.append(traceback)
        traceback = traceback.tb_next
    return None


def _text(actor: Actor, name: str) -> str:
    lower = name.lower()
    instead = next((text for word, text in _INSTEAD if word.lower() in lower), _ELSE)
    return (
        f"{actor} awaited {name}, which is not the engine's: an explored actor may only await "
        f"operations of its world; {instead}"
    )


def _frames(coro: Any) -> Iterator[FrameType]:
    """Return where a coroutine that is parked stands, from outside to inside."""
    while coro is not None:
        frame = getattr(coro, "cr_frame", None) or getattr(coro, "gi_frame", None)
        if frame is None:
            return
        yield frame
        coro = getattr(coro, "cr_await", None) or getattr(coro, "gi_yieldfrom", None)


def _is_foreign(frame: FrameType) -> bool:
    root: str = frame.f_globals.get("__name__", "").partition(".")[0]
    return root in _LIBRARIES


def _name(frame: FrameType) -> str:
    """Return what was awaited, as its users call it."""
    library = frame.f_globals.get("__name__", "").partition(".")[0]
    module = frame.f_globals.get("__name__", "").rpartition(".")[2].strip("_")
    place = f"{library}.{module}" if module in ("to_thread", "from_thread") else library
    method = frame.f_code.co_name
    owner = frame.f_locals.get("self")
    if owner is None or "." not in frame.f_code.co_qualname:
        return f"{place}.{frame.f_code.co_qualname}"
    what = type(owner).__name__
    return f"{place}.{what}" if method.startswith("__") else f"{place}.{what}.{method}"
