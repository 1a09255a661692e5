"""What the checkers of objects find in a state that was broken by hand."""

from collections.abc import Callable

import pytest
from attrs import evolve
from machines import Driven, drive, run, scenario_of

from mmactors.mm.area import vm_area
from mmactors.mm.slab.slub.cache import KmemCache
from mmactors.mm.slab.slub.struct_slab import (
    FREELIST,
    NR_PARTIAL,
    NR_SLABS,
    PARTIAL_HEAD,
    SLAB,
    TOTAL_OBJECTS,
)
from mmactors.mm.vmstat import NODE_ITEM
from mmactors.sanitize.config import SanitizeConfig
from mmactors.sanitize.law import Law
from mmactors.sanitize.sanitizer import Sanitizer

MANY = tuple(f"kmem_cache_alloc O{number} cache=C" for number in range(12))
PROGRAM = ("kmem_cache_create C size=1000", *MANY, "kmem_cache_free O2 cache=C", "spin")


@pytest.fixture
def driven() -> Driven:
    """Return a machine whose program has objects in two slabs, and spins."""
    scenario = scenario_of(list(PROGRAM), size=32 << 20)
    scenario = evolve(scenario, sanitize=SanitizeConfig.everything())
    return drive(scenario, until_ns=100_000)


def sanitizer_of(driven: Driven) -> Sanitizer:
    assert driven.wired.sanitizer is not None
    return driven.wired.sanitizer


def cache_of(driven: Driven) -> KmemCache:
    return next(s for s in driven.kernel.slab.caches if s.name == "C")


def found(driven: Driven) -> list[str]:
    """Return what is found at rest, in a line each."""
    sanitizer = sanitizer_of(driven)
    sanitizer.at_rest()
    return [finding.head for finding in sanitizer.findings]


def test_a_healthy_machine_has_all_its_objects(driven: Driven) -> None:
    """In the middle of a program, too; the kernel's own among them."""
    objects = sanitizer_of(driven).objects
    assert objects is not None
    caches = {record.cache for record in objects.records.values() if record.freed is None}

    assert [] == found(driven)
    assert {"C", "mm_struct", "vm_area_struct"} <= caches


def break_inuse(driven: Driven, s: KmemCache) -> None:
    driven.kernel.pages.private_view[s.slabs.view[s.cpu_slab(0) + SLAB]] -= 1


def break_nr_slabs(_driven: Driven, s: KmemCache) -> None:
    s.slabs.view[s.node(0) + NR_SLABS] += 1


def break_total_objects(_driven: Driven, s: KmemCache) -> None:
    s.slabs.view[s.node(0) + TOTAL_OBJECTS] -= 8


def break_nr_partial(_driven: Driven, s: KmemCache) -> None:
    s.slabs.view[s.node(0) + NR_PARTIAL] += 1


def break_vmstat(driven: Driven, _s: KmemCache) -> None:
    driven.kernel.vmstat.mod_node_page_state(0, 0, NODE_ITEM["nr_slab_unreclaimable"], 1)


@pytest.mark.parametrize(
    ("break_it", "name"),
    [
        (break_inuse, "inuse of slab"),
        (break_nr_slabs, "nr_slabs of C"),
        (break_total_objects, "total_objects of C"),
        (break_nr_partial, "nr_partial of C"),
        (break_vmstat, "nr_slab_unreclaimable of all"),
    ],
)
def test_a_counter_of_slabs_that_lies_is_found(
    break_it: Callable[[Driven, KmemCache], None], name: str, driven: Driven
) -> None:
    """One finding, which names it."""
    break_it(driven, cache_of(driven))
    (head,) = found(driven)

    assert head.startswith(f"{Law.COUNTER}: {name}")


def test_a_freelist_in_a_circle_is_found(driven: Driven) -> None:
    """And what lies behind the place where it goes back."""
    s = cache_of(driven)
    first = s.slabs.view[s.cpu_slab(0) + FREELIST]
    s.set_freepointer(first, first)
    broken, lost = found(driven)

    assert broken.startswith(Law.FREELIST)
    assert "which it has already" in broken
    assert lost.startswith(Law.OBJECT_LOST)


def test_a_freelist_that_leads_out_of_its_slab_is_found(driven: Driven) -> None:
    """Here into the middle of an object."""
    s = cache_of(driven)
    c = s.cpu_slab(0)
    s.slabs.view[c + FREELIST] += 8
    heads = found(driven)

    assert "which is no object of it" in heads[0]


def test_an_object_that_is_in_use_and_on_a_freelist_is_found(driven: Driven) -> None:
    """Named, with its slab."""
    objects = sanitizer_of(driven).objects
    assert objects is not None
    s = cache_of(driven)
    thing = s.slabs.view[s.cpu_slab(0) + FREELIST]
    objects.object_allocated(s, thing)
    heads = found(driven)

    assert any("is in use and on a freelist" in head for head in heads)


def test_a_slab_on_two_lists_is_found(driven: Driven) -> None:
    """The CPU's slab, which stands on the node's list, too."""
    s = cache_of(driven)
    links = s.slabs.pages.next_view
    head, slab = s.slabs.view[s.node(0) + PARTIAL_HEAD], s.slabs.view[s.cpu_slab(0) + SLAB]
    links[head], links[slab] = slab, head
    s.slabs.view[s.node(0) + NR_PARTIAL] += 1

    assert any("is the slab of cpu0 and on the partial list" in each for each in found(driven))


def test_a_free_of_the_middle_of_an_object_is_found(driven: Driven) -> None:
    """And of what never was one."""
    objects = sanitizer_of(driven).objects
    assert objects is not None
    s = cache_of(driven)
    thing = next(each.thing for each in objects.records.values() if each.cache == "C")
    objects.object_freed(s, thing + 16)
    objects.object_freed(None, 1 << 12)

    middle, nothing = sanitizer_of(driven).findings
    assert Law.NO_OBJECT_FREED is middle.law is nothing.law
    assert "is 16 bytes behind the start of object" in middle.what
    assert "which was never handed out" in nothing.what


def test_an_area_that_the_kernel_forgets_is_a_leak(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever made it is named."""
    monkeypatch.setattr(vm_area, "kmem_cache_free", lambda *_: iter(()))
    scenario = scenario_of(["mmap A 16K", "munmap A", "nop"], size=32 << 20)
    ran = run(evolve(scenario, sanitize=SanitizeConfig(leaks=True)))
    leaks = [each for each in ran.machine.findings() if "of vm_area_struct at" in each.what]

    assert {Law.OBJECT_LEAK} == {each.law for each in leaks}
    assert any("doing `mmap A 16K" in each.facts[0] for each in leaks)


def test_nobody_is_told_of_objects_without_these_checkers() -> None:
    """Each allocation then asks once whether there is somebody."""
    scenario = scenario_of(["kmalloc A size=8"], size=32 << 20)
    driven = drive(evolve(scenario, sanitize=SanitizeConfig(page_state=True)))

    assert driven.kernel.slab.memory.checks is None


def test_records_alone_report_nothing_but_leaks() -> None:
    """Who asks for leaks is not told of double frees."""
    program = ["kmalloc A size=8", "kmalloc A size=8", "kfree A", "kfree A"]
    scenario = scenario_of(program, size=32 << 20)
    ran = run(evolve(scenario, sanitize=SanitizeConfig(leaks=True)))

    assert {Law.OBJECT_LEAK} == {finding.law for finding in ran.machine.findings()}


def test_two_caches_of_one_name_are_told_apart() -> None:
    """The first could not be destroyed, as an object was left; it keeps the name, too."""
    create, free = "kmem_cache_create C size=100 flags=poison", "kmem_cache_free A cache=C"
    program = [create, "kmem_cache_alloc A cache=C", "kmem_cache_destroy C", create, free]
    scenario = evolve(scenario_of(program), sanitize=SanitizeConfig.everything())
    (finding,) = run(scenario).machine.findings()

    assert Law.WRONG_CACHE is finding.law
    assert finding.what.endswith("is freed as an object of another C")
