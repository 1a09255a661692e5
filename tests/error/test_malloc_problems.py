"""What is wrong with a recording of an allocator is said, and none is a traceback."""

from pathlib import Path

import numpy as np
import pytest
from damages import changed_archive, problems_of, with_json

from mmactors.validate.malloc.malloc import validate_malloc
from mmactors.validate.malloc.usable_sizes import validate_usable_sizes

REFERENCE = Path(__file__).parent.parent / "reference/malloc"
SORT = REFERENCE / "real_sort.npz"
ZSTD = REFERENCE / "real_zstd.npz"


def put(name, at, value):
    def change(arrays):
        arrays[name][at] = value

    return change


def cut(name, nr_rows):
    def change(arrays):
        arrays[name] = arrays[name][:nr_rows]

    return change


def as_type(name, dtype):
    def change(arrays):
        arrays[name] = arrays[name].astype(dtype)

    return change


def without(name):
    def change(arrays):
        del arrays[name]

    return change


def meta(key, value):
    return with_json("glibc.meta", lambda content: content.__setitem__(key, value))


def total(key, value):
    return with_json("glibc.meta", lambda content: content["totals"].__setitem__(key, value))


@pytest.mark.parametrize(
    ("source", "change", "found"),
    [
        (SORT, without("op"), "the archive has no array op"),
        (SORT, without("meta"), "the archive has no array meta"),
        (SORT, without("glibc.sys"), "the archive has no array glibc.sys"),
        (SORT, as_type("glibc.sys", np.float64), "the array glibc.sys has the type <f8"),
        (SORT, cut("glibc.region", 9), "glibc.region has 9 entries"),
        (SORT, cut("meta", 40), "this is not JSON"),
        (SORT, put("glibc.region", 3, 900), "glibc.region[3] is 900"),
        (SORT, put("id", 3, 4000), "id[3] is 4000"),
        (SORT, put("glibc.sys", (1, 0), -2), "glibc.sys[1] has op -2"),
        (SORT, put("glibc.sys", (1, 1), 9), "glibc.sys[1] has call 9"),
        (SORT, put("glibc.sys", (1, 6), 77), "glibc.sys[1] has result 77"),
        (SORT, put("glibc.mallinfo2", (3, 0), 9999), "glibc.mallinfo2 has rows out of order"),
        (ZSTD, put("glibc.sys", (0, 2), 4), "glibc.sys[0] has region 4"),
        (ZSTD, put("glibc.sys", (0, 6), 4097), "glibc.sys[0] has result 4097"),
        (ZSTD, put("glibc.sys", (1, 2), 7), "glibc.sys[1] has region 7"),
        (ZSTD, put("op", 5, 6), "is of thread 0"),
        (SORT, meta("env", []), "glibc.meta.env is a list of 0"),
        (SORT, meta("page_break_base", -1), "glibc.meta.page_break_base is -1"),
        (SORT, total("initial_maps", [[1, 2]]), "glibc.meta.totals.initial_maps[0] is a list of 2"),
        (SORT, total("peak_brk", "x"), "glibc.meta.totals.peak_brk is the text 'x'"),
    ],
)
def test_a_recording_that_cannot_be_is_refused_with_its_place(tmp_path, source, change, found):
    """What could not be replayed is no difference of the model."""
    path = changed_archive(tmp_path, source, change)

    assert any(found in problem for problem in problems_of(validate_malloc, path))


def test_two_mappings_at_one_place_are_no_answer_of_a_kernel(tmp_path):
    """The library would write over itself."""

    def change(arrays):
        mapped = np.flatnonzero(arrays["glibc.sys"][:, 1] == 1)
        arrays["glibc.sys"][mapped[1], 6] = arrays["glibc.sys"][mapped[0], 6]

    (found,) = problems_of(validate_malloc, changed_archive(tmp_path, ZSTD, change))

    assert "over another" in found


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"\xff" * 100])
def test_an_unreadable_archive_is_an_error_with_four_parts(tmp_path, data):
    """Whatever the bytes are."""
    path = tmp_path / "damaged.npz"
    path.write_bytes(data)

    assert problems_of(validate_malloc, path)
    assert problems_of(validate_usable_sizes, path)


def test_usable_sizes_without_their_requests_are_refused(tmp_path):
    """Each sample has its request."""
    path = changed_archive(tmp_path, REFERENCE / "usable_sizes.npz", cut("glibc.sample_usable", 5))

    (found,) = problems_of(validate_usable_sizes, path)

    assert "glibc.sample_usable has 5 entries" == found
