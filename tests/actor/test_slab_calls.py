"""Operations on caches and their objects, as a kernel module does them."""

import errno
import json

import pytest
from attrs import evolve
from machines import drive, run, scenario_of

from mmactors.actors.program.module.slab_calls import SlabCalls
from mmactors.errors import UserError
from mmactors.mm.slab import flags as slab_flags
from mmactors.mm.slab.slab_common import PAGE_OFFSET
from mmactors.mm.vmstat import NODE_ITEM
from mmactors.observe.ftrace.names import gfp_names
from mmactors.sanitize.config import SanitizeConfig
from mmactors.scenario.dump import dump_scenario
from mmactors.scenario.load import parse_scenario
from mmactors.units import PAGE_SHIFT
from mmactors.workload.operation.slab import SlabFlag
from mmactors.workload.program import Program


def ran(*program, **options):
    return run(scenario_of(list(program), size=32 << 20, **options))


def results(*program, **options):
    """Return what the operations of a program gave."""
    return ran(*program, **options).results()


def console(machine):
    return [event["msg"] for event in machine.events("console")]


def of_module(ran, name):
    """Return the events of what a program has allocated, or freed."""
    return [event for event in ran.events(name) if event["call_site"].startswith("p0.")]


def nr_pages(kernel, name):
    """Return a counter of node 0, with what its CPUs have not added yet."""
    return kernel.vmstat.node_page_state_snapshot(0, NODE_ITEM[name])


def nr_slab_pages(kernel):
    return nr_pages(kernel, "nr_slab_reclaimable") + nr_pages(kernel, "nr_slab_unreclaimable")


def caches(*program, **options):
    """Run a program; return the caches of its machine, and the kernel."""
    driven = drive(scenario_of(list(program), size=32 << 20, **options))
    calls = driven.wired.interpreter.slab
    assert isinstance(calls, SlabCalls)
    return {s.name: s for s in calls.slab.allocator.caches}, driven.kernel


def test_an_object_freed_by_another_cpu_waits_in_its_slab():
    """The CPU whose slab it is gets it again, not the one that freed it."""
    found = results(
        *("thread T cpu=1", "kmalloc A size=100", "T: kfree A", "T: kmalloc B size=100"),
        *("kmalloc C size=100", "kfree C", "kmalloc D size=100"),
        cpus=2,
    )

    assert found["kmalloc A size=100"] != found["kmalloc B size=100"]
    assert found["kmalloc C size=100"] == found["kmalloc D size=100"] >= PAGE_OFFSET


def test_objects_take_pages_and_give_them_back():
    """A slab is counted for its node; a cache that is destroyed leaves nothing."""
    program = ["kmem_cache_create C size=1000 flags=reclaim_account", "kmem_cache_alloc O cache=C"]
    _, held = caches(*program)
    _, gone = caches(*program, "kmem_cache_free O cache=C", "kmem_cache_destroy C")

    assert (2, 0) == (nr_pages(held, "nr_slab_reclaimable"), nr_pages(gone, "nr_slab_reclaimable"))
    assert 0 < nr_pages(held, "nr_slab_unreclaimable")
    assert sum(1 << order for order in held.slab_pages.values()) == nr_slab_pages(held)
    assert sum(1 << order for order in gone.slab_pages.values()) == nr_slab_pages(gone)


def test_what_is_larger_than_the_largest_class_is_pages():
    """Counted as unreclaimable slab; more than 4 MiB there is not."""
    _, large = caches("kmalloc L size=64K")
    _, none = caches("nop")
    found = results("kmalloc L size=64K", "kfree L", "kmalloc M size=8M", "kmalloc Z size=0")

    assert 16 + nr_slab_pages(none) == nr_slab_pages(large)
    assert found["kmalloc L size=64K"] % (64 << 10) == 0
    assert (-errno.ENOMEM, 16) == (found["kmalloc M size=8M"], found["kmalloc Z size=0"])


def test_krealloc_moves_what_does_not_fit():
    """Within its class an object stays."""
    found = results("kmalloc A size=100", "krealloc A size=128", "krealloc A size=129", "kfree A")

    assert found["kmalloc A size=100"] == found["krealloc A size=128"]
    assert found["krealloc A size=128"] != found["krealloc A size=129"]


def test_a_cache_like_another_is_the_other():
    """Merged, as without slab_nomerge; what has a flag of its own stays alone."""
    found, _ = caches(
        "kmem_cache_create C size=1000",
        "kmem_cache_create D size=996",
        "kmem_cache_create E size=1000 flags=red_zone",
    )

    assert ["D"] == found["C"].aliases
    assert "E" in found
    assert "D" not in found


def test_what_the_kernel_refuses_is_a_result_and_a_line_in_the_log():
    """kmem_cache_create returns NULL; no slab holds an object of 1 GiB."""
    machine = ran("kmem_cache_create C size=1G", "kmem_cache_alloc O cache=C")

    assert -errno.EINVAL == machine.results()["kmem_cache_create C size=1G"]
    assert -errno.EINVAL == machine.results()["kmem_cache_alloc O cache=C"]
    assert any(
        "kmem_cache_create_usercopy(C) failed with error -22" in line for line in console(machine)
    )


def test_a_cache_with_objects_is_not_destroyed():
    """The kernel names them, and goes on."""
    machine = ran(
        *("kmem_cache_create C size=1000 flags=poison", "kmem_cache_alloc O cache=C"),
        *("kmem_cache_destroy C", "kmalloc A size=8"),
    )

    assert -errno.EBUSY == machine.results()["kmem_cache_destroy C"]
    assert 0 < machine.results()["kmalloc A size=8"]
    assert any("Objects remaining" in line for line in console(machine))


def test_a_double_free_kills_who_does_it_and_nobody_else():
    """BUG_ON in set_freepointer; other processes allocate from the same slabs afterwards."""
    machine = run(
        scenario_of(
            ["kmalloc A size=64", "kfree A", "kfree A", "kmalloc B size=64"],
            ["sleep 10", "kmalloc C size=64", "kfree C"],
            cpus=2,
        )
    )

    assert "kmalloc B size=64" not in machine.results()
    assert 0 == machine.results()["kfree C"]
    assert "kernel BUG at mm/slub.c:419!" in console(machine)


def test_a_double_free_in_a_cache_that_checks_is_reported_and_survived():
    """consistency_checks: the report names the object, and the second free is ignored."""
    machine = ran(
        "kmem_cache_create C size=72 flags=consistency_checks",
        *("kmem_cache_alloc O cache=C", "kmem_cache_alloc P cache=C"),
        *("kmem_cache_free O cache=C", "kmem_cache_free O cache=C"),
    )

    assert 0 == machine.results()["kmem_cache_free O cache=C"]
    assert any("Object already free" in line for line in console(machine))


def test_what_is_freed_and_is_no_more_the_allocators_stays_with_who_has_it():
    """The kernel warns of a pointer whose pages have become another's."""
    machine = ran(
        *("kmalloc L size=16K", "kfree L", "alloc_pages B order=2", "mmap A 2M"),
        *("touch A write", "kfree L", "munmap A", "free_pages B"),
    )

    assert 0 == machine.results()["kfree L"]
    assert 0 == machine.results()["free_pages B"]
    assert any("free_large_kmalloc" in line for line in console(machine))


def test_slabs_of_two_zones_are_refused():
    """GFP_DMA | GFP_DMA32 is no zone."""
    (problem,) = Program.parse(["kmem_cache_create C size=8 flags=cache_dma,cache_dma32"]).problems

    assert "kmem_cache_create: its slabs are to be of two zones" == problem.found


def test_a_free_into_the_wrong_cache_is_told_and_goes_to_the_right_one():
    """SLAB_FREELIST_HARDENED: cache_from_obj warns."""
    machine = ran(
        "kmem_cache_create C size=64 flags=red_zone",
        "kmem_cache_create D size=200 flags=red_zone",
        *("kmem_cache_alloc O cache=C", "kmem_cache_free O cache=D", "kmem_cache_destroy C"),
    )

    assert any("Wrong slab cache. D but object is from C" in line for line in console(machine))
    assert 0 == machine.results()["kmem_cache_destroy C"]


def test_shrinking_takes_what_each_cpu_has():
    """A worker on each CPU flushes it; the pages go back."""
    found, kernel = caches(
        "thread T cpu=1",
        "kmem_cache_create C size=1000",
        *("kmem_cache_alloc A cache=C", "T: kmem_cache_alloc B cache=C"),
        *("kmem_cache_free A cache=C", "T: kmem_cache_free B cache=C", "kmem_cache_shrink C"),
        cpus=2,
    )

    assert 0 == found["C"].nr_slabs
    assert {s.number for s in found.values()} >= {found["C"].number}
    assert all(kernel.pages.mapping_view[pfn] - 1 != found["C"].number for pfn in kernel.slab_pages)


def test_slabs_of_a_cache_for_rcu_go_back_after_a_grace_period():
    """And with the last of them the cache itself."""
    found, _ = caches(
        *("kmem_cache_create C size=1000 flags=typesafe_by_rcu", "kmem_cache_alloc A cache=C"),
        *("kmem_cache_free A cache=C", "kmem_cache_destroy C", "sleep 1"),
    )

    assert "C" not in found


def test_events_are_the_tracepoints():
    """With their fields; what is freed of nothing is told too."""
    machine = ran(
        *("kmalloc A size=100", "kfree A", "kmem_cache_create C size=100"),
        *("kmem_cache_alloc O cache=C gfp=ATOMIC", "kmem_cache_free O cache=C"),
    )
    (alloc,) = of_module(machine, "kmalloc")
    (free,) = of_module(machine, "kfree")
    (alloc_of,) = of_module(machine, "kmem_cache_alloc")
    (free_of,) = of_module(machine, "kmem_cache_free")

    assert (100, 128, -1, False) == tuple(
        alloc[name] for name in ("bytes_req", "bytes_alloc", "node", "accounted")
    )
    assert alloc["ptr"] == free["ptr"] == machine.results()["kmalloc A size=100"]
    assert (100, 104) == (alloc_of["bytes_req"], alloc_of["bytes_alloc"])
    assert ("C", alloc_of["ptr"]) == (free_of["name"], free_of["ptr"])


def node_of(kernel, pointer):
    """Return the node of an object."""
    return kernel.zone_node[kernel.pages.zone_view[(pointer - PAGE_OFFSET) >> PAGE_SHIFT] - 1]


def test_objects_of_a_node_lie_there():
    """And in the events; who asks for none takes of the slab that the CPU has."""
    program = [
        *("kmalloc A size=100", "kmalloc B size=100 node=1", "kmalloc C size=100 node=0"),
        *("kzalloc L size=64K node=1", "kmem_cache_create K size=1000 flags=reclaim_account"),
        *("kmem_cache_alloc O cache=K node=1", "kmem_cache_alloc P cache=K"),
    ]
    ran = drive(scenario_of(program, size=64 << 20, nr_nodes=2))
    found = {event["call"]: event["ret"] for event in ran.events("sys_exit")}
    asked = [event["node"] for event in of_module(ran, "kmalloc")]

    assert [0, 1, 0, 1, 1, 1] == [
        node_of(ran.kernel, found[text]) for text in program if "create" not in text
    ]
    assert asked == [-1, 1, 0, 1]
    assert [1, -1] == [event["node"] for event in of_module(ran, "kmem_cache_alloc")]


def test_a_node_whose_memory_is_used_up_gives_what_the_other_has():
    """Slabs of it come from the other node then, as everything does."""
    program = ["alloc_pages H order=10", *["kmalloc L size=4M node=1"] * 20]
    ran = drive(scenario_of(program, size=64 << 20, nr_nodes=2))
    events = ran.events("kmalloc")
    nodes = [node_of(ran.kernel, event["ptr"]) for event in events if event["ptr"]]

    assert [1, 1, 0] == [nodes[0], nodes[1], nodes[-1]]
    assert nodes == sorted(nodes, reverse=True)


def test_what_has_to_be_of_a_node_is_of_no_other():
    """__GFP_THISNODE: when its memory is used up there is none."""
    program = ["kmalloc L size=4M node=1 gfp=THISNODE"] * 20
    ran = drive(scenario_of(program, size=64 << 20, nr_nodes=2))
    pointers = [event["ptr"] for event in of_module(ran, "kmalloc")]

    assert {1} == {node_of(ran.kernel, pointer) for pointer in pointers if pointer}
    assert [True, 0] == [pointers[0] > 0, pointers[-1]]


@pytest.mark.parametrize(
    "call", ["kmalloc A size=8", "vmalloc A 8", "vzalloc A 8", "vm_map_ram A block=P"]
)
def test_a_node_that_the_machine_does_not_have_is_refused(call):
    """Check says so, with the place."""
    text = dump_scenario(scenario_of(["alloc_pages P", f"{call} node=1"]))
    with pytest.raises(UserError) as caught:
        parse_scenario(text, file="a.yaml", folder=None)
    (problem,) = caught.value.problems

    assert f"processes[0].program[1]: {call.split()[0]}: there is no node 1" == problem.found
    assert "expected 0 to 0 on a machine of 1 nodes" == problem.legal


CREATE = "kmem_cache_create a_name_of_20_letters size=1000 flags=poison"
NAME = "kmem_cache_create_usercopy"
MADE = [
    ("kmalloc", NAME, 21, 32, "GFP_KERNEL", -1),
    ("kmem_cache_alloc", NAME, 224, 256, "GFP_KERNEL|__GFP_ZERO", -1),
    ("kmalloc", "cache_random_seq_create", 32, 32, "GFP_KERNEL|__GFP_ZERO", -1),
    ("kmem_cache_alloc", "__kmem_cache_create", 64, 64, "GFP_KERNEL", 0),
]
GONE = [
    ("kfree", "cache_random_seq_destroy"),
    ("kmem_cache_free", "__kmem_cache_release", "kmem_cache_node"),
    ("kfree", "slab_kmem_cache_release"),
    ("kmem_cache_free", "kobject_put", "kmem_cache"),
]
OBJECT = [("kmem_cache_alloc", "p0.kmem_cache_alloc", 1000, 1008, "GFP_KERNEL", -1)]
REFUSED = [
    ("kmalloc", NAME, 8, 8, "GFP_KERNEL", -1),
    ("kmem_cache_alloc", NAME, 224, 256, "GFP_KERNEL|__GFP_ZERO", -1),
    ("kfree", "cache_random_seq_destroy"),
    ("kmem_cache_free", NAME, "kmem_cache"),
    ("kfree", NAME),
]
"""Debian's kernel tells this of such modules (tracefs events/kmem), and what sysfs allocates."""


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        (
            [CREATE, "kmem_cache_alloc O cache=a_name_of_20_letters"],
            MADE + OBJECT,
        ),
        (
            [CREATE, "kmem_cache_destroy a_name_of_20_letters"],
            MADE + GONE,
        ),
        (["kmem_cache_create so_much size=1G"], REFUSED),
        (
            ["kmalloc A size=100", "krealloc A size=120", "krealloc A size=300"],
            [
                ("kmalloc", "p0.kmalloc", 100, 128, "GFP_KERNEL", -1),
                ("kmalloc", "p0.krealloc", 300, 512, "GFP_KERNEL", -1),
                ("kfree", "krealloc"),
            ],
        ),
        (
            ["kmalloc A size=8192", "krealloc A size=10000", "krealloc A size=0", "kfree A"],
            [
                ("kmalloc", "p0.kmalloc", 8192, 8192, "GFP_KERNEL", -1),
                ("kmalloc", "p0.krealloc", 10000, 16384, "GFP_KERNEL", -1),
                *[("kfree", "krealloc")] * 2,
                ("kfree", "p0.kfree"),
            ],
        ),
        (
            ["kmalloc A size=8M", "kfree A"],
            [
                ("kmalloc", "p0.kmalloc", 8 << 20, 8 << 20, "GFP_KERNEL", -1),
                ("kfree", "p0.kfree"),
            ],
        ),
        (
            ["kmalloc A size=0", "kfree A", "kmalloc A size=100 node=0"],
            [
                ("kfree", "p0.kfree"),
                ("kmalloc", "p0.kmalloc", 100, 128, "GFP_KERNEL", 0),
            ],
        ),
    ],
)
def test_who_allocates_is_told_as_the_kernel_does(program, expected):
    """What caches are made of, and krealloc: in this order, from these functions."""
    fields = ("call_site", "bytes_req", "bytes_alloc", "gfp_flags", "node", "name")
    told = []
    for line in ran(*program).log.splitlines():
        event = json.loads(line)
        kind = event.get("event", "")
        if kind in ("kmalloc", "kfree", "kmem_cache_alloc", "kmem_cache_free"):
            values = [event[field] for field in fields if field in event]
            if kind in ("kmalloc", "kmem_cache_alloc"):
                values[3] = gfp_names(values[3])
            told.append((kind, *values))
    first = told.index(expected[0])

    assert expected == told[first : first + len(expected)]


def test_flags_have_the_kernels_values():
    """The language names them; mm/slab has them too."""
    assert {flag.name: int(flag) for flag in SlabFlag} == {
        flag.name: getattr(slab_flags, f"SLAB_{flag.name}", None)
        or getattr(slab_flags, str(flag.name))
        for flag in SlabFlag
    }


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("kfree A", "A is not the name of an object here"),
        ("kmem_cache_alloc O cache=C", "C is not the name of a cache here"),
    ],
)
def test_a_name_must_be_bound_before(text, found):
    """Check says so before anything runs."""
    (problem,) = Program.parse([text]).problems

    assert found == problem.found


@pytest.mark.parametrize(
    "program",
    [
        ["kmalloc A size=100", "kmalloc L size=64K"],
        ["kmem_cache_create C size=500", "kmem_cache_alloc O cache=C"],
        ["fork C", "C: kmalloc A size=1K", "kill C"],
    ],
)
def test_objects_are_the_modules_and_no_leaks_of_pages(program):
    """The module keeps them when the program ends."""
    scenario = scenario_of(program, size=32 << 20)
    machine = run(evolve(scenario, sanitize=SanitizeConfig.everything())).machine

    assert () == machine.findings()
