"""How the arguments of an operation are written: kinds of words, reading and writing them.

An operation is a verb and its arguments: first those that stand at their place, then `key=value`
in any order, then bare words that switch something on. Each operation class declares its arguments
as attrs fields (`positional`, `keyword`, `switch`), and both directions follow from that: what is
read from a canonical text is written back as the same text.
"""

import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import IntFlag
from typing import Any, ClassVar, Final

import attrs
from attrs import evolve, frozen

from mmactors.left_out import LEGAL, LeftOut, left_out_called
from mmactors.option import OptionDoc
from mmactors.units import format_bytes, parse_ns
from mmactors.workload.operation.address import (
    NAME,
    NUMBER_MAX,
    RESERVED_NAMES,
    Address,
    parse_range,
    parse_size,
)

_ARGUMENT: Final = "mmactors.argument"
_TOKEN: Final = re.compile(r'"([^"]*)"|\S+')
_INTEGER: Final = re.compile(r"[+-]?(?:0x[0-9a-fA-F]{1,16}|[0-9]{1,20})")


class OperationError(Exception):
    """A text that is no operation, or an operation that cannot work where it stands.

    The scenario loader makes a Problem of it: it knows the file and the line. `column` counts from
    1 inside the operation's text; `index` is the operation's place in its program, from 0.
    """

    def __init__(
        self, found: str, legal: str, advice: str, *, column: int = 1, index: int | None = None
    ) -> None:
        self.found = found
        self.legal = legal
        self.advice = advice
        self.column = column
        self.index = index
        super().__init__(f"{found}; {legal} ({advice})")


def left_out_error(verb: str, left_out: LeftOut, *, column: int = 1) -> OperationError:
    """Return the error that says that an operation asks for what is left out."""
    return OperationError(f"{verb}: {left_out.found}", LEGAL, left_out.instead, column=column)


@frozen
class Token:
    """A word of an operation's text; what stands in double quotes is one word."""

    text: str
    column: int
    is_quoted: bool = False
    end: int = 0
    """Where it ends in the whole text, from 0."""


def tokens_of(text: str) -> list[Token]:
    """Return the words of a text."""
    return [
        Token(
            text=match[0] if match[1] is None else match[1],
            column=match.start() + 1,
            is_quoted=match[1] is not None,
            end=match.end(),
        )
        for match in _TOKEN.finditer(text)
    ]


@frozen
class Kind:
    """What a word may be: `read` raises ValueError for what it may not be."""

    symbol: str
    """How usage lines call it."""
    legal: str
    read: Callable[[str], Any]
    write: Callable[[Any], str]
    choices: tuple[str, ...] = ()


@frozen
class Argument:
    """One argument of an operation."""

    kind: Kind
    key: str | None = None
    """None: it stands at its place."""
    is_switch: bool = False
    """The bare word `key` switches it on."""
    is_rest: bool = False
    """It is the rest of the line, blanks included."""
    is_required: bool = True
    default: Any = None

    def usage(self) -> str:
        """Return how it is written, for people."""
        if self.is_switch:
            return f"[{self.key}]"
        if self.key is None:
            return self.kind.symbol if self.is_required else f"[{self.kind.symbol}]"
        text = f"{self.key}={self.kind.symbol}"
        return text if self.is_required else f"[{text}]"


def positional(kind: Kind, *, is_rest: bool = False, default: Any = attrs.NOTHING) -> Any:
    """Declare an argument that stands at its place.

    One with a default is left out when it has it: it is where as many words stand as have places.
    """
    is_required = default is attrs.NOTHING
    argument = Argument(kind, is_rest=is_rest, is_required=is_required, default=default)
    return attrs.field(default=default, metadata={_ARGUMENT: argument})


def keyword(key: str, kind: Kind, default: Any = attrs.NOTHING) -> Any:
    """Declare an argument written `key=value`; it is left out when it has its default."""
    argument = Argument(kind, key=key, is_required=default is attrs.NOTHING, default=default)
    return attrs.field(default=default, metadata={_ARGUMENT: argument})


def switch(word: str) -> Any:
    """Declare a flag: False unless the bare word stands there."""
    argument = Argument(WORD, key=word, is_switch=True, is_required=False, default=False)
    return attrs.field(default=False, metadata={_ARGUMENT: argument})


def arguments_of(cls: type[attrs.AttrsInstance]) -> dict[str, Argument]:
    """Return the declared arguments of an operation class, by field name."""
    return {
        field.name: field.metadata[_ARGUMENT]
        for field in attrs.fields(cls)
        if _ARGUMENT in field.metadata
    }


@frozen(kw_only=True)
class Written:
    """What all operations share: the verb, and the canonical text as `str`."""

    verb: ClassVar[str]

    def __str__(self) -> str:
        """Return the canonical text: parsed again it gives an equal operation."""
        return " ".join([self.verb, *write_arguments(self, arguments_of(type(self)))])


# Reading.


def close_match(word: str, choices: Iterable[str], otherwise: str) -> str:
    """Return the advice that names what was probably meant."""
    by_case = {choice.casefold(): choice for choice in choices}
    close = difflib.get_close_matches(word.casefold(), by_case, n=1)
    return f"did you mean {by_case[close[0]]!r}?" if close else otherwise


def usage(verb: str, arguments: Mapping[str, Argument]) -> str:
    """Return the usage line of an operation."""
    return " ".join([verb, *(argument.usage() for argument in arguments.values())])


def read_arguments(
    verb: str, arguments: Mapping[str, Argument], tokens: Sequence[Token], text: str
) -> dict[str, Any]:
    """Return the values of the arguments, by field name.

    Raises OperationError for words that are missing, wrong, unknown, or there twice.
    """
    line = usage(verb, arguments)
    places = _places(arguments, tokens)
    keys = {argument.key: name for name, argument in arguments.items() if argument.key is not None}
    values: dict[str, Any] = {}
    rest = list(tokens)
    while rest:
        token = rest.pop(0)
        key, equals, _ = token.text.partition("=")
        name = keys.get(key)
        if name is not None and not token.is_quoted and bool(equals) != arguments[name].is_switch:
            if name in values:
                raise OperationError(
                    f"{verb}: {key} stands there twice",
                    "expected it at most once",
                    f"write: {line}",
                    column=token.column,
                )
            token = _with_pages(arguments[name], token, rest)
            values[name] = True if not equals else _read(verb, key, arguments[name], token)
        elif places:
            name = places.pop(0)
            argument = arguments[name]
            if argument.is_rest:
                token = Token(text[token.column - 1 :].strip(), token.column)
                rest.clear()
            token = _with_pages(argument, token, rest)
            values[name] = _read(verb, name, argument, token)
        else:
            left_out = left_out_called(key)
            if left_out is not None:
                raise left_out_error(verb, left_out, column=token.column)
            raise OperationError(
                f"{verb}: {token.text!r} is not one of its arguments",
                f"expected {line}",
                close_match(key, keys, f"leave out {token.text!r}"),
                column=token.column,
            )
    missing = [
        name for name, argument in arguments.items() if name not in values and argument.is_required
    ]
    if missing:
        raise OperationError(
            f"{verb}: {arguments[missing[0]].key or missing[0]} is missing",
            arguments[missing[0]].kind.legal,
            f"write: {line}",
            column=len(text.rstrip()) + 1,
        )
    return values


def _places(arguments: Mapping[str, Argument], tokens: Sequence[Token]) -> list[str]:
    """Return the arguments that stand at their places: those that may be left out if there is room.

    A word with `=` stands at none, unless it is quoted; nor does a switch.
    """
    places = [name for name, argument in arguments.items() if argument.key is None]
    switches = {argument.key for argument in arguments.values() if argument.is_switch}
    nr_words = sum(
        token.is_quoted or ("=" not in token.text and token.text not in switches)
        for token in tokens
    )
    for name in reversed(places):
        if nr_words < len(places) and not arguments[name].is_required:
            places.remove(name)
    return places


def _with_pages(argument: Argument, token: Token, rest: list[Token]) -> Token:
    """Return a range's word joined with the pages that follow it."""
    if argument.kind is RANGE and rest and ".." in rest[0].text:
        return evolve(token, text=f"{token.text} {rest.pop(0).text}")
    return token


def _read(verb: str, name: str, argument: Argument, token: Token) -> Any:
    word, column = token.text, token.column
    if argument.key is not None:
        word = word.partition("=")[2]
        column += len(argument.key) + 1
    try:
        return argument.kind.read(word)
    except ValueError:
        kind = argument.kind
        wrong = next((part for part in word.split(",") if part not in kind.choices), word)
        left_out = left_out_called(wrong) if kind.choices else None
        if left_out is not None:
            raise left_out_error(verb, left_out, column=column) from None
        advice = close_match(wrong, kind.choices, f"write {kind.symbol} there")
        raise OperationError(
            f"{verb}: {name} is {word!r}", kind.legal, advice, column=column
        ) from None


# Writing.


def write_arguments(
    instance: attrs.AttrsInstance, arguments: Mapping[str, Argument]
) -> Iterable[str]:
    """Yield the words of an operation's arguments, those with their default left out."""
    for name, argument in arguments.items():
        value = getattr(instance, name)
        if argument.key is None:
            if argument.is_required or value != argument.default:
                yield argument.kind.write(value)
        elif value != argument.default:
            if argument.is_switch:
                yield argument.key
            else:
                yield f"{argument.key}={argument.kind.write(value)}"


# The kinds.


def _read_name(text: str) -> str:
    if NAME.fullmatch(text) is None or text in RESERVED_NAMES:
        raise ValueError(text)
    return text


def _read_text(text: str) -> str:
    if not text or '"' in text or not text.isprintable():
        raise ValueError(text)
    return text


def _write_word(text: str) -> str:
    # A word in quotes is never taken for key=value, nor cut at its blanks.
    return f'"{text}"' if re.search(r"[\s=]", text) else text


def _write_path(text: str) -> str:
    # A path such as `create` could be a switch.
    return f'"{text}"' if re.fullmatch(r"\w+", text) else _write_word(text)


def integer(minimum: int, maximum: int, symbol: str = "N") -> Kind:
    """Return the kind of whole numbers from minimum to maximum."""

    def read(text: str) -> int:
        if _INTEGER.fullmatch(text) is None:
            raise ValueError(text)
        value = int(text, 0)
        if not minimum <= value <= maximum:
            raise ValueError(text)
        return value

    return Kind(symbol, f"expected a whole number from {minimum} to {maximum}", read, str)


def size(minimum: int = 0, maximum: int = NUMBER_MAX, symbol: str = "SIZE") -> Kind:
    """Return the kind of sizes in bytes from minimum to maximum."""

    def read(text: str) -> int:
        value = parse_size(text)
        if not minimum <= value <= maximum:
            raise ValueError(text)
        return value

    limits = f"from {format_bytes(minimum)}" if minimum else ""
    if maximum != NUMBER_MAX:
        limits += f" to {format_bytes(maximum)}"
    legal = f"expected a size such as 4096, 64K, 2M, 0x1000 {limits}".rstrip()
    return Kind(symbol, legal, read, format_bytes)


def _read_change(text: str) -> int:
    if text[:1] == "-":
        return -parse_size(text[1:])
    return parse_size(text.removeprefix("+"))


def _write_change(value: int) -> str:
    return f"{'+' if value > 0 else '-'}{format_bytes(abs(value))}" if value else "0"


def choice(*choices: str, symbol: str | None = None) -> Kind:
    """Return the kind of words out of a few."""

    def read(text: str) -> str:
        if text not in choices:
            raise ValueError(text)
        return text

    legal = f"expected one of {', '.join(choices)}"
    return Kind(symbol or "|".join(choices), legal, read, str, choices)


def flags(enum: type[IntFlag], words: Mapping[str, IntFlag]) -> Kind:
    """Return the kind of flag names with commas between; `none` is no flag."""

    def read(text: str) -> IntFlag:
        value = enum(0)
        if text == "none":
            return value
        for word in text.split(","):
            if word not in words:
                raise ValueError(text)
            value |= words[word]
        return value

    def write(value: IntFlag) -> str:
        return ",".join(word for word, flag in words.items() if flag in value) or "none"

    legal = f"expected some of {', '.join(words)} with commas between, or none"
    return Kind("FLAG,...", legal, read, write, (*words, "none"))


def of_option(doc: OptionDoc) -> Kind:
    """Return the kind of the values of an option."""
    if doc.choices is not None:
        return choice(*doc.choices)
    minimum = 0 if doc.minimum is None else doc.minimum
    maximum = NUMBER_MAX if doc.maximum is None else doc.maximum
    return size(minimum, maximum) if doc.unit == "bytes" else integer(minimum, maximum)


_NAME_LEGAL: Final = (
    f"expected a name of letters, digits and _, other than {' and '.join(RESERVED_NAMES)}"
)
NAME_WORD: Final = Kind("NAME", _NAME_LEGAL, _read_name, str)
FILE: Final = evolve(NAME_WORD, symbol="FILE")
RANGE: Final = Kind(
    "RANGE",
    "expected a range: NAME, NAME FIRST..END (pages), or @ADDRESS:SIZE",
    parse_range,
    str,
)
ADDRESS: Final = Kind(
    "ADDRESS",
    "expected an address: 0x7d00000000, NAME, brk or stack, with +SIZE or -SIZE",
    Address.parse,
    str,
)
SIZE: Final = size()
CHANGE: Final = Kind("+SIZE|-SIZE|0", "expected +SIZE, -SIZE or 0", _read_change, _write_change)
PATH: Final = Kind(
    "PATH", 'expected a path, in "double quotes" if it has blanks', _read_text, _write_path
)
WORD: Final = Kind("WORD", "expected a word", _read_text, _write_word)
REST: Final = Kind("VALUE", "expected the text to write", _read_text, str)


def _read_ns(text: str) -> int:
    value = parse_ns(text)
    if value > _NS_MAX:
        raise ValueError(text)
    return value


def _write_ns(value: int) -> str:
    return f"{value}ns"


_NS_MAX: Final = (1 << 62) - 1
TIME: Final = Kind("TIME", "expected a time such as 250ns, 3us, 20ms", _read_ns, _write_ns)
