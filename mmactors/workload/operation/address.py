"""Addresses and ranges as operations write them: expressions, resolved when the operation runs.

`A`, `A+64K`, `stack-2M`, `brk`, `0x7d00000000` are addresses; `A`, `A 3..7`, `@EXPR:LEN` ranges.
A name stands for what `mmap`, `mremap`, `heap` or `alias` bound it to; `brk` is the program break,
`stack` the page-aligned top of the stack.
"""

import re
from collections.abc import Mapping
from typing import Final

from attrs import frozen

from mmactors.units import PAGE_SHIFT, format_bytes, parse_bytes

NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
RESERVED_NAMES: Final = ("brk", "stack")
NUMBER_MAX: Final = (1 << 64) - 1

_ADDRESS: Final = re.compile(
    r"(?:(?P<number>0[xX][0-9a-fA-F]{1,16})|(?P<name>[A-Za-z_][A-Za-z0-9_]*))"
    r"(?:(?P<sign>[+-])(?P<offset>\w+))?"
)
_PAGES: Final = re.compile(r"(\d{1,16})\.\.(\d{1,16})")

Bindings = Mapping[str, tuple[int, int]]
"""What the names mean: (address, bytes). `brk` and `stack` are names like others, with 0 bytes."""


def parse_size(text: str) -> int:
    """Return a number of bytes below 2**64; ValueError for anything else."""
    value = parse_bytes(text)
    if value > NUMBER_MAX:
        raise ValueError(f"{text!r} does not fit 64 bits")
    return value


@frozen
class Address:
    """A number (`base` is None) or a name, plus a number of bytes that may be negative."""

    base: str | None
    offset: int = 0

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Return the address `text` means; ValueError if it means none."""
        match = _ADDRESS.fullmatch(text)
        if match is None:
            raise ValueError(f"{text!r} is not an address")
        offset = parse_size(match["offset"]) if match["offset"] else 0
        if match["sign"] == "-":
            offset = -offset
        if match["number"]:
            number = int(match["number"], 16) + offset
            if not 0 <= number <= NUMBER_MAX:
                raise ValueError(f"{text!r} is outside 64 bits")
            return cls(None, number)
        return cls(match["name"], offset)

    def __str__(self) -> str:
        if self.base is None:
            return f"{self.offset:#x}"
        if self.offset == 0:
            return self.base
        return f"{self.base}{'-' if self.offset < 0 else '+'}{format_bytes(abs(self.offset))}"

    def resolve(self, bindings: Bindings) -> int | None:
        """Return the address, in 64 bits, or None if the name was never bound."""
        if self.base is None:
            return self.offset
        bound = bindings.get(self.base)
        return None if bound is None else (bound[0] + self.offset) & NUMBER_MAX


@frozen
class Region:
    """All of a named range, or its pages first..end-1, which may lie outside it."""

    name: str
    pages: tuple[int, int] | None = None

    @classmethod
    def parse(cls, text: str) -> "Region":
        """Return the region that `A` or `A 3..7` means; ValueError if neither."""
        name, _, pages = text.partition(" ")
        if NAME.fullmatch(name) is None or name in RESERVED_NAMES:
            raise ValueError(f"{name!r} is not the name of a region")
        if not pages:
            return cls(name)
        match = _PAGES.fullmatch(pages)
        if match is None:
            raise ValueError(f"{pages!r} is not a range of pages")
        return cls(name, (int(match[1]), int(match[2])))

    def __str__(self) -> str:
        return self.name if self.pages is None else f"{self.name} {self.pages[0]}..{self.pages[1]}"

    def resolve(self, bindings: Bindings) -> tuple[int, int] | None:
        """Return (address, bytes), or None if the name was never bound."""
        bound = bindings.get(self.name)
        if bound is None or self.pages is None:
            return bound
        first, end = self.pages
        start = bound[0] + (first << PAGE_SHIFT)
        return start & NUMBER_MAX, ((end - first) << PAGE_SHIFT) & NUMBER_MAX


@frozen
class Span:
    """A literal range, `@EXPR:LEN`."""

    address: Address
    length: int

    @classmethod
    def parse(cls, text: str) -> "Span":
        """Return the range that `@EXPR:LEN` means; ValueError if none."""
        address, colon, length = text.removeprefix("@").partition(":")
        if not colon or not text.startswith("@"):
            raise ValueError(f"{text!r} is not a range")
        return cls(Address.parse(address), parse_size(length))

    def __str__(self) -> str:
        return f"@{self.address}:{format_bytes(self.length)}"

    def resolve(self, bindings: Bindings) -> tuple[int, int] | None:
        """Return (address, bytes), or None if the name was never bound."""
        address = self.address.resolve(bindings)
        return None if address is None else (address, self.length)


Range = Region | Span


def parse_range(text: str) -> Range:
    """Return the range that `A`, `A 3..7` or `@EXPR:LEN` means; ValueError if none."""
    return Span.parse(text) if text.startswith("@") else Region.parse(text)
