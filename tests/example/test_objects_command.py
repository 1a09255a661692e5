"""`mmactors objects`: what objects took in runs, side by side, whatever the allocator.

One list of requests goes through four CPUs on SLUB, SLAB and SLOB; what the verb says of each log
is held against the counters of the run.
"""

import os
import re
from pathlib import Path

import orjson
import pytest

import mmactors
from mmactors.cli.main import run_command
from mmactors.mm.slab.slab_common import PAGE_OFFSET
from mmactors.observe.object_usage import SUMMARY, UsageOfLog

ROOT = Path(__file__).parents[2]
SCENARIO = ROOT / "configs" / "three-allocators.yaml"
DOCUMENT = ROOT / "docs" / "logs.md"
RENEW = "MMACTORS_RENEW_GOLDEN"
KINDS = ("slub", "slab", "slob")


def run_on(kind, out):
    arguments = ["run", str(SCENARIO), "--set", f"kernel.slab={kind}", "--out", str(out), "-q"]
    assert 0 == run_command(arguments)
    return out


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The run on each allocator, by its name."""
    folder = tmp_path_factory.mktemp("objects")
    return {kind: run_on(kind, folder / kind) for kind in KINDS}


def events_of(run_dir):
    return (run_dir / "events.jsonl").read_bytes().split(b"\n", 1)[1]


def answers(capsys, *run_dirs):
    assert 0 == run_command(["objects", *map(str, run_dirs), "--json"])
    return orjson.loads(capsys.readouterr().out)["runs"]


def slab_pages(counters):
    """Return the pages of all objects, with what CPUs have not added yet."""
    return sum(value for name, value in counters.items() if "nr_slab_" in name)


def test_one_list_of_requests_gives_three_logs_that_are_the_same_each_time(runs, tmp_path):
    """Each allocator has its own, which a second run repeats byte by byte."""
    logs = {kind: events_of(run_dir) for kind, run_dir in runs.items()}

    assert 3 == len(set(logs.values()))
    for kind in KINDS:
        assert logs[kind] == events_of(run_on(kind, tmp_path / kind))


def test_pages_are_those_that_the_counters_say(capsys, runs):
    """At the end, and in no allocator fewer than the objects need."""
    for run, kind in zip(answers(capsys, *runs.values()), KINDS, strict=True):
        counters = orjson.loads((runs[kind] / "counters.json").read_bytes())
        assert (kind, slab_pages(counters)) == (run["allocator"], run["pages_at_end"])
        assert (0, 0) == (run["failed"], run["left"])
        assert set(SUMMARY) <= set(run)
        assert run["peak_pages_in_use"] * 4096 >= run["peak_requested_bytes"]
        for _, requested, pages, in_use, allocated, internal, external in run["samples"]:
            assert requested <= allocated <= in_use * 4096
            assert in_use <= pages
            assert 0 <= internal <= 1 > external >= 0


def test_slub_takes_most_pages_and_slob_fewest(capsys, runs):
    """As their designs say: large slabs and CPUs' own, small ones, none."""
    slub, slab, slob = (run["peak_pages"] for run in answers(capsys, *runs.values()))

    assert slub > slab > slob


def test_the_document_shows_what_the_verb_prints(capsys, monkeypatch, runs):
    """On a terminal of 120 columns; MMACTORS_RENEW_GOLDEN=1 writes it anew."""
    monkeypatch.setenv("COLUMNS", "120")

    assert 0 == run_command(["objects", *map(str, runs.values())])

    output, text = capsys.readouterr().out, DOCUMENT.read_text()
    shown = re.search(r"\$ mmactors objects .*\n((?:.*\n)*?)```\n", text)
    if os.environ.get(RENEW) == "1":
        DOCUMENT.write_text(text[: shown.start(1)] + output + text[shown.end(1) :])
    else:
        assert output == shown[1], f"{RENEW}=1 renews docs/logs.md"


def requests():
    """Return operations of four CPUs that make caches, use them and kmalloc, and give all back."""
    lines = [
        "kmem_cache_create small size=40",
        "kmem_cache_create wide size=300 align=64",
        "kmem_cache_create rcu size=200 flags=typesafe_by_rcu",
    ]
    caches, sizes = ("small", "wide", "rcu"), (24, 700, 2500, 9000)
    who = ("", "T1& ", "T2& ", "T3& ")
    for cpu in range(4):
        for name in caches:
            lines += [f"{who[cpu]}kmem_cache_alloc {name}{cpu}{n} cache={name}" for n in range(3)]
        lines += [f"{who[cpu]}kmalloc k{cpu}{n} size={size}" for n, size in enumerate(sizes)]
    lines.append("wait")
    for cpu in range(4):
        other = (cpu + 1) % 4
        for name in caches:
            lines += [f"{who[cpu]}kmem_cache_free {name}{other}{n} cache={name}" for n in range(3)]
        lines += [f"{who[cpu]}kfree k{other}{n}" for n in range(len(sizes))]
    return [*lines, "wait", *(f"kmem_cache_destroy {name}" for name in caches), "sleep 20"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_second_list_leaves_no_page_and_no_object_behind(capsys, tmp_path, kind):
    """What it took, it gave back, or it had been there after the first; no checker finds a loss."""
    threads = [f"thread T{cpu} cpu={cpu}" for cpu in (1, 2, 3)]
    pages = []
    for times in (1, 2):
        scenario = {
            "machine": {"cpus": 4, "memory": {"size": "128M"}},
            "kernel": {"slab": kind},
            "sanitize": {"objects": True, "leaks": True, "counters": True, "page_state": True},
            "processes": [{"name": "m", "program": [*threads, *times * requests()]}],
        }
        result = mmactors.run(scenario, out=tmp_path / str(times))
        assert ("ok", ()) == (result.verdict, result.findings)
        (run,) = answers(capsys, result.run_dir)
        assert (0, 0) == (run["left"], run["failed"])
        pages.append(slab_pages(result.counters))

    assert pages[0] == pages[1]
    assert kind != "slob" or pages == [0, 0]


def test_a_log_without_objects_is_refused_with_what_to_record(capsys, tmp_path):
    """As the other verbs that read a log do."""
    scenario = {"record": {"events": ["sys_*"]}, "processes": [{"name": "p", "program": ["nop"]}]}
    run_dir = mmactors.run(scenario, out=tmp_path / "run").run_dir

    assert 2 == run_command(["objects", str(run_dir)])
    assert "no event of an object" in capsys.readouterr().err
    assert 2 == run_command(["objects"])
    assert "no run" in capsys.readouterr().err


def alloc(ptr, asked, got=None):
    event = {"event": "kmalloc", "ptr": PAGE_OFFSET + ptr, "bytes_req": asked}
    return {**event, "bytes_alloc": got or asked}


def free(ptr):
    return {"event": "kfree", "ptr": PAGE_OFFSET + ptr}


def test_a_slab_is_the_block_of_pages_in_which_an_object_was_handed_out():
    """An object in its second page is in it too; a block that goes takes its objects along."""
    seen = UsageOfLog()
    for record in (
        {"event": "kmalloc", "ptr": 0, "bytes_req": 9, "bytes_alloc": 16},
        {"event": "mm_page_alloc", "pfn": 8, "order": 1},
        {"event": "mm_page_alloc", "pfn": 12, "order": 0},
        alloc(0x9000, 100, 128),
        alloc(0x8000, 60, 64),
        free(0x9000),
        {"event": "mm_page_free", "pfn": 8, "order": 1},
        alloc(0x20000, 8),
    ):
        seen.see(record)
    seen.finish()

    assert [100, 160, 0, 8] == list(seen.usage.requested)
    assert [2, 2, 0, 1] == list(seen.usage.pages_in_use)
    assert [2, 2, 0, 1] == list(seen.usage.pages)
    assert (1, 1) == (seen.nr_failed, seen.nr_left)
    assert (0.2188, 0.9844) == seen.usage.sample(0)[3:]
