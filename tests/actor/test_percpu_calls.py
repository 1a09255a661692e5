"""Per-CPU memory as kernel modules use it (actors/percpu, program/module/percpu_calls.py)."""

import errno
import json
import subprocess
import sys

import pytest
from attrs import evolve
from machines import drive, run, scenario_of

from mmactors.mm.page_alloc.gfp import GFP_ATOMIC, GFP_KERNEL
from mmactors.sanitize.config import SanitizeConfig
from mmactors.scenario.faults.config import FailPageAlloc, FaultsConfig
from mmactors.scenario.schema import KernelConfig

STATS = "get /sys/kernel/debug/percpu_stats"
FIRST_BYTES = 28 << 10
"""What boot leaves of the first chunk; the machine has nothing in use there."""
VMALLOC = 0xFFFFE8FFFFC00000
LOADED = """
import json, sys, mmactors.scenario.wiring, mmactors.sanitize.sanitizer
print(json.dumps([name for name in sys.modules if 'mm.percpu.' in name]))
"""
FILL_FIRST = ("alloc_percpu F size=28K align=4096",)
"""The next area is of a new chunk."""


def ran(*program, **options):
    """Run a module's program under all sanitizers."""
    options = {"cpus": 3, "size": 256 << 20, **options}
    scenario = scenario_of([*program], **options)
    return run(evolve(scenario, sanitize=SanitizeConfig.everything()))


def driven(*program, **options):
    """Run it, and see the kernel afterwards."""
    return drive(scenario_of([*program], **{"cpus": 3, "size": 256 << 20, **options}))


def console(machine):
    return [event["msg"] for event in machine.events("console")]


def laws(machine):
    return [str(finding.law) for finding in machine.machine.findings()]


def text_of(machine, name):
    """Return what a program read of a file last."""
    texts = [text for text in machine.machine.texts() if text.path.endswith(name)]
    return texts[-1].text


def stats(machine):
    """Return the lines of percpu_stats as (heading, name, value)."""
    found, heading = [], ""
    for line in text_of(machine, "percpu_stats").splitlines():
        name, colon, value = line.partition(":")
        if line.startswith("  ") and colon:
            found.append((heading, name.strip(), int(value)))
        elif line and not line.startswith("-"):
            heading = line
    return found


def of_chunk(machine, heading):
    return {name: value for where, name, value in stats(machine) if where == heading}


def test_an_area_has_its_place_in_the_first_chunk_and_a_copy_for_each_cpu():
    """The lowest that fits, aligned; what one CPU's copy holds, the others' do not."""
    machine = ran(
        "alloc_percpu A size=100",
        "alloc_percpu B size=8 align=64",
        "per_cpu_write A of=2 bytes=100 value=7",
        "per_cpu_read A of=2 offset=96 bytes=4",
        "per_cpu_read A of=1 bytes=4",
        "per_cpu_read A of=3 bytes=4",
        "free_percpu A",
        "free_percpu B",
    )
    results = machine.results()

    first, second = (
        results[f"alloc_percpu {text}"] for text in ("A size=100", "B size=8 align=64")
    )
    assert 128 == second - first
    assert 0x07070707 == results["per_cpu_read A of=2 offset=96 bytes=4"]
    assert 0 == results["per_cpu_read A of=1 bytes=4"]
    assert -errno.EINVAL == results["per_cpu_read A of=3 bytes=4"], "there is no such CPU"
    assert [] == laws(machine)


def test_a_new_chunk_is_mapped_below_the_end_of_vmalloc_and_gets_the_pages_that_are_needed():
    """A page for each CPU, on its node; the balance work adds four that are empty."""
    program = [*FILL_FIRST, "alloc_percpu A size=5000", "sleep 1", STATS]
    program += ["free_percpu A", "free_percpu F"]
    machine = ran(*program)

    (created,) = machine.events("percpu_create_chunk")
    assert VMALLOC == created["base_addr"]
    (_, area) = machine.events("percpu_alloc_percpu")
    assert (VMALLOC, 0, 5000, 15000 + 10000, GFP_KERNEL) == (
        area["base_addr"], area["off"], area["size"], area["bytes_alloc"], area["gfp_flags"]
    )  # fmt: skip
    assert 4 == of_chunk(machine, "Chunk:")["empty_pop_pages"]
    assert 6 == sum(chunk.nr_populated for chunk in own_chunks(driven(*program).kernel))
    assert [] == laws(machine)


def own_chunks(kernel):
    return [c for chunks in kernel.percpu.slots.lists for c in chunks if not c.immutable]


def test_zeros_are_found_where_somebody_else_has_written():
    """An area is cleared in all units when it is handed out."""
    machine = ran(
        *FILL_FIRST,
        "alloc_percpu A size=16K",
        "per_cpu_write A of=1 offset=4000 bytes=200 value=9",
        "free_percpu A",
        "alloc_percpu B size=16K",
        "per_cpu_read B of=1 offset=4K bytes=4",
        "free_percpu B",
        "free_percpu F",
    )

    assert 0 == machine.results()["per_cpu_read B of=1 offset=4K bytes=4"]
    assert [] == laws(machine)


def test_who_may_not_wait_gets_what_is_there_and_the_balance_work_makes_more():
    """Without pages it fails at once; afterwards there are some."""
    machine = ran(
        *FILL_FIRST,
        "alloc_percpu A size=8 gfp=ATOMIC",
        "sleep 1",
        "alloc_percpu B size=8 gfp=NOWAIT",
        "free_percpu B",
        "free_percpu F",
    )
    results = machine.results()

    assert -errno.ENOMEM == results["alloc_percpu A size=8 gfp=ATOMIC"]
    assert results["alloc_percpu B size=8 gfp=NOWAIT"] > 0
    (failed,) = machine.events("percpu_alloc_percpu_fail")
    assert (True, 8) == (failed["is_atomic"], failed["size"])
    assert [] == console(machine), "who may not wait is not warned"
    assert any(event["actor"].startswith("kworker/0:") for event in machine.events("mm_page_alloc"))
    assert [] == laws(machine)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        ("size=32769", "illegal size (32772) or align (8) for percpu allocation"),
        ("size=0", "illegal size (0) or align (8) for percpu allocation"),
        ("size=8 align=8192", "illegal size (8) or align (8192) for percpu allocation"),
        ("size=8 align=24", "illegal size (8) or align (24) for percpu allocation"),
    ],
)
def test_what_the_kernel_refuses_is_warned_of_and_the_run_goes_on(call, text):
    """A WARN, NULL for the caller; silent with NOWARN."""
    loud, quiet = f"alloc_percpu A {call}", f"alloc_percpu B {call} gfp=NOWARN"
    machine = ran(loud, quiet, "free_percpu A")

    assert [-errno.ENOMEM] * 2 == [machine.results()[text] for text in (loud, quiet)]
    assert text in console(machine)
    assert 1 == sum("WARNING: CPU: 0" in line for line in console(machine))
    assert [] == laws(machine)


def test_failures_are_told_ten_times():
    """The reserved 8 KiB are full: who asks again is told, up to the limit."""
    tries = [f"alloc_reserved_percpu X{nth} size=16" for nth in range(12)]
    machine = ran("alloc_reserved_percpu A size=8K", *tries, "free_percpu A")

    failed = "percpu: allocation failed, size=16 align=8 atomic=0, alloc from reserved chunk failed"
    assert [*[failed] * 10, "percpu: limit reached, disable warning"] == console(machine)
    assert 12 == len(machine.events("percpu_alloc_percpu_fail"))
    assert [] == laws(machine)


def test_a_chunk_without_areas_stays_and_a_second_one_is_destroyed():
    """By the balance work; its pages are unmapped and freed, its addresses lazily."""
    names = [f"A{nth}" for nth in range(40)]
    program = [
        *(f"alloc_percpu {name} size=32K" for name in names),
        *(f"free_percpu {name}" for name in names),
        *("sleep 1", "vm_unmap_aliases"),
    ]
    machine = ran(*program)
    kernel = driven(*program).kernel

    assert 3 == len(machine.events("percpu_create_chunk"))
    assert 2 == len(machine.events("percpu_destroy_chunk"))
    (chunk,) = own_chunks(kernel)
    assert kernel.percpu.slots.free == chunk.slot
    assert 62 + chunk.nr_populated == kernel.percpu.nr_populated
    assert [] == laws(machine)


@pytest.mark.parametrize("guard", [False, True])
def test_a_chunk_of_which_a_fourth_is_empty_gives_pages_back_after_a_flush_of_all_cpus(guard):
    """While others have empty pages enough; the flush is one for the whole range.

    Each step says what it touches: which pages are mapped is read in one of its own.
    """
    names = [f"A{nth}" for nth in range(40)]
    machine = driven(
        *(f"alloc_percpu {name} size=32K" for name in names),
        *(f"free_percpu {name}" for name in names[:14]),
        *(f"free_percpu {name}" for name in names[16:30]),
        "sleep 1",
        guard=guard,
    )

    kernel = machine.kernel
    assert any(chunk.isolated for chunk in own_chunks(kernel))
    assert any(event["actor"].startswith("kworker") for event in machine.events("ipi_send"))


def test_meminfo_counts_the_pages_of_all_units():
    """Percpu: is boot's until somebody asks, and grows with each page, by all units."""
    program = [*FILL_FIRST, "alloc_percpu A size=4096", "get /proc/meminfo"]
    before, after = ran("get /proc/meminfo"), ran(*program)
    percpu = driven(*program).kernel.percpu

    def percpu_kb(machine):
        (line,) = (line for line in text_of(machine, "meminfo").splitlines() if "Percpu" in line)
        return int(line.split()[1])

    nr_units = percpu.units.nr_units
    assert 4 == nr_units, "three CPUs, and one that nobody is"
    assert percpu_kb(after) >= percpu_kb(before) + 4 * nr_units
    assert percpu_kb(before) == 62 * 4 * nr_units
    assert percpu.nr_populated > 62


def test_the_statistics_tell_of_areas_and_holes():
    """Of each chunk: the reserved one first, then by list."""
    machine = ran(
        "alloc_percpu A size=100", "alloc_percpu B size=300", "alloc_percpu C size=8",
        "free_percpu A", STATS, "free_percpu B", "free_percpu C",
    )  # fmt: skip

    first = of_chunk(machine, "Chunk: <- First Chunk")
    assert (2, 300, 108, 104) == tuple(
        first[key] for key in ("nr_alloc", "max_alloc_size", "sum_frag", "max_frag")
    )
    assert (8, 8, 300) == tuple(first[f"cur_{key}_alloc"] for key in ("min", "med", "max"))
    assert FIRST_BYTES - 308 == first["free_bytes"]
    everything = of_chunk(machine, "Global Stats:")
    assert (3, 1, 2, 3) == tuple(
        everything[key] for key in ("nr_alloc", "nr_dealloc", "nr_cur_alloc", "nr_max_alloc")
    )


@pytest.mark.parametrize(
    ("program", "law"),
    [
        (["alloc_percpu A size=8", "alloc_percpu A size=8"], "area leak"),
        (["alloc_percpu A size=8", "free_percpu A", "free_percpu A"], "object freed twice"),
        (
            ["alloc_percpu A size=8", "free_percpu A", "per_cpu_write A of=0"],
            "use after free",
        ),
        (["alloc_percpu A size=8", "per_cpu_read A of=0 offset=8"], "out of bounds"),
    ],
)
def test_a_modules_mistakes_are_found(program, law):
    """Areas that nobody knows, that are given back twice, or touched when they are not there."""
    assert law in laws(ran(*program))


def test_a_pointer_whose_chunk_is_gone_is_an_oops():
    """vmalloc has no page for it; who asked dies, the locks are free again."""
    names = [f"A{nth}" for nth in range(40)]
    machine = ran(
        *(f"alloc_percpu {name} size=32K" for name in names),
        *(f"free_percpu {name}" for name in names),
        "sleep 1",
        "fork P",
        "P: free_percpu A30",
        "alloc_percpu B size=8",
        "free_percpu B",
    )

    assert any("NULL pointer dereference" in line for line in console(machine))
    assert machine.results()["alloc_percpu B size=8"] > 0


def test_without_pages_an_area_fails_and_leaves_nothing():
    """The chunk that was made for it stays, empty."""
    fault = FailPageAlloc(
        probability=100, times=-1, min_order=0, require=("pcpu_populate_chunk",),
        ignore_gfp_wait=False, ignore_gfp_highmem=False,
    )  # fmt: skip
    scenario = scenario_of([*FILL_FIRST, "alloc_percpu A size=5000", "free_percpu F"], cpus=3)
    scenario = evolve(
        scenario,
        kernel=KernelConfig(fail_page_alloc=True),
        faults=FaultsConfig(fail_page_alloc=fault),
        sanitize=SanitizeConfig.everything(),
    )

    machine = run(scenario)

    assert -errno.ENOMEM == machine.results()["alloc_percpu A size=5000"]
    text = "percpu: allocation failed, size=5000 align=8 atomic=0, failed to populate"
    assert text in console(machine)
    (chunk,) = own_chunks(drive(scenario).kernel)
    assert 0 == chunk.nr_populated
    assert [] == laws(machine)


def test_atomic_requests_say_so():
    """The tracepoint has the flags that were asked with."""
    machine = ran("alloc_percpu A size=8 gfp=ATOMIC", "free_percpu A")

    (area,) = machine.events("percpu_alloc_percpu")
    assert (True, GFP_ATOMIC, "p0.alloc_percpu") == (
        area["is_atomic"], area["gfp_flags"], area["call_site"]
    )  # fmt: skip
    (freed,) = machine.events("percpu_free_percpu")
    assert area["ptr"] == freed["ptr"]


def test_a_machine_that_asks_for_no_area_does_without():
    """Neither chunks nor their compiled functions are there."""
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            LOADED,
        ],
        capture_output=True,
        text=True,
        check=True,
    )

    assert ["mmactors.mm.percpu.request"] == json.loads(done.stdout)
    assert driven("mmap A 64K", "touch A write").kernel.percpu is None
