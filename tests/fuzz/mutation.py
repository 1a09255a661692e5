"""Mutations of a file, drawn from a seed: bits, bytes, pieces, numbers, and words that hurt."""

import random
import re

WORDS = (
    b"\x00", b"\n", b"\r", b"\x1b[2J", b"\x7f", b"\xff\xfe", b"\xed\xa0\x80", "\u202e".encode(),
    "\x9b31m".encode(), "\u2028".encode(), b"-1", b"0", b"1e308", b"1e999", b"NaN", b"Infinity",
    b"true", b"null", b"[]", b"{}", b'""', b"[[[[[[[[", b"{a: {a: {a: ", b"&a [*a, *a]", b"*a",
    b"<<: ", b"!!python/object:os.system ", b"? ", b"- - - ", b"|\n", b">-\n", b"'", b'"', b"#",
    b"%YAML 9.9\n", b"---\n", b"...\n", b"\t", b"9" * 30, b"9" * 5_000, b"x" * 3_000,
    b"0x" + b"f" * 17, b"9223372036854775807", b"9223372036854775808", b"18446744073709551615",
    b"18446744073709551616", b"-9223372036854775809", b"../", b"/dev/zero", b"/proc/kmsg",
)  # fmt: skip
_NUMBER = re.compile(rb"\d+")
_PIECE_MAX = 64


def mutated(data: bytes, others: list[bytes], draw: random.Random) -> bytes:
    """Return a file with one to six mutations; pieces may come from other files."""
    for _ in range(draw.choice((1, 1, 2, 3, 6))):
        data = _once(data, others, draw)
    return data


def _once(data: bytes, others: list[bytes], draw: random.Random) -> bytes:
    at = draw.randrange(len(data) + 1)
    end = min(len(data), at + draw.randrange(1, _PIECE_MAX))
    match draw.randrange(10):
        case 0:  # A bit.
            if at < len(data):
                flipped = data[at] ^ (1 << draw.randrange(8))
                return data[:at] + bytes([flipped]) + data[at + 1 :]
        case 1:
            return data[:at]
        case 2:
            return data[:at] + data[end:]
        case 3:
            return data[:end] + data[at:end] * draw.randrange(1, 5) + data[end:]
        case 4:
            return data[:at] + draw.randbytes(draw.randrange(1, 9)) + data[at:]
        case 5 | 6:
            return data[:at] + draw.choice(WORDS) + data[draw.choice((at, end)) :]
        case 7:
            numbers = list(_NUMBER.finditer(data))
            if numbers:
                number = draw.choice(numbers)
                return data[: number.start()] + draw.choice(WORDS) + data[number.end() :]
        case 8:
            other = draw.choice(others)
            start = draw.randrange(len(other) + 1)
            return data[:at] + other[start : start + _PIECE_MAX] + data[end:]
        case 9:  # Two lines change places.
            lines = data.split(b"\n")
            one, two = draw.randrange(len(lines)), draw.randrange(len(lines))
            lines[one], lines[two] = lines[two], lines[one]
            return b"\n".join(lines)
    return data
