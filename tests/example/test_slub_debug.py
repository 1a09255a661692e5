"""SLUB with debugging: each mistake is found, and the report reads like the kernel's (v6.1)."""

import pytest
from slubs import SlubAlone

from mmactors.mm.slab.caller import SlabCaller
from mmactors.mm.slab.flags import (
    DEBUG_DEFAULT_FLAGS,
    SLAB_CONSISTENCY_CHECKS,
    SLAB_POISON,
    SLAB_RED_ZONE,
    SLAB_STORE_USER,
)
from mmactors.mm.slab.slub.debug.debug_option import parse_slub_debug

STACK = ("writer+0x10/0x40", "do_syscall_64+0x55/0xb0")
WRITER = SlabCaller(site="writer+0x10/0x40", stack=STACK, pid=17, jiffies=100)
FREER = SlabCaller(site="freer+0x8/0x20", pid=18, jiffies=130)
LATER = SlabCaller(site="later+0x1/0x2", pid=19, jiffies=150)
DIRECT_MAP = 0xFFFF888000000000
FLAGS = "flags=0xfffffc0000200(slab|node=0|zone=1|lastcpupid=0x1fffff)"
CHECKED = SLAB_CONSISTENCY_CHECKS | SLAB_RED_ZONE | SLAB_POISON


@pytest.fixture
def alone():
    return SlubAlone(random=False)


def write(alone, address, text):
    alone.slabs.bytes_view[address : address + len(text)] = text


def reports(alone):
    """Return what each report is about."""
    return [line.partition("): ")[2] for line in alone.log if line.startswith("BUG ")]


def test_a_write_behind_an_object_is_found_when_it_is_freed(alone):
    """The whole report: what, who, the slab, the object, its surroundings, what is mended."""
    s = alone.create(20, "buffers", flags=DEBUG_DEFAULT_FLAGS)
    thing = alone.alloc(s, caller=WRITER)
    write(alone, thing, b"0123456789abcdefghijXY")
    alone.free(s, thing, caller=FREER)

    at = DIRECT_MAP + thing
    free = f"fp=0x{at + 112:x}"
    slab = alone.slabs.head_of(thing)
    assert [
        "=" * 77,
        "BUG buffers (Not tainted): Right Redzone overwritten",
        "-" * 77,
        "",
        f"0x{at + 20:x}-0x{at + 21:x} @offset=28. First byte 0x58 instead of 0xcc",
        "Allocated in writer+0x10/0x40 age=30 cpu=0 pid=17",
        " writer+0x10/0x40",
        " do_syscall_64+0x55/0xb0",
        f"Slab 0x{0xFFFFEA0000000000 + 64 * slab:016x} objects=36 used=1 {free} {FLAGS}",
        f"Object 0x{at:x} @offset=8 fp=0x0000000000000000",
        "",
        f"Redzone  {at - 8:x}: cc cc cc cc cc cc cc cc                          ........",
        f"Object   {at:x}: 30 31 32 33 34 35 36 37 38 39 61 62 63 64 65 66  0123456789abcdef",
        f"Object   {at + 16:x}: 67 68 69 6a                                      ghij",
        f"Redzone  {at + 20:x}: 58 59 cc cc                                      XY..",
        f"Padding  {at + 96:x}: 5a 5a 5a 5a 5a 5a 5a 5a                          ZZZZZZZZ",
        f"FIX buffers: Restoring Right Redzone 0x{at + 20:x}-0x{at + 21:x}=0xcc",
        f"FIX buffers: Object at 0x{at:x} not freed",
    ] == alone.log


def test_a_write_before_an_object_is_found(alone):
    """The left red zone."""
    s = alone.create(64, flags=CHECKED)
    thing = alone.alloc(s)
    write(alone, thing - 1, b"\0")
    alone.free(s, thing)

    assert ["Left Redzone overwritten"] == reports(alone)


def test_a_write_after_free_is_found_when_the_object_is_handed_out(alone):
    """Poison says it, with who freed the object; all of the slab's objects count as used then."""
    s = alone.create(64, flags=DEBUG_DEFAULT_FLAGS)
    thing = alone.alloc(s, caller=WRITER)
    alone.free(s, thing, caller=FREER)
    write(alone, thing + 5, b"A")

    again = alone.alloc(s, caller=LATER)

    assert ["Poison overwritten"] == reports(alone)
    assert "Freed in freer+0x8/0x20 age=20 cpu=0 pid=18" in alone.log
    assert "Allocated in writer+0x10/0x40 age=50 cpu=0 pid=17" in alone.log
    assert "FIX objects: Marking all objects used" == alone.log[-1]
    assert alone.slabs.head_of(again) != alone.slabs.head_of(thing)


def test_an_object_freed_twice_is_found_and_not_freed_again(alone):
    """However many frees are in between; but the list is cut off there, as in the kernel."""
    s = alone.create(64, flags=CHECKED)
    first, second, third = (alone.alloc(s) for _ in range(3))
    for thing in (first, second, first):
        alone.free(s, thing)

    assert ["Object already free"] == reports(alone)
    assert [second, first] == alone.free_objects(s)
    alone.free(s, third)
    nr_lost = s.layout.objects - 3
    counted = s.layout.objects - 2
    text = f"Wrong object count. Counter is 1 but counted were {counted}"
    assert text == reports(alone)[1]
    assert nr_lost == alone.slabs.pages.private_view[alone.slabs.head_of(first)] & 0xFFFF


def test_an_address_within_an_object_is_not_freed(alone):
    """It is no object of the slab."""
    s = alone.create(64, flags=SLAB_CONSISTENCY_CHECKS)
    thing = alone.alloc(s)
    alone.free(s, thing + 8)

    assert [f"Invalid object pointer 0x{DIRECT_MAP + thing + 8:x}"] == reports(alone)
    alone.assert_laws(s, [thing])


def test_a_pointer_between_free_objects_that_was_overwritten_is_found(alone):
    """The chain ends there, and the rest of its objects is lost, as in the kernel."""
    s = alone.create(64, flags=SLAB_CONSISTENCY_CHECKS)
    things = [alone.alloc(s) for _ in range(3)]
    for thing in things:
        alone.free(s, thing)
    write(alone, things[1] + s.layout.offset, b"AAAAAAAA")

    assert things[2] == alone.alloc(s)
    assert 0 != alone.alloc(s)
    assert ["Freepointer corrupt"] == reports(alone)


def test_padding_behind_the_last_object_is_looked_at(alone):
    """The end of a slab that no object fills."""
    s = alone.create(700, flags=CHECKED)
    thing = alone.alloc(s)
    slab = alone.slabs.head_of(thing)
    nr_bytes = 4096 << s.layout.order
    write(alone, slab * 4096 + nr_bytes - 2, b"!")
    alone.free(s, thing)

    start = DIRECT_MAP + slab * 4096 + nr_bytes - 2
    assert [f"Padding overwritten. 0x{start:x}-0x{start:x} @offset={nr_bytes - 2}"] == reports(
        alone
    )
    assert f"FIX objects: Restoring slab padding 0x{start:x}-0x{start:x}=0x5a" in alone.log
    alone.assert_laws(s, [])


def test_a_wrong_count_of_objects_is_mended(alone):
    """The counter is set to what the list says."""
    s = alone.create(64, flags=SLAB_CONSISTENCY_CHECKS)
    first, second = alone.alloc(s), alone.alloc(s)
    slab = alone.slabs.head_of(first)
    alone.pages.private_view[slab] += 1
    alone.free(s, first)

    assert ["Wrong object count. Counter is 3 but counted were 2"] == reports(alone)
    alone.assert_laws(s, [second])


def test_an_object_of_another_cache_goes_back_to_its_own(alone):
    """With a warning that names both caches; what is no object at all does not go anywhere."""
    first, second = (alone.create(64, name, flags=SLAB_STORE_USER) for name in ("one", "two"))
    thing = alone.alloc(first, caller=WRITER)

    alone.perform(alone.slub.kmem_cache_free(second, alone.this_cpu, thing, caller=FREER))

    assert "cache_from_obj: Wrong slab cache. two but object is from one" in alone.log
    assert "Allocated in writer+0x10/0x40 age=30 cpu=0 pid=17" in alone.log
    alone.assert_laws(first, [])
    alone.perform(alone.slub.kmem_cache_free(second, alone.this_cpu, 0x123000))
    assert "virt_to_cache: Object is not a Slab page!" in alone.log


def test_who_leaks_is_named_when_the_cache_goes(alone):
    """Each object that is left, with who allocated it."""
    s = alone.create(64, "leaky", flags=SLAB_STORE_USER)
    alone.alloc(s, caller=WRITER)

    assert not alone.destroy(s, caller=LATER)
    assert "Allocated in writer+0x10/0x40 age=50 cpu=0 pid=17" in alone.log
    text = "kmem_cache_destroy leaky: Slab cache still has objects when called from later+0x1/0x2"
    assert text in alone.log


def test_the_second_report_says_that_the_kernel_is_tainted(alone):
    """TAINT_BAD_PAGE stays."""
    s = alone.create(64, flags=CHECKED)
    for _ in range(2):
        thing = alone.alloc(s)
        write(alone, thing + 64, b"\0")
        alone.free(s, thing)

    heads = [line.partition("): ")[0] for line in alone.log if line.startswith("BUG ")]
    assert ["BUG objects (Not tainted", "BUG objects (Tainted: G    B             "] == heads


@pytest.mark.parametrize(
    "flags",
    [
        DEBUG_DEFAULT_FLAGS,
        SLAB_CONSISTENCY_CHECKS,
        SLAB_RED_ZONE,
        SLAB_POISON,
        SLAB_STORE_USER,
        SLAB_CONSISTENCY_CHECKS | SLAB_STORE_USER,
    ],
)
def test_right_use_is_silent_and_nothing_is_lost(flags):
    """Objects of any cache that is debugged, freed on another CPU, up to the destruction."""
    alone = SlubAlone(nr_cpus=2, nr_nodes=2)
    s = alone.create(100, flags=flags)
    held = []
    for nth in range(400):
        if nth % 5 < 3:
            held.append(alone.alloc(s, nth % 2, local=True, caller=WRITER))
            write(alone, held[-1], b"x" * 100)
        else:
            alone.free(s, held.pop(nth * 7 % len(held)), nth % 3 % 2, local=True, caller=FREER)
    full = [slab for node in range(2) for slab in alone.full_slabs(s, node)]
    alone.assert_laws(s, held)

    assert bool(full) == bool(flags & SLAB_STORE_USER)
    for thing in held:
        alone.free(s, thing)
    assert alone.destroy(s)
    assert ([], 0) == (alone.log, alone.nr_pages)


def test_kmalloc_remembers_what_it_was_asked_for():
    """The size stands behind the tracks of objects that are tracked."""
    alone = SlubAlone(debug=parse_slub_debug("U,kmalloc-*"))
    alone.kmalloc_caches.create_caches()
    thing = alone.kmalloc(50)
    s = alone.slub.cache_of(alone.slabs.head_of(thing))
    at = thing + s.layout.info_end + 64

    assert 50 == int.from_bytes(alone.slabs.bytes_view[at : at + 4], "little")
    alone.kfree(thing)
