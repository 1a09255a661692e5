"""The shortest document that still goes wrong in the same way."""

from copy import deepcopy


def reduce(document, still_fails, *, tries_max=400):
    """Return a document from which nothing can be left out, as far as `tries_max` tries go.

    `still_fails` says whether a smaller document has the failure that the first one has.
    """
    tries = 0
    is_smaller = True
    while is_smaller:
        is_smaller = False
        for change in _changes(document):
            if tries == tries_max:
                return document
            candidate = change(deepcopy(document))
            if not candidate or candidate == document:
                continue
            tries += 1
            if still_fails(candidate):
                document, is_smaller = candidate, True
                break
    return document


def _changes(document):
    """Yield what may make a document smaller, the largest steps first."""
    for index in range(len(document["processes"])):
        yield lambda d, index=index: _drop(d["processes"], index) and d
    for key in [key for key in document if key != "processes"]:
        yield lambda d, key=key: _drop(d, key) and d
    for nth, process in enumerate(document["processes"]):
        length = len(process["program"])
        step = max(1, length // 2)
        while step:
            for first in range(0, length, step):
                yield lambda d, nth=nth, first=first, step=step: _cut(d, nth, first, step)
            step //= 2
        for key in [key for key in process if key not in ("name", "program")]:
            yield lambda d, nth=nth, key=key: _drop(d["processes"][nth], key) and d
    yield from _option_changes(document, ())
    for nth, process in enumerate(document["processes"]):
        for index, text in enumerate(process["program"]):
            for shorter in _shorter(text):
                yield lambda d, nth=nth, index=index, shorter=shorter: _replace(
                    d, nth, index, shorter
                )


def _option_changes(document, path):
    for key, value in _at(document, path).items():
        if not path and key == "processes":
            continue
        if path:
            yield lambda d, path=path, key=key: _drop(_at(d, path), key) and d
        if isinstance(value, dict):
            yield from _option_changes(document, (*path, key))
        elif isinstance(value, list):
            for index in range(len(value)):
                yield (
                    lambda d, path=path, key=key, index=index: _drop(_at(d, path)[key], index) and d
                )


def _at(document, path):
    for key in path:
        document = document[key]
    return document


def _drop(container, key):
    if len(container) == 1:
        return False
    del container[key]
    return True


def _cut(document, nth, first, step):
    program = document["processes"][nth]["program"]
    del program[first : first + step]
    return document if program else None


def _replace(document, nth, index, text):
    document["processes"][nth]["program"][index] = text
    return document


def _shorter(text):
    """Yield simpler texts of an operation: without an option, done by P0, smaller numbers."""
    words = text.split()
    if words[0].endswith((":", "&")):
        yield " ".join(words[1:])
        if words[0].endswith("&"):
            yield text.replace("&", ":", 1)
    for index in range(2, len(words)):
        yield " ".join(words[:index] + words[index + 1 :])
    for index in range(1, len(words)):
        head, equals, value = words[index].rpartition("=")
        parts = value.split(",")
        options = [",".join(parts[:at] + parts[at + 1 :]) for at in range(len(parts))]
        if value.isdigit():
            number = int(value)
            options = [str(n) for n in (1, 4096, 8192, number // 2) if 0 < n < number]
        for option in options:
            if option:
                yield " ".join([*words[:index], f"{head}{equals}{option}", *words[index + 1 :]])
