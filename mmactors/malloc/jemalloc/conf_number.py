"""Numbers in MALLOC_CONF, as jemalloc 5.3.0 reads them (malloc_strtoumax, fxp_parse)."""

from typing import Final

from attrs import frozen

SSIZE_MAX: Final = (1 << 63) - 1
SIZE_MOST: Final = (1 << 64) - 1
_BLANKS: Final = "\t\n\v\f\r "
_DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"
_POINT: Final = 16
"""Bits behind the point of a fixed-point number."""
_FRACTION_DIGITS: Final = 14


@frozen
class Sizes:
    """What is set for sizes from one to another."""

    first: int
    last: int
    number: int


def _begins_with(text: str) -> tuple[int, int] | None:
    """Return the number that a text begins with, 64 bits without sign, and where it ends.

    None: it begins with none, or with one that is too large. Not each of those is noticed: only if
    the number of 64 bits is less than it was a digit before.
    """
    place = len(text) - len(text.lstrip(_BLANKS))
    is_negative = text[place : place + 1] == "-"
    place += text[place : place + 1] in {"-", "+"} and place < len(text)
    base = 10
    if text[place : place + 1] == "0":
        behind = text[place + 1 : place + 2].lower()
        if behind == "x" and text[place + 2 : place + 3].lower() in tuple(_DIGITS[:16]):
            base = 16
            place += 2
        elif behind in tuple(_DIGITS[:8]):
            base = 8
            place += 1
        elif behind != "x":
            return 0, place + 1
    begin, number = place, 0
    while text[place : place + 1].lower() in tuple(_DIGITS[:base]):
        before = number
        number = number * base + _DIGITS.index(text[place].lower()) & SIZE_MOST
        if number < before:
            return None
        place += 1
    if place == begin:
        return None
    return (-number & SIZE_MOST if is_negative else number), place


def number_of(text: str, *, is_signed: bool = False) -> int | None:
    """Return what a text says, all of which must be the number; None: it is none."""
    found = _begins_with(text)
    if found is None or found[1] != len(text):
        return None
    number = found[0]
    return number - SIZE_MOST - 1 if is_signed and number > SSIZE_MAX else number


def fixed_point_of(text: str) -> int | None:
    """Return a decimal number in 65536ths; None: it is none, or too large."""
    whole, point, fraction = text.partition(".")
    digits = whole + fraction
    if not digits.isascii() or not digits.isdigit() or bool(point) != bool(fraction):
        return None
    integer = int(whole or "0")
    if integer >= 1 << _POINT:
        return None
    kept = int(fraction[:_FRACTION_DIGITS].ljust(_FRACTION_DIGITS, "0"))
    return (integer << _POINT) + (kept << _POINT) // 10**_FRACTION_DIGITS


def sizes_of(text: str) -> tuple[list[Sizes], bool]:
    """Return what stands in FIRST-LAST:NUMBER|..., and whether all of it could be read.

    What comes before a mistake counts (malloc_conf_multi_sizes_next).
    """
    segments: list[Sizes] = []
    while True:
        numbers = []
        for mark in ("-", ":", ""):
            found = _begins_with(text)
            if found is None or not text[found[1] :].startswith(mark):
                return segments, False
            numbers.append(found[0])
            text = text[found[1] + len(mark) :]
        segments.append(Sizes(*numbers))
        text = text.removeprefix("|")
        if not text:
            return segments, True
