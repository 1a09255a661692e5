"""Geometries of allocators that are damaged: each is told what is wrong with it, and where."""

from pathlib import Path

import pytest
from damages import changed, problems_of, put

from mmactors.validate.malloc.jemalloc_geometry import validate_jemalloc_geometry
from mmactors.validate.malloc.tcmalloc_geometry import validate_tcmalloc_geometry

REFERENCE = Path(__file__).parent.parent / "reference/malloc"
FILES = {
    "jemalloc": (REFERENCE / "jemalloc_geometry.json", validate_jemalloc_geometry),
    "tcmalloc": (REFERENCE / "tcmalloc_geometry.json", validate_tcmalloc_geometry),
}


def without(key):
    return lambda content: content.pop(key)


@pytest.mark.parametrize(
    ("library", "damage", "found"),
    [
        ("jemalloc", without("tcache"), "the recording has no tcache"),
        ("jemalloc", put(("bins", 3), [3, 48]), "bins[3] is a list of 2"),
        ("jemalloc", put(("bins", 3, 1), True), "bins[3][1] is true"),
        ("jemalloc", put(("bins",), []), "bins is a list of 0"),
        ("jemalloc", put(("large_classes", 0), "16384"), "large_classes[0] is the text '16384'"),
        ("jemalloc", put(("tcache", 0, 0), 1 << 40), "tcache[0][0] is 1099511627776"),
        ("jemalloc", put(("tcache", 0, 1), [[1, 2]] * 61), "tcache[0][1] is a list of 61"),
        ("jemalloc", put(("tcache", 0, 2, 0), 7), "tcache[0][2][0] is 7"),
        ("tcmalloc", without("classes"), "the recording has no classes"),
        ("tcmalloc", put(("page_bytes",), None), "page_bytes is null"),
        ("tcmalloc", put(("classes", 0), [8, 8192, 1024]), "classes[0] is a list of 3"),
        ("tcmalloc", put(("classes", 0, 0), 0), "classes[0][0] is 0"),
        ("tcmalloc", put(("observed", 2, 0), 262145), "observed[2][0] is 262145"),
        ("tcmalloc", put(("observed", 2, 1, 0), [1, 2]), "observed[2][1][0] is a list of 2"),
        ("tcmalloc", put(("observed", 2, 2, 0, 1), 1.5), "observed[2][2][0][1] is 1.5"),
        ("tcmalloc", put(("observed", 2, 3), {}), "observed[2][3] is an object without keys"),
    ],
)
def test_a_damaged_geometry_is_refused_and_says_where(tmp_path, library, damage, found):
    source, validate = FILES[library]

    assert [found] == problems_of(validate, changed(tmp_path, source.read_text(), damage))


@pytest.mark.parametrize("library", FILES)
def test_a_geometry_that_is_cut_off_is_refused(tmp_path, library):
    source, validate = FILES[library]
    path = tmp_path / source.name
    path.write_text(source.read_text()[:3000])

    assert len(problems_of(validate, path)) == 1
