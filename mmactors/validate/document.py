"""A recording as a JSON object: read within limits, each error with its place.

What comes out of `read_object` is an object of at most DEPTH_MAX levels, whose texts can be written
in UTF-8 and whose numbers have 64 bits; no key stood twice. What the fields mean is up to the
topic's form (validate/form.py).
"""

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NoReturn

from mmactors.errors import Place, Problem, UserError
from mmactors.validate.limits import (
    DEPTH_MAX,
    DOCUMENT_BYTES_MAX,
    NUMBER_MAX,
    NUMBER_MIN,
    PROBLEMS_MAX,
    TEXT_CHARS_MAX,
    VALUES_MAX,
)

_JSON: Final = "expected a recording as one JSON object, plain or gzip"
_FETCH: Final = "fetch the file again, or record it again"


def read_object(path: Path) -> dict[str, Any]:
    """Return the JSON object of a file, which is gzip if it is called `.gz`.

    Raises UserError for anything else, and for what exceeds a limit of validate/limits.py.
    """
    return object_of(path, _read(path, DOCUMENT_BYTES_MAX + 1))


def object_of(path: Path, data: bytes) -> dict[str, Any]:
    """Return the JSON object that stands in a file as these bytes; raise as `read_object` does."""
    text = _text_of(path, data)
    try:
        content = json.loads(
            text, object_pairs_hook=_object_of_pairs, parse_constant=_refuse_constant
        )
    except _NotAllowedError as error:
        raise _bad(path, error.found, error.legal) from None
    except json.JSONDecodeError as error:
        raise _bad(path, f"this is not JSON: {error.msg}", _JSON, error) from None
    except ValueError:
        legal = f"expected numbers from {NUMBER_MIN} to {NUMBER_MAX}"
        raise _bad(path, "a number has thousands of digits", legal) from None
    except RecursionError:
        raise _too_deep(path) from None
    if not isinstance(content, dict):
        raise _bad(path, f"this is JSON, but {describe(content)}", _JSON)
    problems = list(_value_problems(path, content))
    if problems:
        raise UserError(problems)
    return content


def read_head(path: Path, nr_bytes: int) -> bytes:
    """Return the first bytes of a document; raise UserError if it cannot be read."""
    return _read(path, nr_bytes)


def describe(value: object) -> str:
    """Return what a JSON value is, for the message of an error; never long."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return cut(str(value))
        case str():
            return f"the text {cut(value)!r}"
        case list():
            return f"a list of {len(value)}"
        case dict() if value:
            return f"an object with {cut(', '.join(map(repr, list(value)[:4])))}"
        case _:
            return "an object without keys"


def cut(text: str) -> str:
    """Return a text, or its beginning if it is long."""
    return text if len(text) <= 60 else text[:57] + "..."


class _NotAllowedError(Exception):
    """JSON that could be read, but says a thing twice or no number."""

    def __init__(self, found: str, legal: str) -> None:
        self.found = found
        self.legal = legal
        super().__init__(found)


def _object_of_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    known = dict(pairs)
    if len(known) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _NotAllowedError(f"the key {cut(key)!r} a second time", "expected it once")
            seen.add(key)
    return known


def _refuse_constant(name: str) -> NoReturn:
    raise _NotAllowedError(f"{name} is no number of JSON", "expected a number")


def _text_of(path: Path, data: bytes) -> str:
    if len(data) > DOCUMENT_BYTES_MAX:
        raise _bad(
            path,
            f"more than {DOCUMENT_BYTES_MAX} bytes, unpacked",
            f"expected at most {DOCUMENT_BYTES_MAX}, twenty times the largest recording",
        )
    nr_values = sum(map(data.count, (b",", b"[", b"{")))
    if nr_values > VALUES_MAX:
        raise _bad(path, f"up to {nr_values} values", f"expected at most {VALUES_MAX}")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        found = f"the byte 0x{data[error.start]:02x} at {error.start} is not UTF-8"
        raise _bad(path, found, _JSON) from None


def _read(path: Path, nr_bytes: int) -> bytes:
    """Return at most so many bytes of a file, unpacked."""
    try:
        if not path.is_file():
            # A pipe would be waited for, a device would never end.
            what = "no regular file" if path.exists() else "no such file"
            raise _bad(path, what, _JSON)
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            return file.read(nr_bytes)
    except (OSError, EOFError, zlib.error, ValueError) as error:  # ValueError: a NUL in the name
        what = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise _bad(path, f"the file cannot be read: {what}", _JSON) from None


def _value_problems(path: Path, content: object) -> Iterator[Problem]:
    """Yield what no recording has anywhere; keep to the first ones."""
    nr_problems = 0
    rest: list[tuple[str, object, int]] = [("", content, 1)]
    while rest and nr_problems < PROBLEMS_MAX:
        name, value, depth = rest.pop()
        problem = None
        match value:
            case str():
                problem = _text_problem(value)
            case bool() | None:
                pass
            case int() if not NUMBER_MIN <= value <= NUMBER_MAX:
                problem = f"is {describe(value)}", f"{NUMBER_MIN} to {NUMBER_MAX}"
            case list() | dict() if depth > DEPTH_MAX:
                raise _too_deep(path)
            case list():
                rest += [
                    (f"{name}[{nth}]", each, depth + 1)
                    for nth, each in enumerate(value)
                    if type(each) is not int or not 0 <= each <= NUMBER_MAX
                ]
            case dict():
                for key, each in value.items():
                    if _text_problem(key) is not None:
                        problem = f"has the key {cut(key)!r}", "keys that can be written in UTF-8"
                        break
                    rest.append((f"{name}.{cut(key)}" if name else cut(key), each, depth + 1))
        if problem is not None:
            nr_problems += 1
            found, legal = problem
            yield _problem(path, f"{cut(name) or 'the recording'} {found}", f"expected {legal}")


def _text_problem(text: str) -> tuple[str, str] | None:
    if len(text) > TEXT_CHARS_MAX:
        return f"has {len(text)} characters", f"at most {TEXT_CHARS_MAX}"
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            return f"is {describe(text)}", "a text that can be written in UTF-8"
    return None


def _too_deep(path: Path) -> UserError:
    return _bad(path, "nested too deeply", f"expected at most {DEPTH_MAX} levels")


def _bad(
    path: Path, found: str, legal: str, where: json.JSONDecodeError | None = None
) -> UserError:
    return UserError(_problem(path, found, legal, where))


def _problem(
    path: Path, found: str, legal: str, where: json.JSONDecodeError | None = None
) -> Problem:
    place = Place(str(path)) if where is None else Place(str(path), where.lineno, where.colno)
    return Problem(place=place, found=found, legal=legal, advice=_FETCH)
