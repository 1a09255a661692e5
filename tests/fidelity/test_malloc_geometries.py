"""Classes, spans and caches are those that Debian's libjemalloc and libtcmalloc say and show."""

from pathlib import Path

from damages import changed

from mmactors.validate.malloc.jemalloc_geometry import validate_jemalloc_geometry
from mmactors.validate.malloc.tcmalloc_geometry import validate_tcmalloc_geometry
from mmactors.validate.registry import find_recordings, validate_recordings

REFERENCE = Path(__file__).parent.parent / "reference/malloc"
JEMALLOC = REFERENCE / "jemalloc_geometry.json"
TCMALLOC = REFERENCE / "tcmalloc_geometry.json"
COMPARED = {
    "jemalloc_geometry/settings": (24, 7),
    "jemalloc_geometry/classes": (232, 0),
    "jemalloc_geometry/tcache": (88, 0),
    "tcmalloc_geometry/classes": (87, 0),
    "tcmalloc_geometry/observed": (340, 0),
}
"""By case how many values were compared, how many only listed."""


def test_classes_spans_and_caches_are_the_recorded_ones():
    """All 44 rows of jemalloc's caches, all 85 classes of tcmalloc in use."""
    recordings, problems = find_recordings([JEMALLOC, TCMALLOC])
    results = list(validate_recordings(recordings))

    assert [] == problems
    assert [None] * 5 == [result.first_difference for result in results]
    assert all(result.passed for result in results)
    assert {it.case: (it.compared, it.listed) for it in results} == COMPARED


def test_a_fetch_of_one_block_more_differs(tmp_path):
    def fetch_more(content):
        content["observed"] = content["observed"][1:2]
        content["observed"][0][2][3][1] += 1

    path = changed(tmp_path, TCMALLOC.read_text(), fetch_more)

    _, observed = validate_tcmalloc_geometry(path)

    assert (4, 3) == (observed.compared, observed.equal)
    assert observed.first_difference.startswith("observed[0], 16 bytes, fetches: recorded [[")


def test_a_flush_a_call_later_differs(tmp_path):
    def flush_later(content):
        content["tcache"] = content["tcache"][:1]
        content["tcache"][0][2][0][0] += 1

    path = changed(tmp_path, JEMALLOC.read_text(), flush_later)

    *_, caches = validate_jemalloc_geometry(path)

    assert (2, 1) == (caches.compared, caches.equal)
    assert caches.first_difference.startswith("tcache[0], 8 bytes, while freeing: recorded [[202,")


def test_a_class_too_few_or_of_another_size_differs(tmp_path):
    def other_classes(content):
        content["classes"].pop()
        content["observed"] = [[9, [], [], []]]

    path = changed(tmp_path, TCMALLOC.read_text(), other_classes)

    classes, observed = validate_tcmalloc_geometry(path)

    ours = "recorded None, ours [262144, 262144, 1, 2]"
    assert f"classes[84]: {ours}" == classes.first_difference
    assert "observed[0], class_bytes: recorded 9, ours 16" == observed.first_difference
