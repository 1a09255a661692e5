"""mmactors: how a multi-processor machine manages memory, as Linux 6.1 does it."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmactors.explore.search.decorator import RaceFound as RaceFound
    from mmactors.explore.search.decorator import explore as explore
    from mmactors.explore.search.decorator import play as play
    from mmactors.explore.world.world import World as World

_OF_EXPLORE = ("RaceFound", "World", "play")


def __getattr__(name: str) -> Any:
    """Import the search only when it is used: `mmactors.explore`, `mmactors.play`."""
    if name == "explore":
        return import_module("mmactors.explore")
    if name in _OF_EXPLORE:
        return getattr(import_module("mmactors.explore"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
