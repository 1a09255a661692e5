"""Recordings that a test has damaged, and what a validator makes of them."""

import gzip
import json

import numpy as np
import pytest

from mmactors.errors import UserError


def changed(tmp_path, text, change):
    """Write a recording that `change` has damaged."""
    content = json.loads(text)
    change(content)
    path = tmp_path / "damaged.json"
    path.write_text(json.dumps(content))
    return path


def problems_of(validate, path):
    """Return what is found in a recording that is refused; each problem has four parts."""
    with pytest.raises(UserError) as caught:
        list(validate(path))
    for problem in caught.value.problems:
        assert all((problem.place.file, problem.found, problem.legal, problem.advice))
    return [problem.found for problem in caught.value.problems]


def judged(validate, path):
    """Return the results of a recording, or what is wrong with it."""
    try:
        return list(validate(path))
    except UserError as error:
        return error.problems


def places_in(value, *, nr_items=None, kind=object, path=()):
    """Yield where values of a kind stand, of each list in its first `nr_items`."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from places_in(inner, nr_items=nr_items, kind=kind, path=(*path, key))
    elif isinstance(value, list):
        for nth, inner in enumerate(value[:nr_items]):
            yield from places_in(inner, nr_items=nr_items, kind=kind, path=(*path, nth))
    elif isinstance(value, kind):
        yield path


def put(place, value):
    """Return what puts a value into a place of a recording."""

    def damage(content):
        for key in place[:-1]:
            content = content[key]
        content[place[-1]] = value

    return damage


def unreadable(text):
    """Return by name what is no recording, though a file of that name may be one."""
    return {
        "cut.json.gz": gzip.compress(text.encode())[:1000],
        "cut.json": text[:500].encode(),
        "plain.json.gz": text.encode(),
        "empty.json": b"",
        "bytes.json": b"\xff\xfe\x00",
        "list.json": b"[]",
    }


def changed_archive(tmp_path, source, change):
    """Write an archive of arrays that `change` has damaged; it is given them by name."""
    with np.load(source) as archive:
        arrays = dict(archive)
    change(arrays)
    path = tmp_path / "damaged.npz"
    np.savez(path, **arrays)
    return path


def with_json(member, change):
    """Return what lets `change` damage the JSON object that stands in an array."""

    def damage(arrays):
        content = json.loads(arrays[member].tobytes())
        change(content)
        arrays[member] = np.frombuffer(json.dumps(content).encode(), np.uint8)

    return damage
