"""Texts out of files on a terminal: what controls it is written out instead of done.

Control characters, ESC and C1, bidirectional overrides, ends of lines, surrogates, and whatever
else Unicode calls unprintable. What is written to files stays as it is.
"""

import re
from typing import Final

_OF_A_LINE: Final = re.compile(r"[^\n\t]+")


def plain(text: str) -> str:
    """Return a text of one line without control characters: each as Python's string has it."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def plain_lines(text: str) -> str:
    """Return a text whose ends of lines and tabs are meant; the rest as `plain` does."""
    if text.isprintable():
        return text
    return _OF_A_LINE.sub(lambda match: plain(match[0]), text)


def plain_json(text: str) -> str:
    """Return lines of JSON that mean the same, without control characters.

    Within JSON only strings hold others than ASCII; between values only blanks stand.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char == "\n" else _in_json(char) for char in text)


def _in_json(char: str) -> str:
    if char < " ":
        return " "
    units = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))


def cut(text: str, length: int) -> str:
    """Return a text of at most about `length` characters: its beginning and its end."""
    if len(text) <= length:
        return text
    part = length // 2
    return f"{text[:part]}... ({len(text):,} characters) ...{text[-part:]}"
