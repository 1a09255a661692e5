"""The form of a JSON document, declared value by value, and all that is wrong with one.

A form checks a value that json has read; nothing is converted. `true` is no number and `7.0` is no
whole number. Every problem has the path of its value (`ops[3].ret`), what stands there, what may
stand there, and what to try; a parent goes on after a child's problem, up to PROBLEMS_MAX of a
file. Keys that a record does not know are left alone, since recorders add what they count, unless
one is all but the name of a key that is missing.
"""

import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Protocol

from attrs import define, field, frozen

from mmactors.errors import Place, Problem, UserError
from mmactors.validate.document import cut, describe
from mmactors.validate.limits import LINE_CHARS_MAX, NUMBER_MAX, NUMBER_MIN, PROBLEMS_MAX

_NEAR: Final = 0.85
"""How alike a key must be to one that is missing to be taken for it."""


@define(eq=False, kw_only=True)
class Problems:
    """What is wrong with one file, up to PROBLEMS_MAX."""

    path: Path
    advice: str
    """What to try where nothing better is known."""
    _found: list[Problem] = field(factory=list, init=False)
    _nr_left_out: int = field(default=0, init=False)

    def __bool__(self) -> bool:
        return bool(self._found)

    def add(self, found: str, legal: str, advice: str | None = None) -> None:
        """Remember a problem; `found` begins with the path of the value."""
        if len(self._found) == PROBLEMS_MAX:
            self._nr_left_out += 1
            return
        self._found.append(
            Problem(
                place=Place(str(self.path)),
                found=found,
                legal=f"expected {legal}",
                advice=advice or self.advice,
            )
        )

    def raise_any(self) -> None:
        """Raise UserError if there are any."""
        if self._nr_left_out:
            last = self._found[-1]
            self._found[-1] = Problem(
                place=last.place,
                found=f"{self._nr_left_out + 1} more problems",
                legal="expected none",
                advice="mend those above first",
            )
            self._nr_left_out = 0
        if self._found:
            raise UserError(self._found)


class Form(Protocol):
    """What may stand somewhere."""

    @property
    def legal(self) -> str:
        """What may stand there, for people."""

    def check(self, value: object, path: str, problems: Problems) -> None:
        """Add what is wrong with a value."""


def _refuse(form: Form, value: object, path: str, problems: Problems) -> None:
    problems.add(f"{path} is {describe(value)}", form.legal)


@frozen
class Whole:
    """A whole number."""

    minimum: int = NUMBER_MIN
    maximum: int = NUMBER_MAX

    @property
    def legal(self) -> str:
        """What may stand there, for people."""
        return f"a whole number from {self.minimum} to {self.maximum}"

    def check(self, value: object, path: str, problems: Problems) -> None:
        """Add what is wrong with a value."""
        if type(value) is not int or not self.minimum <= value <= self.maximum:
            _refuse(self, value, path, problems)


@frozen
class Truth:
    """`true` or `false`."""

    legal: str = "true or false"

    def check(self, value: object, path: str, problems: Problems) -> None:
        """Add what is wrong with a value."""
        if not isinstance(value, bool):
            _refuse(self, value, path, problems)


@frozen
class Text:
    """A text; with a pattern, one that matches it as a whole."""

    legal: str = "a text"
    pattern: "re.Pattern[str] | None" = None
    chars_max: int = LINE_CHARS_MAX

    def check(self, value: object, path: str, problems: Problems) -> None:
        """Add what is wrong with a value."""
        if not isinstance(value, str):
            _refuse(self, value, path, problems)
        elif len(value) > self.chars_max:
            found = f"{path} has {len(value)} characters"
            problems.add(found, f"{self.legal}, of at most {self.chars_max} characters")
        elif self.pattern is not None and self.pattern.fullmatch(value) is None:
            _refuse(self, value, path, problems)


@frozen
class Lines:
    """A text of which each line matches a pattern; the first line that does not is named."""

    legal: str
    pattern: "re.Pattern[str]"

    def check(self, value: object, path: str, problems: Problems) -> None:
        """Add what is wrong with a value."""
        if not isinstance(value, str):
            problems.add(f"{path} is {describe(value)}", f"lines, each {self.legal}")
            return
        for nth, line in enumerate(value.splitlines()):
            if len(line) > LINE_CHARS_MAX or self.pattern.fullmatch(line) is None:
                problems.add(f"{path}, line {nth}, is {cut(line)!r}", self.legal)
                return


@frozen
class ListOf:
    """A list of equal things."""

    item: Form
    minimum: int = 0
    maximum: int = NUMBER_MAX

    @property
    def legal(self) -> str:
        """What may stand there, for people."""
        if self.minimum == self.maximum:
            return f"a list of {self.minimum}, each {self.item.legal}"
        least = f" of at least {self.minimum}" if self.minimum else ""
        most = f" of at most {self.maximum}" if self.maximum < NUMBER_MAX else ""
        return f"a list{least}{' and' if least and most else ''}{most}, each {self.item.legal}"

    def check(self, value: object, path: str, problems: Problems) -> None:
        """Add what is wrong with a value."""
        if not isinstance(value, list) or not self.minimum <= len(value) <= self.maximum:
            _refuse(self, value, path, problems)
            return
        for nth, item in enumerate(value):
            self.item.check(item, f"{path}[{nth}]", problems)


@frozen
class Row:
    """A list of certain things, each in its place."""

    columns: Mapping[str, Form]

    @property
    def legal(self) -> str:
        """What may stand there, for people."""
        return f"[{', '.join(self.columns)}]"

    def check(self, value: object, path: str, problems: Problems) -> None:
        """Add what is wrong with a value."""
        if not isinstance(value, list) or len(value) != len(self.columns):
            _refuse(self, value, path, problems)
        else:
            for nth, form in enumerate(self.columns.values()):
                form.check(value[nth], f"{path}[{nth}]", problems)


@frozen
class TableOf:
    """An object whose keys are names of anything and whose values are alike."""

    value: Form

    @property
    def legal(self) -> str:
        """What may stand there, for people."""
        return f"an object, by name {self.value.legal}"

    def check(self, value: object, path: str, problems: Problems) -> None:
        """Add what is wrong with a value."""
        if not isinstance(value, dict):
            _refuse(self, value, path, problems)
            return
        for key, item in value.items():
            self.value.check(item, f"{path}.{cut(key)}", problems)


@frozen
class Record:
    """An object with known keys."""

    required: Mapping[str, Form]
    optional: Mapping[str, Form] = field(factory=dict)

    @property
    def legal(self) -> str:
        """What may stand there, for people."""
        keys = ", ".join(self.required or self.optional)
        return f"an object with {keys}"

    def check(self, value: object, path: str, problems: Problems) -> None:
        """Add what is wrong with a value."""
        if not isinstance(value, dict):
            problems.add(f"{path or 'the recording'} is {describe(value)}", self.legal)
            return
        known = {**self.required, **self.optional}
        missing = [key for key in known if key not in value]
        for key in missing:
            near = difflib.get_close_matches(key, value.keys() - known.keys(), 1, _NEAR)
            if key in self.required or near:
                found = f"{path or 'the recording'} has no {key}"
                advice = f"did you mean it by {cut(near[0])!r}?" if near else None
                problems.add(
                    found, self.required.get(key, self.optional.get(key, self)).legal, advice
                )
        for key, form in known.items():
            if key in value:
                form.check(value[key], f"{path}.{key}" if path else key, problems)


@frozen
class OrNull:
    """A form, or null."""

    form: Form

    @property
    def legal(self) -> str:
        """What may stand there, for people."""
        return f"{self.form.legal}, or null"

    def check(self, value: object, path: str, problems: Problems) -> None:
        """Add what is wrong with a value."""
        if value is not None:
            self.form.check(value, path, problems)


@frozen
class Either:
    """One of several forms, told apart by what kind of JSON value it is."""

    number: Form | None = None
    text: Form | None = None
    list_of: Form | None = None
    record: Form | None = None

    @property
    def legal(self) -> str:
        """What may stand there, for people."""
        forms = (self.number, self.text, self.list_of, self.record)
        return ", or ".join(form.legal for form in forms if form is not None)

    def check(self, value: object, path: str, problems: Problems) -> None:
        """Add what is wrong with a value."""
        form: Form | None = None
        match value:
            case bool():
                pass
            case int():
                form = self.number
            case str():
                form = self.text
            case list():
                form = self.list_of
            case dict():
                form = self.record
        if form is None:
            _refuse(self, value, path, problems)
        else:
            form.check(value, path, problems)
