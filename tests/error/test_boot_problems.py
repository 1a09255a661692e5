"""Memory that does not boot."""

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from mmactors.errors import Place
from mmactors.mm.boot.boot import MemoryConfig, boot_memory
from mmactors.mm.boot.problems import problems_of
from mmactors.units import GIB, MIB, PAGE_SIZE, parse_bytes

PLACE = Place("scenario.yaml", 3, 9)


def texts(nr_cpus: int = 2, **fields) -> list[str]:
    """Return the problems of a configuration as the user sees them."""
    return [str(problem) for problem in problems_of(MemoryConfig(**fields), nr_cpus, PLACE)]


def test_the_default_has_no_problems():
    """The default machine boots."""
    assert texts() == []


def test_memory_too_small_names_what_does_not_fit_and_the_least_size():
    """The advice works: the size it names boots, one MiB less does not."""
    (problem,) = problems_of(MemoryConfig(size=64 * MIB), 2, PLACE)
    advised = parse_bytes(problem.advice.split()[3].rstrip(","))

    assert problem.found == "size is 64M: the kernel finds no 54595584 bytes for the kernel image"
    assert texts(size=advised) == []
    assert texts(size=advised - MIB) != []


def test_a_size_between_pages_gets_the_next_one():
    """Sizes are whole pages."""
    assert texts(size=GIB + 1) == [
        (
            "scenario.yaml:3:9: size is 1073741825; expected a multiple of the page size, 4096"
            " (did you mean 1048580K?)"
        )
    ]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"nr_nodes": 0}, "expected 1 to 128"),
        ({"nr_nodes": 129}, "expected 1 to 128"),
        ({"nr_nodes": 2, "cpu_nodes": (0, 2)}, "cpu_nodes names node 2; expected 0 to 1"),
        ({"cpu_nodes": (0, -1)}, "nodes count from 0"),
        ({"cpu_nodes": (0,)}, "expected one node for each of the 2 CPUs"),
        ({"reserved_ranges": ((8, 4),)}, "expected 0 <= start < end"),
        ({"reserved_ranges": ((0, 1 << 64),)}, "expected a start and a length below 2^64"),
        ({"reserved_ranges": ((1 << 64, (1 << 64) + 8),)}, "end it at 0xffffffffffffffff"),
        ({"reserved_ranges": ((4 * MIB, 1 << 64),)}, "or free some of reserved_ranges"),
        ({"hotplug": 4 << 40}, "size and hotplug are 4097G together"),
        ({"reserved_ranges": ((0, GIB),)}, "this kernel boots with"),
        ({"initramfs": 4 * GIB}, "no 4294967296 bytes for the initramfs"),
        ({"kernel_image": 8 * GIB}, "bytes for the kernel image"),
        ({"size": 1 << 60}, "expected at most 4T"),
        ({"min_free_kbytes": 1 << 20}, "only 0 above min_free_kbytes; this kernel boots with"),
        ({"percpu_pagelist_high_fraction": 7}, "expected 0 or at least 8"),
        ({"lowmem_reserve_ratio": (1, 2)}, "expected four numbers"),
        ({"firmware_tables": 5}, "did you mean 4K?"),
    ],
)
def test_each_impossible_value_is_explained(fields, words):
    """Every problem has its place, what was found, what is legal and what to try."""
    (problem,) = texts(**fields)

    assert words in problem
    assert problem.startswith("scenario.yaml:3:9: ")


def test_all_problems_are_told_at_once():
    """Independent problems come together."""
    assert len(texts(size=GIB + 1, nr_nodes=0, reserved_ranges=((8, 4),))) == 3


@given(
    size=st.integers(16, 8192).map(lambda n: n * MIB),
    nr_nodes=st.integers(1, 9),
    nr_cpus=st.integers(1, 70),
    kernel_image=st.integers(0, 100 * MIB),
    initramfs=st.integers(0, 100 * MIB),
    firmware_pages=st.integers(0, 1 << 13),
    reserved=st.lists(st.integers(0, 1 << 33), min_size=2, max_size=2, unique=True).map(sorted),
    machine=st.sampled_from(["pc", "q35"]),
)
def test_every_configuration_boots_or_has_a_problem(
    *, size, nr_nodes, nr_cpus, kernel_image, initramfs, firmware_pages, reserved, machine
):
    """Nothing else can happen, whatever the numbers are."""
    config = MemoryConfig(
        size=size,
        nr_nodes=nr_nodes,
        kernel_image=kernel_image,
        initramfs=initramfs,
        firmware_tables=firmware_pages * PAGE_SIZE,
        machine=machine,
    )

    for tried in (config, evolve(config, reserved_ranges=(tuple(reserved),))):
        if not problems_of(tried, nr_cpus, PLACE):
            layout = boot_memory(tried, nr_cpus)

            assert all(zone.managed_pages <= zone.present_pages for zone in layout.zones)
            assert nr_cpus == len(layout.cpu_node)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"cmdline": "memm=1G"}, "did you mean mem?"),
        ({"cmdline": "foo"}, "nothing here would read it"),
        ({"cmdline": "mem=lots"}, "cmdline has 'mem=lots'; expected a value the kernel"),
        ({"cmdline": "movablecore"}, "cmdline has 'movablecore'"),
        ({"cmdline": "hugepages=4"}, "leave it out"),
        ({"cmdline": "numa=fake=2"}, "say it with nr_nodes"),
        ({"cmdline": "transparent_hugepage=never"}, "say it with the option"),
        ({"cmdline": "mem=1G " * 400}, "cmdline has 2800 characters; expected at most"),
        ({"cmdline": "quiet=\x1b[2J"}, "expected printable ASCII characters"),
        ({"cmdline": "quiet=\u202e"}, "cmdline is 'quiet=\\u202e'"),
        ({"cmdline": "memmap=4G@4G"}, "memory at 0x100000000 to 0x1ffffffff; expected memory"),
        ({"cmdline": "mem=2M"}, "the kernel finds"),
        ({"cmdline": "memmap=exactmap"}, "the kernel finds"),
        ({"cmdline": "mem=512M", "nr_nodes": 2}, "cmdline leaves node 1 without memory"),
        ({"cmdline": "possible_cpus=1"}, "cmdline says that 1 CPUs are possible"),
        ({"cmdline": "movablecore=64M", "hotplug": 64 * MIB}, "zone Movable of its own"),
    ],
)
def test_kernel_arguments_that_a_machine_cannot_mean_are_explained(fields, words):
    """A kernel would go on without them, or with memory that is not there."""
    (problem,) = texts(**fields)

    assert words in problem
    assert problem.startswith("scenario.yaml:3:9: ")


@pytest.mark.parametrize(
    "cmdline",
    [
        "mem=512M kernelcore=50%",
        "crashkernel=64M movablecore=128M memmap=16M$256M",
        "memmap=exactmap memmap=639K@0 memmap=600M@1M memblock=debug",
        "movable_node possible_cpus=8 log_buf_len=1M swiotlb=2048,force quiet",
        "numa=off acpi=off dhash_entries=4096",
    ],
)
def test_kernel_arguments_about_memory_are_fine(cmdline):
    """What the kernel knows and the machine has is no problem, on one node or two."""
    assert texts(cmdline=cmdline) == []
