"""Loads and stores beside objects, as a module with a pointer does them."""

import errno

import pytest
from machines import run, scenario_of

PAINTED = 0xAAAAAAAA


def ran(*program, **options):
    return run(scenario_of(list(program), size=32 << 20, **options))


def results(*program, **options):
    return ran(*program, **options).results()


def console(machine):
    return [event["msg"] for event in machine.events("console")]


def test_what_is_written_is_read():
    """The first four bytes, the lowest first; fewer if fewer are read."""
    found = results(
        *("kzalloc A size=100", "peek A bytes=4", "poke A offset=2 bytes=3 value=0x11"),
        *("peek A offset=1 bytes=100", "peek A offset=2 bytes=2"),
    )

    assert 0 == found["peek A bytes=4"]
    assert 0 == found["poke A offset=2 bytes=3 value=17"]
    assert 0x11111100 == found["peek A offset=1 bytes=100"]
    assert 0x1111 == found["peek A offset=2 bytes=2"]


def test_krealloc_takes_the_bytes_along():
    """Also of a block that is pages."""
    found = results(
        *("kmalloc A size=64K", "poke A bytes=64K", "krealloc A size=256K"),
        *("peek A offset=65532 bytes=4", "peek A offset=64K bytes=4"),
    )

    assert PAINTED == found["peek A offset=65532 bytes=4"]
    assert 0 == found["peek A offset=64K bytes=4"]


def test_a_free_object_has_a_pointer_in_it_that_somebody_can_read():
    """In the middle, hidden; with poison it is full of 0x6b."""
    found = results("kmalloc A size=64", "kfree A", "peek A offset=32 bytes=4", "peek A bytes=4")
    poisoned = results(
        *("kmem_cache_create C size=64 flags=poison", "kmem_cache_alloc A cache=C"),
        *("kmem_cache_free A cache=C", "peek A bytes=4"),
    )

    assert found["peek A offset=32 bytes=4"]
    assert 0x6B6B6B6B == poisoned["peek A bytes=4"]


@pytest.mark.parametrize(
    ("poke", "says"),
    [
        ("poke A offset=96 bytes=8", "Right Redzone overwritten"),
        ("poke A offset=-8 bytes=8", "Left Redzone overwritten"),
    ],
)
def test_the_kernel_sees_writes_beside_an_object_that_has_red_zones(poke, says):
    """When it is freed, in its own words."""
    machine = ran(
        "kmem_cache_create C size=100 flags=red_zone,consistency_checks",
        *("kmem_cache_alloc A cache=C", poke, "kmem_cache_free A cache=C"),
    )

    assert any(says in line for line in console(machine))


def test_the_kernel_sees_writes_into_a_free_object_that_is_poisoned():
    """When it is handed out again."""
    machine = ran(
        "kmem_cache_create C size=64 flags=poison,consistency_checks",
        *("kmem_cache_alloc A cache=C", "kmem_cache_free A cache=C", "poke A bytes=4"),
        *(f"kmem_cache_alloc B{number} cache=C" for number in range(70)),
    )

    assert any("Poison overwritten" in line for line in console(machine))


@pytest.mark.parametrize(
    ("program", "says"),
    [
        (("kmalloc A size=0", "poke A"), "NULL pointer dereference, address: 0000000000000010"),
        (("kmalloc A size=0", "peek A offset=-16"), "NULL pointer dereference, address: 00000000"),
        (("kmalloc A size=8", "poke A offset=0x100000000"), "unable to handle page fault for"),
        (("kmalloc A size=8", "poke A offset=0x3fffffffffffffff"), "general protection fault"),
        (("kmalloc A size=8M", "peek A"), "NULL pointer dereference, address: 0000000000000000"),
    ],
)
def test_a_pointer_to_nowhere_is_an_oops(program, says):
    """The process dies of it, the machine goes on."""
    machine = ran(*program, "nop")

    assert any(says in line for line in console(machine))
    assert "SIGKILL" in str(machine.machine.summary().deaths)


def test_what_was_never_allocated_is_no_pointer():
    """Another process was to do it, and has not yet."""
    found = results("fork C", "C& sleep 1", "C& kmalloc A size=8", "poke A", "peek A")

    assert -errno.EINVAL == found["poke A"] == found["peek A"]


def test_what_is_no_object_keeps_no_bytes():
    """Page tables and pages of processes stay what they are, however far a write goes."""
    machine = ran(
        *("mmap M 64K", "touch M write", "kmalloc A size=64"),
        *("poke A offset=-1M bytes=2M", "poke A offset=4K bytes=4M", "touch M read"),
    )

    assert not machine.machine.summary().deaths
