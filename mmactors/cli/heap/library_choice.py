"""What `--library NAME[:VARIABLE=VALUE]...` says: a C library, and what it finds when it begins."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from attrs import frozen

from mmactors.errors import Place, Problem, UserError

_OPTION: Final = "--library"
_VARIABLE: Final = re.compile(r":(?=[A-Z][A-Z0-9_]*=)")
"""What ends a value and begins a variable; values may have colons themselves."""


@frozen(kw_only=True)
class LibraryChoice:
    """A library that a program is linked with, and its part of the environment."""

    label: str
    """Its name; the second of a name has a 2 behind it."""
    library: str
    environment: Mapping[str, str]

    @property
    def option(self) -> str:
        """Return how the command line says it."""
        variables = (f":{name}={value}" for name, value in self.environment.items())
        return f"{_OPTION} {self.library}{''.join(variables)}"


def library_choices(texts: Sequence[str]) -> tuple[LibraryChoice, ...]:
    """Return what options say, in their order; raise UserError for what cannot be read.

    Whether there is such a library, and what a variable means, is not asked here.
    """
    problems: list[Problem] = []
    choices: list[LibraryChoice] = []
    seen = Counter[str]()
    for text in texts:
        name, *words = _VARIABLE.split(text)
        library, colon, rest = name.partition(":")
        if colon or not library:
            problems.append(_unreadable(text, rest if colon else ""))
            continue
        pairs = [word.partition("=") for word in words]
        given = Counter(variable for variable, _, _ in pairs)
        problems += [_given_twice(text, word) for word, times in given.items() if times > 1]
        seen[library] += 1
        choices.append(
            LibraryChoice(
                label=library if seen[library] == 1 else f"{library}-{seen[library]}",
                library=library,
                environment={variable: value for variable, _, value in pairs},
            )
        )
    if problems:
        raise UserError(problems)
    return tuple(choices)


def _unreadable(text: str, rest: str) -> Problem:
    return Problem(
        place=Place(f"{_OPTION} {text}"),
        found=f"{rest!r} is no variable" if rest else "no library is named",
        legal="expected NAME, or NAME:VARIABLE=VALUE",
        advice="write it like --library jemalloc:MALLOC_CONF=narenas:1",
    )


def _given_twice(text: str, variable: str) -> Problem:
    return Problem(
        place=Place(f"{_OPTION} {text}"),
        found=f"{variable} twice",
        legal="expected each variable once",
        advice="put what it should say into one value",
    )
