"""Numbers as people write them: what a text means, and what it may have been meant as.

Whole numbers are those of YAML 1.2's core schema; sizes and times have units (units.py). What is
written otherwise means nothing, but an advice names the same number as it may be written.
"""

import re
from collections.abc import Callable, Mapping
from typing import Final

from mmactors.option import OptionDoc
from mmactors.units import GIB, KIB, MIB, MS, SECOND, TIB, US, format_bytes, parse_bytes, parse_ns

INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
"""Whole numbers of YAML 1.2's core schema (10.3.2)."""
_INT_BASES: Final = {"0o": 8, "0x": 16}
_NUMBER_LENGTH_MAX: Final = 40
INT_MAX: Final = (1 << 63) - 1
UNIT_PARSERS: Final[Mapping[str, Callable[[str], int]]] = {"bytes": parse_bytes, "ns": parse_ns}
_UNIT_EXAMPLES: Final[Mapping[str | None, str]] = {"bytes": "64M", "ns": "250us"}
_SCALES: Final[Mapping[str | None, Mapping[str, int]]] = {
    "bytes": {
        f"{letter}{rest}": size
        for letter, size in (("", 1), ("k", KIB), ("m", MIB), ("g", GIB), ("t", TIB))
        for rest in ("", "b", "ib")
        if letter or rest != "ib"
    },
    "ns": {"": 1, "ns": 1, "us": US, "ms": MS, "s": SECOND},
}
_ELSEWHERE: Final = re.compile(
    r"(?P<whole>\d[\d_]*)(?:\.(?P<decimals>[\d_]+))?(?:[eE](?P<exponent>[+-]?\d{1,2}))?"
    r"(?P<gap>\s*)(?P<suffix>[A-Za-z]*)",
    re.ASCII,
)


def plain_int(text: str) -> int | None:
    """Return the whole number that a text of YAML is; None: it is none."""
    if len(text) > _NUMBER_LENGTH_MAX or not INT.fullmatch(text):
        return None
    return int(text, _INT_BASES.get(text[:2], 10))


def unit_advice(doc: OptionDoc, text: str) -> str:
    """Return what was probably meant: the same number as it may be written, never another."""
    meant = _meant(doc.unit, text.strip()) if len(text) <= _NUMBER_LENGTH_MAX else None
    if meant is not None and abs(meant) <= INT_MAX:
        return f"did you mean {format_bytes(meant) if doc.unit == 'bytes' else meant}?"
    example = _UNIT_EXAMPLES.get(doc.unit)
    return f"write it like {example}" if example else "write a whole number"


def _meant(unit: str | None, text: str) -> int | None:
    """Return the whole number that a text means elsewhere: 0b101, 1_000, 1e3, 1.5G, 64mb."""
    try:
        return int(text, 0)
    except ValueError:
        pass
    match = _ELSEWHERE.fullmatch(text)
    if match is None:
        return None
    suffix = match["suffix"].lower()
    scale = 1
    if unit in UNIT_PARSERS:
        scale = _SCALES[unit].get(suffix, 0)
    elif suffix and not match["gap"]:
        return None  # 12 seeds, but not 12K of them.
    decimals = match["decimals"] or ""
    digits = int((match["whole"] + decimals).replace("_", "")) * scale
    exponent = int(match["exponent"] or 0) - len(decimals.replace("_", ""))
    if exponent >= 0:
        return digits * 10**exponent or None
    return digits // 10**-exponent if digits and digits % 10**-exponent == 0 else None
