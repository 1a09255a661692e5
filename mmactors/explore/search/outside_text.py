"""What is shared outside the scope, for people: who does what to it, and what to write instead."""

import json
import re
from collections.abc import Iterable
from typing import Final

from mmactors.explore.execution.outside import SharedOutside

_PLAIN: Final = re.compile(r"[A-Za-z_][\w.-]*")
"""What YAML takes for a string without quotes."""
_HEAD: Final = "shared outside the scope"


def names_text(outside: Iterable[SharedOutside]) -> str:
    """Return the names in one line; what a lock among them orders is left out."""
    return f"{_HEAD}: {', '.join(each.name for each in outside if not each.under)}"


def lines(outside: Iterable[SharedOutside], advice: str) -> list[str]:
    """Return a line for each object, and what to write so that their orders are tried."""
    found = list(outside)
    if not found:
        return []
    width = max(len(each.name) for each in found)
    told = [
        f"  {each.name:{width}}  {each.who()}{f', under {_or(each.under)}' if each.under else ''}"
        for each in found
    ]
    return [f"{_HEAD}, in orders that were not tried:", *told, f"to try them: {advice}"]


def sentence(outside: Iterable[SharedOutside]) -> str:
    """Return the same as a part of a sentence."""
    told = [f"{each.name} ({each.who()})" for each in outside if not each.under]
    return f"outside the scope, in orders that were not tried, are {', '.join(told)}"


def of_world(scope: Iterable[str]) -> str:
    """Return how a world says its scope."""
    return f"world.scope({', '.join(map(json.dumps, scope))})"


def of_race(scope: Iterable[str]) -> str:
    """Return how a scenario says its scope."""
    names = [name if _PLAIN.fullmatch(name) else f"'{name}'" for name in scope]
    return f"race: {{scope: [{', '.join(names)}]}}"


def _or(names: tuple[str, ...]) -> str:
    return " or ".join(filter(None, (", ".join(names[:-1]), names[-1])))
