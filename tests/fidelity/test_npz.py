"""Recorded traces in numpy archives: what is read is what was recorded."""

import json
from pathlib import Path

import numpy as np
import pytest

from mmactors.arch.trace import FETCH, KIND_MASK, SIZE_SHIFT
from mmactors.errors import UserError
from mmactors.workload.trace.npz import read_npz, read_npz_chunks

TRACES = Path(__file__).parents[1] / "reference" / "traces"


def as_the_readme_says(path):
    archive = np.load(path)
    kind, size = archive["kind"], archive["size"]
    is_fetch = kind == FETCH
    before = np.concatenate([[0], size[is_fetch][:-1].astype(np.int64)])
    address = np.zeros(len(kind), np.int64)
    address[is_fetch] = np.cumsum(archive["di"] + before)
    address[~is_fetch] = np.cumsum(archive["dd"])
    return kind, size, address


@pytest.mark.parametrize("name", ["true", "matmul_avx2", "unaligned"])
def test_a_recorded_trace_has_the_accesses_of_its_readme(name):
    """Kinds, sizes and addresses follow from the arrays as the README of the traces says."""
    kind, size, address = as_the_readme_says(TRACES / f"{name}.npz")

    trace = read_npz(TRACES / f"{name}.npz")

    assert address.tolist() == trace.address.tolist()
    assert kind.tolist() == (trace.meta & KIND_MASK).tolist()
    assert size.tolist() == (trace.meta >> SIZE_SHIFT).tolist()


@pytest.mark.parametrize("name", ["true", "list_chase"])
def test_the_counts_are_those_beside_the_trace(name):
    """The JSON beside a trace counts the same accesses of each kind."""
    counts = json.loads((TRACES / f"{name}.json").read_text())["counts"]

    trace = read_npz(TRACES / f"{name}.npz")

    found = np.bincount(trace.meta & KIND_MASK, minlength=4).tolist()
    assert [counts[kind] for kind in "ILSM"] == found


def test_chunks_of_any_size_are_the_whole_trace():
    """Where a chunk ends does not show in the addresses."""
    path = TRACES / "true.npz"
    whole = read_npz(path)

    chunks = list(read_npz_chunks(path, chunk_rows=4099))

    assert whole.address.tolist() == np.concatenate([c.address for c in chunks]).tolist()
    assert max(map(len, chunks)) == 4099


def test_a_limit_keeps_the_first_accesses():
    """A limit gives exactly as many accesses."""
    path = TRACES / "true.npz"

    assert read_npz(path).address[:1234].tolist() == read_npz(path, limit=1234).address.tolist()


def arrays(**changes):
    values = {
        "kind": np.array([0, 1, 0], np.uint8),
        "size": np.array([3, 8, 1], np.uint16),
        "di": np.array([0x1000, 0], np.int64),
        "dd": np.array([0x2000], np.int64),
    }
    return {name: value for name, value in {**values, **changes}.items() if value is not None}


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"dd": None}, "no array dd"),
        ({"kind": np.array([0, 1, 7], np.uint8)}, "has only 1 entries"),
        ({"kind": np.array([0, 7, 0], np.uint8)}, "access 1 is of kind 7"),
        ({"size": np.array([3, 0, 1], np.uint16)}, "access 1 has the size 0"),
        ({"size": np.array([3, 8], np.uint16)}, "kind has 3 entries, size has 2"),
        ({"size": np.array([3, 8, 1], np.int64)}, "size has the type <i8"),
        ({"dd": np.array([-5], np.int64)}, "access 1 touches 8 bytes at 0xfffffffffffffffb"),
        ({"di": np.array([0x1000, 1 << 62], np.int64)}, "access 2 touches"),
        ({"di": np.array([0x1000, 0, 0], np.int64)}, "di has more than the 2 entries"),
        ({"kind": np.array([[0, 1, 0]], np.uint8)}, "kind is not one-dimensional"),
    ],
)
def test_an_archive_of_other_arrays_is_refused(tmp_path, changes, found):
    """The error says which array, and what is wrong with it."""
    path = tmp_path / "t.npz"
    np.savez_compressed(path, **arrays(**changes))

    with pytest.raises(UserError, match=found) as caught:
        list(read_npz_chunks(path))

    assert str(path) == caught.value.problems[0].place.file


def test_a_truncated_archive_is_refused(tmp_path):
    """Half a file is no trace."""
    path = tmp_path / "half.npz"
    data = (TRACES / "true.npz").read_bytes()
    path.write_bytes(data[: len(data) // 2])

    with pytest.raises(UserError, match="cannot be read"):
        read_npz(path)
