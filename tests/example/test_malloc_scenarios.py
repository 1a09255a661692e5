"""What the pages of configs/ about malloc expect holds, and depends on what they say it does."""

import os
import re
from pathlib import Path

import pytest

import mmactors

CONFIGS = Path(__file__).parents[2] / "configs"
FIRST, SECOND = "processes[0].environment", "processes[1].environment"


def tunables(**values):
    """Return an environment that sets tunables of glibc's malloc."""
    text = ":".join(f"glibc.malloc.{name}={value}" for name, value in values.items())
    return {"GLIBC_TUNABLES": text}


def counters(page, overrides, *names):
    """Run a page with other values and return some counters of its processes."""
    found = mmactors.run(CONFIGS / f"{page}.yaml", overrides=overrides).counters
    return [found[f"process[{name}"] for name in names]


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("malloc_*.yaml")), ids=lambda path: path.stem)
def test_what_a_page_expects_holds(path):
    """Each expectation, with the values that the file has."""
    assert "ok" == mmactors.run(path).verdict


def test_thresholds_decide_what_comes_back():
    """A larger one keeps all, no pad gives all back, a fixed one for mmap maps anew."""
    loose, mapped = "processes[1].environment", "processes[3].environment"
    page = "malloc_fragmentation"

    assert [94] == counters(page, {loose: tunables(trim_threshold=10**6)}, "loose].min_flt")
    assert [184] == counters(page, {loose: tunables(top_pad=0)}, "loose].min_flt")
    assert [304] == counters(page, {mapped: tunables(mmap_threshold=131072)}, "mapped].min_flt")


def test_a_cache_that_takes_all_frees_spares_the_mutex():
    """The consumer keeps what it frees, and the producer takes more pages instead."""
    overrides = {SECOND: tunables(tcache_count=100)}

    system, faults = counters(
        "malloc_producer_consumer", overrides, "pair].stime_ns", "pair].min_flt"
    )

    assert system < 20000
    assert faults > 20


def test_the_waits_that_readme_tells_of_are_those_of_the_page():
    """All of them for the mutex of the arena that the two threads share."""
    said = re.search(r"(\d+) waits for the mutex", (CONFIGS.parent / "README.md").read_text())
    stat = mmactors.run(CONFIGS / "malloc_producer_consumer.yaml").proc["lock_stat"]
    (row,) = (line.split() for line in stat.splitlines() if "main_arena.mutex" in line)

    assert said is not None
    assert said[1] == row[2]


def test_arenas_are_what_keeps_threads_apart():
    """With as many arenas both programs are alike."""
    one, many = counters("malloc_arenas", {FIRST: {}}, "one].min_flt", "many].min_flt")

    assert one == many


def test_who_writes_a_page_first_faults():
    """The library with M_PERTURB; calloc in the heap; nobody else where metadata is left out."""
    page = "malloc_faults"

    assert [29] == counters(page, {FIRST: tunables(perturb=85)}, "untouched].min_flt")
    assert [38] == counters(
        page, {"processes[6].environment": tunables(mmap_threshold=10**6)}, "mapped].min_flt"
    )
    assert [25] == counters(page, {"processes[1].metadata_in_memory": False}, "touched].min_flt")


@pytest.mark.skipif(
    "MMACTORS_GUARD" in os.environ,
    reason="rows run one by one then, and take locks, whose words are touched",
)
def test_what_jemalloc_gives_up_lazily_stays_until_it_is_taken_at_once():
    """RSS from its peak to the end; muzzy extents that decay, too, are taken a little later.

    The last sample is left out: the process may be giving all back.
    """
    series = mmactors.run(CONFIGS / "malloc_purge.yaml").series
    least, most = {}, {}
    for name in ("dontneed", "free", "never"):
        pages = [each for each in series[f"process[{name}].anon_pages"] if each][:-1]
        most[name] = max(pages)
        least[name] = min(pages[pages.index(most[name]) :])
    decay = {SECOND: {"MALLOC_CONF": "dirty_decay_ms:1,muzzy_decay_ms:1"}}
    faults = counters("malloc_purge", decay, "free].min_flt", "never].min_flt")

    assert least["free"] == most["free"] == most["never"] == least["never"]
    assert 4 * least["dontneed"] < most["dontneed"]
    assert faults[0] > faults[1]
