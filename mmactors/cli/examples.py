"""`mmactors examples [NAME]`: the scenarios that come with the package, and where they lie.

A checkout has them in configs/; a wheel carries the same files, and the traces that they run, in
`mmactors/examples`. What an example shows is its race's title or else the first sentence of its
comment; `Takes about ...` there says how long it is.
"""

import json as json_text
import re
from pathlib import Path
from typing import Annotated, Final

from attrs import frozen
from cyclopts import Parameter

import mmactors
from mmactors.cli.terminal.screen import say, say_json
from mmactors.errors import Place, Problem, UserError
from mmactors.scenario.structure import did_you_mean

_PACKAGE: Final = Path(mmactors.__file__).parent
_FOLDERS: Final = (_PACKAGE / "examples", _PACKAGE.parent / "configs")
"""Where the examples lie: in a wheel, in a checkout."""
_RACES: Final = "races"
_TITLE: Final = re.compile(r"^  title: (.+)$", re.MULTILINE)
_SENTENCE: Final = re.compile(r"(.+?)[.:]( |$)")
_TAKES: Final = re.compile(r"\bTakes (about .+?)\.( |$)")
_TAKES_WIDTH: Final = len("about half a minute")
_TRACE: Final = re.compile(r"\b(?:heap_)?trace (\S+\.npz)\b")


@frozen(kw_only=True)
class Example:
    """One scenario that comes with the package."""

    name: str
    path: Path
    verb: str
    """`run` or `explore`: what it is for."""

    @property
    def text(self) -> str:
        """The file's text."""
        return self.path.read_text(encoding="utf-8")

    @property
    def shows(self) -> str:
        """What it shows, in one line."""
        if title := _TITLE.search(self.text):
            return title[1]
        sentence = _SENTENCE.match(self._comment())
        assert sentence is not None, f"{self.path} does not say what it shows"
        return sentence[1]

    @property
    def takes(self) -> str:
        """How long it takes: `about 2 s`."""
        takes = _TAKES.search(self._comment())
        assert takes is not None, f"{self.path} does not say how long it takes"
        return takes[1]

    def traces(self) -> dict[str, Path]:
        """Return the traces that it runs: each path as it is written, and the file."""
        return {match[1]: self._trace(match[1]) for match in _TRACE.finditer(self.text)}

    def _trace(self, written: str) -> Path:
        in_wheel = self.path.parent / "traces" / Path(written).name
        return in_wheel if in_wheel.is_file() else self.path.parent / written

    def _comment(self) -> str:
        """Return the comment at the top of the file as one line."""
        lines = []
        for line in self.text.splitlines():
            if not line.startswith("#"):
                break
            lines.append(line.removeprefix("#").strip())
        return " ".join(lines)


def all_examples() -> dict[str, Example]:
    """Return the examples by name: what is run first, then what is explored."""
    folder = next(folder for folder in _FOLDERS if folder.is_dir())
    by_verb = {"run": folder, "explore": folder / _RACES}
    return {
        path.stem: Example(name=path.stem, path=path, verb=verb)
        for verb, below in by_verb.items()
        for path in sorted(below.glob("*.yaml"))
    }


def example_called(name: str, place: str) -> Example:
    """Return the example of a name; raise UserError, at `place`, if there is none."""
    known = all_examples()
    if name in known:
        return known[name]
    raise UserError(
        Problem(
            place=Place(place),
            found=f"{name!r} is no example",
            legal=f"expected one of {', '.join(known)}",
            advice=did_you_mean(name, known, otherwise="see mmactors examples"),
        )
    )


def examples(
    name: Annotated[str | None, Parameter(help="Print this one.", show_default=False)] = None,
    *,
    json: Annotated[bool, Parameter(help="Print JSON.", negative="")] = False,
) -> int:
    """List the examples, or print one."""
    if name is not None:
        say(example_called(name, "mmactors examples").text)
        return 0
    known = all_examples().values()
    if json:
        rows = [
            {"name": each.name, "verb": each.verb, "shows": each.shows, "takes": each.takes}
            for each in known
        ]
        say_json(json_text.dumps(rows, indent=1) + "\n")
        return 0
    width = max(len(each.name) for each in known)
    verb = ""
    for each in known:
        if each.verb != verb:
            verb = each.verb
            say(f"For mmactors {verb}, after `mmactors new NAME --from EXAMPLE`:\n")
        say(f"  {each.name:{width}}  {each.takes:{_TAKES_WIDTH}}  {each.shows}\n")
    return 0
