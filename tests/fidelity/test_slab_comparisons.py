"""The same requests take on SLAB, SLOB and SLUB what they took on Linux 6.1."""

import gzip
import json
from pathlib import Path

import pytest

from mmactors.errors import UserError
from mmactors.mm.slab.slab.slab import Slab
from mmactors.mm.slab.slob import heap
from mmactors.mm.slab.slub import alloc
from mmactors.validate.slab_compare.slab_compare import validate_slab_compare

REFERENCE = Path(__file__).parent.parent / "reference/linux-6.1/kernel/slab-compare"
RECORDINGS = sorted(REFERENCE.glob("*.json*"))


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.name.partition(".")[0])
def test_all_figures_of_all_three_are_the_recorded_ones(path):
    """But for those that depend on what kmalloc's caches had before, which are listed."""
    (result,) = validate_slab_compare(path)

    assert (None, result.compared) == (result.first_difference, result.equal)
    assert result.compared > 1500
    depends = {"256M-c1-fill-s5", "256M-c1-mix-s10", "256M-c1p2-mix-s24"}
    assert (result.listed > 0) == (path.name.partition(".")[0] in depends)


def broken_slub(monkeypatch):
    def no_partial(*_):
        return 0, 0
        yield

    monkeypatch.setattr(alloc, "get_partial", no_partial)


def broken_slob(monkeypatch):
    monkeypatch.setattr(heap, "slob_list", lambda _size: 0)
    monkeypatch.setattr(heap, "IS_EMPTY", None)


def broken_slab(monkeypatch):
    monkeypatch.setattr(Slab, "_nr_cpus_counted", lambda *_: 0)


@pytest.mark.parametrize(
    ("breaks", "name", "place"),
    [
        (broken_slub, "256M-c1-fill-s5", "slub, pages"),
        (broken_slob, "512M-c2-cross-s32", "slob, pages"),
        (broken_slab, "256M-c1-fill-s4", "slab.caches[0].free_limit"),
    ],
)
def test_a_kernel_that_keeps_other_pages_differs(monkeypatch, breaks, name, place):
    """The recording says of which allocator, and after which request first."""
    breaks(monkeypatch)

    (result,) = validate_slab_compare(REFERENCE / f"{name}.json.gz")

    assert result.first_difference.startswith(place)


def recorded():
    return json.loads(gzip.decompress((REFERENCE / "256M-c1-fill-s4.json.gz").read_bytes()))


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda it: it["slub"]["pages"].pop(), "slub.pages has 479"),
        (lambda it: it["requests"].reverse(), "requests[0]"),
        (lambda it: it["requests"][0].__setitem__(2, 1), "requests[0]"),
        (lambda it: it["samples"].pop(), "samples are of 3"),
        (lambda it: it["samples"][0].__setitem__(4, "x"), "samples[0][4] is the text"),
        (lambda it: it["caches_asked"][0].__setitem__(1, 3), "caches_asked[0]"),
        (lambda it: it["sample_columns"].reverse(), "sample_columns"),
        (lambda it: it["slob"]["summary"].pop("mean_pages"), "slob.summary has no mean_pages"),
    ],
)
def test_a_comparison_that_cannot_be_is_refused_with_its_place(tmp_path, change, found):
    """What could not be replayed is no difference of the models."""
    content = recorded()
    change(content)
    path = tmp_path / "changed.json"
    path.write_text(json.dumps(content))

    with pytest.raises(UserError) as caught:
        list(validate_slab_compare(path))

    assert any(found in problem.found for problem in caught.value.problems)
