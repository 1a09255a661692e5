"""Laws and goals that a scenario brings of its own: functions that look at the machine.

They get what `Machine.inspect()` gives, frozen values that are read when asked for, so a law can
change nothing. Their modules are run once a process, when the race is explored.
"""

import importlib.util
import sys
import traceback
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from mmactors.engine.probe import EngineProbe, Taken
from mmactors.errors import Place, Problem, UserError
from mmactors.explore.report.relevance import READS_ANYTHING
from mmactors.explore.world.world import World
from mmactors.label import Label
from mmactors.observe.inspection import Inspection
from mmactors.races.teller import MachineTeller
from mmactors.scenario.event_names import event_names
from mmactors.scenario.race_config import RaceConfig
from mmactors.scenario.race_names import FunctionName, Goal

Inspect = Callable[[], Inspection]


class EventNotes:
    """Notes which events there were; it is told all of them."""

    def __init__(self) -> None:
        self.names: Final[set[str]] = set()

    def take(self, taken: Sequence[Taken]) -> None:
        """Note their names."""
        self.names.update(event.name for *_, event in taken)


class OwnLaws:
    """What one scenario wants to hold, and to happen."""

    def __init__(self, race: RaceConfig) -> None:
        self._laws: Final = race.laws
        self._functions: Final = {name: _load(name) for name in race.functions}
        known = event_names()
        self._events: Final = [goal for goal in race.reaches if known.match(goal.text)]
        named = [goal for goal in race.reaches if goal.function is None]
        self._steps: Final = [goal for goal in named if goal not in self._events]
        self._asked: Final = [goal for goal in race.reaches if goal.function is not None]
        self.notes: Final = EventNotes() if self._events else None
        """Who has to be told of events; None: nobody asks."""

    def declare(
        self, world: World, inspect: Inspect, probe: EngineProbe, teller: MachineTeller
    ) -> None:
        """Declare all of them in a world, and forget what happened before the race."""
        for name in self._laws:
            law = _asking(name.short, self._functions[name], inspect)
            setattr(law, READS_ANYTHING, True)
            (world.always if name.is_always else world.at_end)(law)
        for goal in self._asked:
            assert goal.function is not None, f"{goal} is no function"
            ask = self._functions[goal.function]
            world.sometimes(goal.short, _asking(goal.short, ask, inspect))
        if self.notes is not None:
            probe.flush()
            self.notes.names.clear()
            for goal in self._events:
                world.sometimes(goal.short, _happened(goal, self.notes, probe))
        if self._steps:
            for goal in self._steps:
                world.sometimes(goal.short)
            _watch_steps(world, self._steps, teller)


def _asking(
    name: str, function: Callable[[Inspection], Any], inspect: Inspect
) -> Callable[[], Any]:
    def ask() -> Any:
        return function(inspect())

    ask.__name__ = ask.__qualname__ = name
    ask.__wrapped__ = function  # type: ignore[attr-defined]  # Whose code is read (host.py).
    return ask


def _happened(goal: Goal, notes: EventNotes, probe: EngineProbe) -> Callable[[], bool]:
    def has_happened() -> bool:
        probe.flush()
        return any(fnmatchcase(name, goal.text) for name in notes.names)

    return has_happened


def _watch_steps(world: World, goals: Sequence[Goal], teller: MachineTeller) -> None:
    """Say of each goal that a step reaches it when one with its text is taken.

    The text is that of the schedule, or as reports show it.
    """
    engine = world.engine
    take = type(engine).step
    teller.glance()

    async def step(label: Label) -> None:
        await take(engine, label)
        missed = [goal for goal in goals if goal.short not in world.met]
        if missed:
            texts = (label.text, teller.label(label.text, label.touches))
            for goal in missed:
                if any(fnmatchcase(text, goal.text) for text in texts):
                    world.reached(goal.short)

    engine.step = step  # type: ignore[method-assign]


def _load(name: FunctionName) -> Callable[[Inspection], Any]:
    """Return the function; raise UserError if its module cannot be run."""
    module = _module(name.path)
    function: Callable[[Inspection], Any] = getattr(module, name.function)
    return function


def _module(path: str) -> ModuleType:
    key = f"mmactors_race_laws:{path}"
    if key in sys.modules:
        return sys.modules[key]
    spec = importlib.util.spec_from_file_location(key, path)
    assert spec is not None, f"{path} is no file of Python"
    assert spec.loader is not None, f"{path} is no file of Python"
    module = importlib.util.module_from_spec(spec)
    sys.modules[key] = module
    folder = str(Path(path).parent)
    sys.path.insert(0, folder)  # It may import what stands beside it.
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[key]
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__)
                 if frame.filename == path]  # fmt: skip
        raise UserError(
            Problem(
                place=Place(path, lines[-1] if lines else None, 1 if lines else None),
                found=f"importing it raises {type(error).__name__}: {error}",
                legal="expected a module that can be imported",
                advice=f"try `python {path}`",
            )
        ) from error
    finally:
        sys.path.remove(folder)
    return module
