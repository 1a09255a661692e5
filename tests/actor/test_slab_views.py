"""What programs read of caches of objects, and what a run leaves of them."""

import errno

import pytest
from attrs import evolve
from machines import final_status, run, scenario_of

import mmactors
from mmactors.errors import UserError
from mmactors.mm.slab.flags import SLAB_DEBUG_FLAGS, SLAB_NOLEAKTRACE, SLAB_STORE_USER
from mmactors.units import MIB

USE = (
    *("kmem_cache_create C size=1000", "kmem_cache_alloc A cache=C", "kmem_cache_alloc B cache=C"),
    *("kmem_cache_free A cache=C", "kmalloc K size=3000"),
)


def ran(*program, cmdline=None, nr_nodes=1, **options):
    scenario = scenario_of(list(program), **options)
    memory = evolve(scenario.machine.memory, cmdline=cmdline, nr_nodes=nr_nodes)
    return run(evolve(scenario, machine=evolve(scenario.machine, memory=memory))).machine


def read_by(*program, **options):
    return [read.text for read in ran(*program, **options).texts()]


def line_of(slabinfo, name):
    (line,) = [line for line in slabinfo.splitlines() if line.startswith(f"{name} ")]
    return line


def attributes(machine):
    """Return what the listing says, by cache and file."""
    found = {}
    for line in machine.sysfs()["kernel/slab.txt"].splitlines():
        place, _, text = line.rpartition(":")
        cache, _, name = place.rpartition("/")
        found.setdefault(cache, {})[name] = text
    return found


def test_slabinfo_has_what_is_in_use_and_the_newest_cache_first():
    """All objects of a CPU's slab count as active."""
    (text,) = read_by(*USE, "get /proc/slabinfo")

    assert text.splitlines()[2].startswith("C ")
    assert line_of(text, "C") == (
        "C                      8      8   1000    8    2"
        " : tunables    0    0    0 : slabdata      1      1      0"
    )
    assert line_of(text, "kmalloc-4k").split()[1:3] == ["8", "8"]
    assert line_of(text, "dma-kmalloc-8k").split()[1:3] == ["0", "0"]


def test_files_of_a_cache_are_read_under_each_of_its_names():
    """Its own, that of an alias, and what all who share it agree in; nodes are told apart."""
    texts = read_by(
        *USE,
        "kmem_cache_create D size=996",
        *(f"get /sys/kernel/slab/{name}/objects" for name in ("C", "D", ":0001000")),
        *(f"get /sys/kernel/slab/D/{name}" for name in ("aliases", "cpu_slabs", "partial", "ctor")),
        nr_nodes=2,
        cpus=2,
    )

    assert ["16 N0=16\n"] * 3 + ["1\n", "1 N0=1\n", "0\n", ""] == texts


def test_whose_name_is_taken_has_no_files_but_its_line():
    """A folder gives way to a link, a link to a folder: a guest was seen to do so."""
    texts = read_by(
        *(f"kmem_cache_create dup size={size} flags=noleaktrace" for size in (72, 88)),
        *(f"kmem_cache_create {name} size=904" for name in ("mrg", "mrg", "dup")),
        "kmem_cache_create mrg size=96 flags=noleaktrace",
        *(f"get /sys/kernel/slab/{name}/slab_size" for name in ("dup", "mrg", ":0000904")),
        "get /proc/slabinfo",
    )

    assert ["904\n", "96\n", "904\n"] == texts[:3]
    words = [line.split() for line in texts[3].splitlines()[2:6]]
    assert [["mrg", "96"], ["mrg", "904"], ["dup", "88"], ["dup", "72"]] == [
        [each[0], each[3]] for each in words
    ]


def test_a_name_is_gone_with_its_cache():
    """As long as one of those that share it is left, all names are."""
    (text,) = read_by(
        *("kmem_cache_create C size=904", "kmem_cache_create D size=900", "kmem_cache_destroy C"),
        "get /sys/kernel/slab/C/aliases",
        "kmem_cache_destroy D",
        *("get /sys/kernel/slab/C/aliases", "get /sys/kernel/slab/:0000904/aliases"),
    )

    assert "0\n" == text


def test_what_there_is_not_is_not_read_and_what_is_read_only_not_written():
    """As sysfs answers: also for root."""
    calls = (
        "get /sys/kernel/slab/C/objects",
        "get /sys/kernel/slab/filp/nothing",
        "get /sys/kernel/slab/filp",
        "put /sys/kernel/slab/filp/objects 1",
        "put /proc/slabinfo 1",
    )
    results = [each["ret"] for each in run(scenario_of(list(calls))).events("sys_exit")]

    assert [-errno.ENOENT] * 3 + [-errno.EACCES, -errno.EIO] == results


@pytest.mark.parametrize("name", ["shrink", "min_partial", "cpu_partial", "validate"])
def test_what_would_change_a_cache_is_refused_beforehand(name):
    """Nothing would obey it."""
    program = [f"put /sys/kernel/slab/filp/{name} 1"]
    with pytest.raises(UserError, match=f"slab/filp/{name} is not simulated yet"):
        mmactors.load({"processes": [{"name": "a", "program": program}]})


def test_a_cache_that_waits_for_readers_is_in_no_line_of_slabinfo():
    """Its folder stays until it is gone; what still has objects is listed on."""
    program = (
        "kmem_cache_create R size=512 flags=typesafe_by_rcu",
        *("kmem_cache_alloc A cache=R", "kmem_cache_free A cache=R", "kmem_cache_destroy R"),
        *("kmem_cache_create L size=520", "kmem_cache_alloc O cache=L", "kmem_cache_destroy L"),
        *("get /proc/slabinfo", "get /sys/kernel/slab/L/aliases"),
    )
    text, aliases = read_by(*program)

    assert ["L"] == [line.split()[0] for line in text.splitlines() if line[:2] in ("L ", "R ")]
    assert "-1\n" == aliases


def test_pages_of_slabs_are_those_that_the_counters_tell():
    """Bytes in the kernel's books, pages in vmstat, KiB in meminfo, the same number."""
    program = ("mmap A 1M", "touch A write", "fork X", "X: compute 1us", *USE, "snap s")
    machine = ran(*program, "get /proc/slabinfo")
    texts = {read.name: read.text for read in machine.texts()}
    vmstat = dict(line.split() for line in texts["s.vmstat"].splitlines())
    meminfo = {line.split()[0]: int(line.split()[1]) for line in texts["s.meminfo"].splitlines()}
    lines = [line.rsplit(None, 15) for line in texts["proc-slabinfo"].splitlines()[2:]]
    pages = sum(int(words[5]) * int(words[14]) for words in lines)

    assert pages > 0
    counted = [int(vmstat[f"nr_slab_{kind}reclaimable"]) for kind in ("", "un")]
    assert pages == sum(counted)
    assert [4 * pages, *(4 * each for each in counted)] == [
        meminfo[f"{name}:"] for name in ("Slab", "SReclaimable", "SUnreclaim")
    ]
    assert meminfo["KReclaimable:"] == meminfo["SReclaimable:"]


def test_a_run_leaves_the_files_of_caches_that_have_slabs(tmp_path):
    """Each under its own name, as grep prints them; what has no text is not there."""
    document = {"processes": [{"name": "a", "program": list(USE)}]}
    result = mmactors.run(document, out=tmp_path / "run")
    text = (tmp_path / "run/sys/kernel/slab.txt").read_text()

    assert text == result.sysfs["kernel/slab.txt"]
    lines = text.splitlines()
    assert {"C/objects:8 N0=8", "C/partial:0", "C/cpu_slabs:1 N0=1"} <= set(lines)
    assert lines == sorted(lines, key=lambda line: line.rpartition(":")[0].split("/"))
    assert not any(line.startswith("dma-kmalloc-8k/") or "/ctor:\n" in line for line in lines)
    slabinfo = (tmp_path / "run/proc/slabinfo").read_text()
    assert line_of(slabinfo, "C").split()[1:3] == ["8", "8"]


def test_an_inspection_shows_what_the_files_say():
    """By node and by CPU; a cache is found by an alias, too, and what there is not, is not."""
    program = (*USE, "kmem_cache_create D size=996", "cpu 1", "kmem_cache_alloc E cache=D")
    machine = ran(*program, nr_nodes=2, cpus=2)
    seen, files = machine.inspect(), attributes(machine)["C"]
    cache = seen.cache("D")

    assert cache == seen.cache("C") == seen.caches[-1]
    assert ("C", ("D",), 1000, 16) == (
        *(cache.name, cache.aliases, cache.object_size, cache.objects_per_slab),
    )
    assert ((16, 16), (1, 1), (0, 0)) == (cache.objects, cache.cpu_slabs, cache.cpu_partial)
    assert "32 N0=16 N1=16" == files["objects"]
    with pytest.raises(KeyError):
        seen.cache("X")
    assert "<td>anon_vma</td>" in seen.caches._repr_html_()


def test_slub_debug_checks_the_kernels_own_objects():
    """All caches, or those that it names; nothing that is right is reported."""
    program = ("mmap A 1M", "touch A write", "fork X", "X: munmap A", "munmap A", *USE)
    everything, some = (
        attributes(ran(*program, cmdline=cmdline))
        for cmdline in ("slub_debug", "slub_debug=Z,vm_area_*,C;-")
    )

    flags = ("red_zone", "poison", "store_user", "sanity_checks")
    assert {"1111"} == {"".join(each[flag] for flag in flags) for each in everything.values()}
    checked = {name for name, each in some.items() if each["red_zone"] == "1"}
    assert {"vm_area_struct", "C"} == checked
    assert {"0"} == {each["poison"] for each in some.values()}


@pytest.mark.parametrize("cmdline", ["slub_debug", "slub_debug=FZPU slab_nomerge", "slub_debug=O"])
def test_a_kernel_that_checks_finds_nothing_where_nothing_is_wrong(cmdline):
    """Its log has no line of it, and what a run gives is what it gives otherwise."""
    program = ("mmap A 256K", "touch A write", "fork X", "X: touch A write", "wait", *USE)
    scenario = scenario_of(list(program))
    memory = evolve(scenario.machine.memory, cmdline=cmdline)
    checked = run(evolve(scenario, machine=evolve(scenario.machine, memory=memory)))

    assert [] == checked.events("console")
    assert final_status(run(scenario)) == final_status(checked)


def test_orders_and_merging_follow_the_command_line():
    """slub_min_order, slub_max_order, slub_min_objects; slab_nomerge."""
    usual = attributes(ran(*USE))
    least = attributes(ran(*USE, cmdline="slub_min_order=2"))
    most = attributes(ran(*USE, cmdline="slub_max_order=0"))
    more = attributes(ran(*USE, cmdline="slub_min_objects=32"))

    assert ["1", "2", "0", "3"] == [each["C"]["order"] for each in (usual, least, most, more)]
    assert ["0", "2"] == [each["vm_area_struct"]["order"] for each in (usual, least)]
    alias = ("kmem_cache_create C size=1000", "kmem_cache_create D size=996")
    texts = [
        read_by(*alias, "get /sys/kernel/slab/D/object_size", cmdline=cmdline)
        for cmdline in (None, "slab_nomerge", "slub_nomerge slab_merge")
    ]
    assert [["1000\n"], ["996\n"], ["1000\n"]] == texts


def test_a_cache_that_keeps_no_leak_traces_is_debugged_without_users():
    """kmem_cache_flags."""
    program = ("kmem_cache_create N size=700 flags=noleaktrace", "kmem_cache_alloc A cache=N")
    found = attributes(ran(*program, cmdline="slub_debug"))["N"]

    assert ["0", "1"] == [found["store_user"], found["poison"]]
    assert SLAB_NOLEAKTRACE & SLAB_DEBUG_FLAGS == 0 != SLAB_STORE_USER & SLAB_DEBUG_FLAGS


def test_an_order_that_no_slab_may_have_keeps_the_machine_from_booting():
    """The kernel panics; the message says of what, and what is legal."""
    memory = {"size": 256 * MIB, "cmdline": "slub_min_order=11"}
    with pytest.raises(UserError) as caught:
        mmactors.load({"machine": {"memory": memory}, "processes": []})

    assert (
        "cmdline makes the kernel panic: Creation of kmalloc slab kmalloc-512 size=512 failed. "
        "Reason -22; expected slub_min_order= from 0 to 10 (lower it, or leave it out)"
    ) in str(caught.value)
