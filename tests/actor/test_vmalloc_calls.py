"""Modules that map memory of the kernel's own: addresses, what it refuses, what is seen of it."""

import errno

import pytest
from attrs import evolve
from machines import run, scenario_of

from mmactors.rules import Rules
from mmactors.sanitize.config import SanitizeConfig
from mmactors.sanitize.law import Law
from mmactors.scenario.schema import KernelConfig
from mmactors.units import MIB, PAGE_SIZE

START = 0xFFFFC90000000000
BLOCK = 1 << 20
"""Bytes of a block of vm_map_ram."""


def ran(*program, cpus=2, rules=None, sanitize=None, **options):
    """Run a program with all sanitizers on."""
    kernel = KernelConfig(rules=rules or Rules())
    scenario = scenario_of(list(program), cpus=cpus, size=64 * MIB, kernel=kernel, **options)
    return run(evolve(scenario, sanitize=sanitize or SanitizeConfig.everything()))


def said(machine):
    """Return what the kernel wrote into its log."""
    return [event["msg"] for event in machine.events("console")]


def laws(machine):
    """Return the laws that were broken, in order."""
    return [finding.law for finding in machine.machine.findings()]


def texts(machine):
    return {name: str(text) for name, text in machine.machine.proc().items()}


def test_addresses_are_the_lowest_that_fit_with_a_guard_page_behind():
    """Freed ones are not used again before they are purged; IOREMAP aligns to the size."""
    machine = ran(
        *("alloc_pages X order=1", "vmalloc A 8K", "vmap M block=X", "vfree A", "vmalloc B 4K"),
        *("get_vm_area G 64K flags=IOREMAP", "vm_unmap_aliases", "vzalloc C 4K"),
        "vmalloc D 4K align=2M",
    )
    found = machine.results()

    assert START == found["vmalloc A 8K"]
    assert START + 3 * PAGE_SIZE == found["vmap M block=X"]
    assert START + 6 * PAGE_SIZE == found["vmalloc B 4K"]
    assert START + 16 * PAGE_SIZE == found["get_vm_area G 64K flags=IOREMAP"]
    assert START == found["vzalloc C 4K"], "the purge has given it back"
    assert START + 2 * MIB == found["vmalloc D 4K align=2M"]
    assert [] == laws(machine)


def test_pages_for_a_short_time_come_out_of_blocks():
    """Requests are rounded up to a power of two of pages; what was unmapped is not used again."""
    machine = ran(
        *("alloc_pages X order=6", "vm_map_ram A block=X count=3", "vm_map_ram B block=X"),
        *("vm_unmap_ram A", "vm_map_ram C block=X count=1", "peek C", "vm_unmap_ram B"),
    )
    found = machine.results()

    assert START == found["vm_map_ram A block=X count=3"]
    assert START + 4 * PAGE_SIZE == found["vm_map_ram B block=X"]
    assert START + 68 * PAGE_SIZE == found["vm_map_ram C block=X count=1"]
    assert [] == laws(machine)


def test_pages_are_the_same_at_each_address():
    """What is stored through one mapping is loaded through another, of another CPU."""
    machine = ran(
        *("alloc_pages X order=1", "thread T cpu=1", "vmap A block=X", "vm_map_ram B block=X"),
        *("poke A offset=4K bytes=2 value=0x21", "T: peek B offset=4096 bytes=4"),
    )

    assert 0x2121 == machine.results()["peek B offset=4K bytes=4"]
    assert [] == laws(machine)


REFUSED = {
    "nothing at all": (
        ["vmalloc A 0"],
        {"vmalloc A 0": -errno.ENOMEM},
        "WARNING: CPU: 0 PID: 1 at mm/vmalloc.c:3227 __vmalloc_node_range",
    ),
    "more than there is": (
        ["vmalloc A 1T"],
        {"vmalloc A 1T": -errno.ENOMEM},
        (
            "p0: vmalloc error: size 1099511627776, exceeds total pages, mode:0xcc0(GFP_KERNEL), "
            "nodemask=(null),cpuset=/,mems_allowed=0"
        ),
    ),
    "more than there is, and nobody is to know": (
        ["vmalloc A 1T gfp=NOWARN"],
        {"vmalloc A 1T gfp=NOWARN": -errno.ENOMEM},
        None,
    ),
    "pages that are not its own": (
        ["alloc_pages X order=1", "vmap A block=X count=3"],
        {"vmap A block=X count=3": -errno.EINVAL},
        None,
    ),
    "pages that it has freed": (
        ["alloc_pages X order=1", "free_pages X", "vm_map_ram A block=X"],
        {"vm_map_ram A block=X": -errno.EINVAL},
        None,
    ),
    "an area that could not be had": (
        ["vmalloc A 1T gfp=NOWARN", "vfree A", "vm_unmap_ram A"],
        {"vfree A": 0, "vm_unmap_ram A": -errno.EINVAL},
        None,
    ),
    "an object that is no area": (
        ["kmalloc A size=4096", "vfree A", "kfree A"],
        {"vfree A": 0},
        "Trying to vfree() nonexistent vm area (",
    ),
    "an object in the middle of a page": (
        ["kmalloc B size=64", "kmalloc A size=64", "vfree B", "vfree A"],
        {"vfree A": 0},
        "Trying to vfree() bad address (",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_the_kernel_refuses_is_a_result_or_a_report(what):
    """The run goes on; nothing is left behind."""
    program, results, text = REFUSED[what]
    machine = ran(*program, "nop")

    assert results.items() <= machine.results().items()
    assert (text is None) == (not said(machine))
    assert text is None or any(line.startswith(text) for line in said(machine))
    assert () == machine.machine.deaths()


@pytest.mark.parametrize("slab", ["slub", "slab", "slob"])
@pytest.mark.parametrize("call", ["kfree A", "krealloc A size=100", "krealloc A size=9000"])
def test_an_area_is_no_object_to_give_back(slab, call):
    """virt_to_folio() makes a wild pointer of it: an oops, before anything is allocated."""
    program = ["kmalloc B size=100", "vmalloc A 8K", call, "nop"]
    found = run(scenario_of(program, kernel=KernelConfig(slab=slab)))

    assert -errno.EFAULT == found.results()[call]
    assert ["BUG: unable to handle page fault for address: ffffc90000000000"] == said(found)
    sites = [event["call_site"] for event in found.events("kmalloc")]
    assert ["p0.kmalloc"] == [site for site in sites if site.startswith("p0.")]


def test_the_guard_page_is_an_oops_and_the_others_go_on():
    """A store behind the last page of an area is met by nothing."""
    machine = ran("thread T cpu=1", "vmalloc A 8K", "poke A offset=8K bytes=1")
    oops = said(machine)

    assert "BUG: unable to handle page fault for address: ffffc90000002000" == oops[0]
    assert "#PF: supervisor write access in kernel mode" == oops[1]
    assert [Law.OUT_OF_BOUNDS] == laws(machine)[:1]
    assert 1 == len(machine.machine.deaths())


@pytest.mark.parametrize("cpu", [0, 1])
def test_an_interrupt_leaves_an_area_to_a_worker(cpu):
    """vfree_deferred: its own CPU's thread frees it at once, with interrupts off."""
    machine = ran("vmalloc A 64K", f"vfree A smp_call={cpu}", "sleep 1", "nop")
    starts = [e for e in machine.events("sched_switch") if "kworker" in e["next_comm"]]

    assert bool(cpu) == bool(starts)
    assert [] == laws(machine)
    assert "unpurged" not in texts(machine)["vmallocinfo"], "nothing is in use, so nobody says so"


def test_too_much_that_is_lazy_is_purged_by_a_worker():
    """Two CPUs let 64 MiB of addresses wait; the flush of all is one interrupt of each other."""
    program = [text for _ in range(9) for text in ("get_vm_area A 8M", "free_vm_area A")]
    machine = ran(*program, "sleep 1")

    workers = {
        e["next_comm"] for e in machine.events("sched_switch") if "kworker" in e["next_comm"]
    }
    assert 1 == len(workers)
    assert 1 == machine.messages["interrupt CAL"]
    assert [] == laws(machine)


def test_a_purge_interrupts_all_cpus_lazy_ones_too():
    """on_each_cpu: CAL, not TLB; the log has who was asked, and when each had done it."""
    machine = ran("vmalloc A 8K", "poke A", "vfree A", "vm_unmap_aliases", cpus=3)
    (sent,) = machine.events("ipi_send")
    handled = machine.events("ipi_handled")

    assert ("CAL", [1, 2]) == (sent["vector"], sent["targets"])
    assert [(1, sent["id"]), (2, sent["id"])] == [(each["cpu"], each["id"]) for each in handled]
    assert {"interrupt CAL": 2} == {
        name: count for name, count in machine.messages.items() if name.startswith("interrupt")
    }
    (line,) = [line for line in texts(machine)["interrupts"].splitlines() if "CAL" in line]
    assert ["0", "1", "1"] == line.split()[1:4]


@pytest.mark.parametrize(("size", "flushes"), [("128K", 33), ("132K", 1)])
def test_more_than_33_pages_are_flushed_with_everything(size, flushes):
    """tlb_single_page_flush_ceiling, of which a guard page is one."""
    plain = ran("nop", cpus=1).counters["cpu[0].tlb_flushes"]
    machine = ran(f"vmalloc A {size}", "vfree A", "vm_unmap_aliases", cpus=1)

    assert flushes == machine.counters["cpu[0].tlb_flushes"] - plain


STALE = (
    *("thread T cpu=1", "vmalloc A 8K", "T: poke A", "vfree A", "vm_unmap_aliases"),
    *("vmalloc B 8K", "T: peek B"),
)


def test_a_stale_translation_after_a_purge_is_caught_when_the_rule_is_broken():
    """When the purge ends, and again when the CPU goes through it to the area that is there now."""
    right = ran(*STALE)
    wrong = ran(*STALE, rules=Rules(vmalloc_purge_flushes_tlb=False))
    first, second = wrong.machine.findings()

    assert [] == laws(right)
    assert [Law.STALE_KERNEL] * 2 == laws(wrong)
    assert first.what.startswith("cpu1 still knows that 0xffffc90000000000 was page 0x")
    assert second.what.startswith("cpu1 reaches 0xffffc90000000000 through an entry of its TLB")
    assert second.actor.endswith("/T")


def test_a_freed_area_is_reached_until_it_is_purged():
    """Lazily: that a CPU still can is legal, that somebody does is a mistake of its own."""
    machine = ran("vmalloc A 8K", "poke A value=0x5", "vfree A", "peek A")

    assert 0 == machine.results()["vfree A"]
    assert [Law.USE_AFTER_FREE] == laws(machine)
    assert () == machine.machine.deaths()


MISTAKES = {
    "an area is lost": (["vmalloc A 8K", "vmalloc A 8K"], Law.AREA_LEAK),
    "an area goes the wrong way": (["vmalloc A 8K", "vunmap A"], Law.WRONG_AREA),
    "an area is freed twice": (["vmalloc A 8K", "vfree A", "vfree A"], Law.OBJECT_FREED_TWICE),
    "pages are freed that are mapped": (
        ["alloc_pages X order=1", "vmap A block=X", "free_pages X", "peek A"],
        Law.USE_AFTER_FREE,
    ),
}


@pytest.mark.parametrize("what", MISTAKES)
def test_mistakes_of_modules_are_told(what):
    """The first finding says which."""
    program, law = MISTAKES[what]

    assert law == laws(ran(*program))[0]


def test_vmallocinfo_and_meminfo_say_what_is_there():
    """In the kernel's format; what was freed and not purged stands behind the last area."""
    machine = ran(
        *("alloc_pages X order=1", "vmalloc A 3M", "vmap M block=X", "vm_map_ram R block=X"),
        *("get_vm_area G 64K flags=IOREMAP", "vmalloc F 4K", "vfree F"),
        nr_nodes=2,
        cpus=2,
    )
    lines = texts(machine)["vmallocinfo"].splitlines()

    assert (
        "0xffffc90000000000-0xffffc90000301000 3149824 p0.vmalloc pages=768 vmalloc vpages N0=768"
        == lines[0]
    )
    assert (
        "0xffffc90000301000-0xffffc90000304000   12288 p0.vmalloc pages=2 vmalloc N0=2" == lines[1]
    )
    assert "0xffffc90000304000-0xffffc90000307000   12288 p0.vmap vmap" == lines[2]
    assert lines[3].endswith("p0.get_vm_area ioremap")
    assert lines[4].endswith("1048576 vm_map_ram")
    assert lines[5].endswith("8192 unpurged vm_area")
    used = 770 * PAGE_SIZE // 1024
    assert f"VmallocUsed:    {used:8} kB" in texts(machine)["meminfo"]
    areas = machine.machine.inspect().areas
    assert 6 == len(areas)
    assert ("p0.vmalloc", 768, False) == (areas[0].caller, len(areas[0].pfns), areas[0].is_lazy)
    assert areas[5].is_lazy


def test_a_machine_that_asks_for_no_area_has_none():
    """No page is taken for it, and its file is empty."""
    machine = ran("nop")

    assert 0 == len(machine.machine.inspect().areas)
    assert "" == texts(machine)["vmallocinfo"]


@pytest.mark.parametrize("guard", [False, True])
@pytest.mark.parametrize("driver", ["trio", "inline"])
def test_threads_on_three_cpus_share_the_addresses(driver, guard):
    """Each its own areas: blocks are the CPUs', trees are everybody's."""
    work = ["vmalloc {0} 64K", "poke {0} bytes=64K", "vm_map_ram R{0} block=X", "peek R{0}"]
    back = ["vfree {0}", "vm_unmap_ram R{0}", "vm_unmap_aliases"]
    program = ["alloc_pages X order=2", "thread T1 cpu=1", "thread T2 cpu=2"]
    for nth in range(4):
        program += [f"{by}& {text.format(by + str(nth))}" for by in ("T1", "T2") for text in work]
        program += [text.format(f"P{nth}") for text in work + back]
        program += [f"{by}& {text.format(by + str(nth))}" for by in ("T1", "T2") for text in back]
    machine = ran(*program, "wait", cpus=3, driver=driver, guard=guard)

    assert [] == laws(machine)
    assert "vmalloc" not in texts(machine)["vmallocinfo"]
