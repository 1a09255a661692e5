"""Names out of files on a terminal: what controls it is written out instead of done."""


def plain(text: str) -> str:
    """Return a text of one line without control characters: each as Python's string has it."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
