"""Assertions that an actor catches. They are laws all the same, and break the schedule.

Python does not say that an exception was caught. So the code of actors is read first: only if some
of it could catch an AssertionError (`except Exception`, a bare `except`, a `return` in `finally`, a
`with` that may swallow) do actors run under a trace function, which sees every exception that comes
into such a frame. Those worlds are explored slower.

What it does not see: what libraries catch that are not the model's; anything, while a debugger or a
measurement of coverage has set a trace function of its own.
"""

import builtins
import dis
import sys
from collections.abc import Callable
from functools import cache
from types import CodeType, FrameType
from typing import Any, Final

from mmactors.explore.engine.untimed import SearchEngine

_NOTE: Final = "an assertion of an actor is a law, also if the actor catches it"


class Caught:
    """Lets actors run, and notes the assertions that come into code which could catch them."""

    def __init__(self, engine: SearchEngine, codes: set[CodeType]) -> None:
        self._engine: Final = engine
        self._codes: Final = codes

    def begin(self) -> None:
        """Look at all actors there are, in this schedule."""
        if sys.gettrace() is None:
            for actor in self._engine.party:
                actor.send = self._traced(actor.send)

    def _traced(self, send: Callable[[None], Any]) -> Callable[[None], Any]:
        def run(value: None) -> Any:
            sys.settrace(self._call)
            try:
                return send(value)
            finally:
                sys.settrace(None)

        return run

    def _call(self, frame: FrameType, _event: str, _argument: Any) -> Any:
        if frame.f_code not in self._codes:
            return None
        frame.f_trace_lines = False
        return self._look

    def _look(self, _frame: FrameType, event: str, argument: Any) -> Any:
        if event == "exception":
            error = argument[1]
            if isinstance(error, AssertionError):
                if _NOTE not in getattr(error, "__notes__", ()):
                    error.add_note(_NOTE)
                self._engine.note_offence(error)
        return self._look


@cache
def may_catch(code: CodeType) -> bool:
    """Return whether code could catch an AssertionError and go on."""
    instructions = list(dis.get_instructions(code))
    names: list[str] = []
    for at, each in enumerate(instructions):
        match each.opname:
            case "PUSH_EXC_INFO":
                names = []
                if instructions[at + 1].opname == "POP_TOP":
                    return True
            case "LOAD_GLOBAL" | "LOAD_NAME" | "LOAD_ATTR" | "LOAD_DEREF":
                names.append(each.argval)
            case "CHECK_EXC_MATCH" if not all(map(_cannot_be, names)):
                return True
            case "CHECK_EG_MATCH" | "BEFORE_WITH":
                return True
    return False


def _cannot_be(name: str) -> bool:
    """Return whether a name is of a class of exceptions that an AssertionError is none of."""
    kind = getattr(builtins, name, None)
    return isinstance(kind, type) and not issubclass(AssertionError, kind)
