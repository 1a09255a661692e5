"""The kernel's own objects on a machine: who dies of them, and what is told."""

from machines import final_status, run, scenario_of

BROKEN = [
    *("kmem_cache_create C size=152 flags=account", "kmem_cache_alloc O cache=C"),
    *("kmem_cache_free O cache=C", "poke O offset=72 bytes=8 value=17"),
]
"""A cache like that of areas is the same cache: the free pointer of one of its objects is gone."""

AREAS = {152: "vm_area_struct", 96: "anon_vma", 64: "anon_vma_chain", 1104: "mm_struct"}
"""Caches by the bytes of an object."""


def test_who_meets_what_a_module_broke_dies_and_the_machine_goes_on():
    """The next area follows the free pointer; its thread is killed as it would be by an oops."""
    program = [*BROKEN, "mmap A 4K", "mmap B 4K prot=r", "touch A write"]
    ran = run(scenario_of(program, ["sleep 10", "mmap A 4K", "touch A write"]))
    (death,) = ran.machine.deaths()
    (line, *_) = [event["msg"] for event in ran.events("console")]

    assert ("p0", "SIGKILL (SI_KERNEL)", "mmap B 4K prot=r") == (
        death.process,
        death.cause,
        death.operation,
    )
    assert line.startswith("general protection fault, probably for non-canonical address")
    assert "4 kB" == final_status(ran, pid=2)["VmRSS"]


def test_areas_and_links_come_from_their_caches():
    """As tracepoints tell it: who asked, and for how much; all go back."""
    ran = run(scenario_of(["mmap A 8K", "touch A write", "mprotect A 0..1 prot=r", "munmap A"]))
    told = [event for event in ran.events("kmem_cache_alloc") if event["bytes_req"] in AREAS]
    freed = [event["name"] for event in ran.events("kmem_cache_free")]
    sites = [event["call_site"] for event in told]

    assert sites.count("vm_area_alloc") >= 2
    assert {"vm_area_dup", "anon_vma_clone", "__anon_vma_prepare"} <= set(sites)
    assert sorted(AREAS[event["bytes_req"]] for event in told) == sorted(
        name for name in freed if name in AREAS.values()
    )
