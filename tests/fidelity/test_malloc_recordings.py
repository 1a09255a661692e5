"""Libraries return the addresses, and make the system calls, of those that were recorded."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from damages import changed_archive, with_json

from mmactors.validate.malloc.malloc import validate_malloc
from mmactors.validate.malloc.usable_sizes import validate_usable_sizes

REFERENCE = Path(__file__).parent.parent / "reference/malloc"
NO_HEAP_TRACES = {
    REFERENCE / f"{name}.npz" for name in ("usable_sizes", "tcmalloc_lab", "jemalloc_lab")
}
RECORDINGS = sorted(set(REFERENCE.glob("*.npz")) - NO_HEAP_TRACES)
PRELOADED = sorted((REFERENCE / "preloaded").glob("*.npz"))


@pytest.mark.parametrize(
    "path", RECORDINGS + PRELOADED, ids=lambda path: str(path.relative_to(REFERENCE))
)
def test_every_address_size_call_and_number_is_the_recorded_one(path):
    """Replaying a heap trace under each configuration gives each value of it."""
    results = list(validate_malloc(path))

    assert results
    for result in results:
        assert (result.case, None) == (result.case, result.first_difference)
        assert result.passed
        assert result.compared > 400


def test_every_request_has_the_recorded_usable_size():
    """Of a process that does nothing else, too, in which the mmap threshold grows."""
    results = {
        result.case: result for result in validate_usable_sizes(REFERENCE / "usable_sizes.npz")
    }

    for library, nr_samples in (("glibc", 16531), ("jemalloc", 4736), ("tcmalloc", 16532)):
        for name, nr_requests in (("usable_0_65536", 65537), ("sample_usable", nr_samples)):
            result = results[f"usable_sizes/{library}.{name}"]
            assert (None, nr_requests) == (result.first_difference, result.equal)


def test_time_goes_by_where_jemalloc_purged_pages_and_nothing_else_explains_it():
    """Two operations began late, so it says; every value from there on is compared, too."""
    path = REFERENCE / "preloaded/syn_realloc_mmap_b.npz"

    results = {result.case: result for result in validate_malloc(path)}

    by_time = results["syn_realloc_mmap_b/je_default"]
    assert (2, 10837) == (by_time.listed, by_time.equal)
    assert 0 == results["syn_realloc_mmap_b/je_n1"].listed


def test_a_purge_that_no_time_explains_differs(tmp_path):
    """Whatever time has gone by, these are not the pages that jemalloc would let go."""

    def other_pages(arrays):
        rows = arrays["je_default.sys"]
        purges = np.flatnonzero((rows[:, 1] == 4) & (rows[:, 0] == 939))
        rows[purges[0], 4] += 4096

    path = changed_archive(tmp_path, REFERENCE / "preloaded/syn_realloc_mmap_b.npz", other_pages)

    results = {result.case: result for result in validate_malloc(path)}

    expected = "op 939 realloc(#348, 7081842) by thread 0, system call 18: recorded madvise("
    assert results["damaged/je_default"].first_difference.startswith(expected)


def test_the_uncompiled_functions_give_the_same():
    """With NUMBA_DISABLE_JIT=1 the same functions run as Python and give the same addresses."""
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from mmactors.validate.malloc.malloc import validate_malloc\n"
        "for path in sys.argv[1:]:\n"
        "    for result in validate_malloc(Path(path)):\n"
        "        print(result.passed, result.first_difference)\n"
    )

    done = subprocess.run(
        [
            sys.executable,
            "-c",
            program,
            *(str(REFERENCE / f"real_{it}.npz") for it in ("tar", "zstd")),
        ],
        env=os.environ | {"NUMBA_DISABLE_JIT": "1"},
        capture_output=True,
        text=True,
        check=True,
    )

    assert ["True None"] * 2 == done.stdout.splitlines()


def moved(op, by):
    def change(arrays):
        arrays["glibc.offset"][op] += by

    return change


def called(row, column, value):
    def change(arrays):
        arrays["glibc.sys"][row, column] = value

    return change


def without_call(row):
    def change(arrays):
        arrays["glibc.sys"] = np.delete(arrays["glibc.sys"], row, axis=0)

    return change


def usable(op, value):
    def change(arrays):
        arrays["glibc.usable_i"] = np.array([op], np.uint32)
        arrays["glibc.usable_v"] = np.array([value], np.uint32)

    return change


def counted(row, column, value):
    def change(arrays):
        arrays["glibc.mallinfo2"][row, column] = value

    return change


def said(place, value):
    def change(meta):
        for key in place[:-1]:
            meta = meta[key]
        meta[place[-1]] = value

    return with_json("glibc.meta", change)


def text_with(old, new):
    def change(meta):
        assert old in meta["malloc_info_xml"]
        meta["malloc_info_xml"] = meta["malloc_info_xml"].replace(old, new, 1)

    return with_json("glibc.meta", change)


@pytest.mark.parametrize(
    ("change", "place", "recorded", "ours"),
    [
        (moved(9, 16), "op 9 malloc(5) by thread 0, address", "heap+0x2b0", "heap+0x2a0"),
        (usable(9, 40), "op 9 malloc(5) by thread 0, usable size", "40", "24"),
        (
            called(3, 4, 4096),
            "op 329 free(#214) by thread 0, system call 3",
            "munmap(mmap 1+0x0, 4096)",
            "munmap(mmap 1+0x0, 1052672)",
        ),
        (
            called(1, 0, 1),
            "op 0 malloc(5) by thread 0, system call 1",
            "no call",
            "brk(heap+0x21000)",
        ),
        (
            without_call(3),
            "op 329 free(#214) by thread 0, system call 3",
            "no call",
            "munmap(mmap 1+0x0, 1052672)",
        ),
        (counted(3, 4, 7), "mallinfo2 after op 91 malloc(5) by thread 0, hblks", "7", "0"),
        (
            said(("mallinfo2_final", "fordblks"), 1),
            "meta.mallinfo2_final, fordblks",
            "1",
            "1197600",
        ),
        (said(("totals", "peak_mmap"), 1), "totals.peak_mmap", "1", "1052672"),
        (
            text_with('<total type="fast" count="', '<total type="fast" count="1'),
            "malloc_info, line 7",
            '<total type="fast" count="10" size="0"/>',
            '<total type="fast" count="0" size="0"/>',
        ),
    ],
)
def test_what_differs_first_is_told_with_its_operation(tmp_path, change, place, recorded, ours):
    """Operation, thread, which value, and both of it."""
    (result,) = validate_malloc(changed_archive(tmp_path, REFERENCE / "real_sort.npz", change))

    assert f"{place}: recorded {recorded}, ours {ours}" == result.first_difference
    assert not result.passed
