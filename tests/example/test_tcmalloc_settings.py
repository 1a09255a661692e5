"""What the environment says of tcmalloc, and what of it does not do what it looks like."""

import math

import pytest
from attrs import evolve

from mmactors.malloc.tcmalloc.options.settings import (
    DO_NOTHING,
    READ,
    Settings,
    read_settings,
    strtod,
    strtol,
)

DEFAULTS = Settings()


def read(**variables):
    return read_settings({f"TCMALLOC_{name}": text for name, text in variables.items()})


def only_complaint(**variables):
    (ignored,) = read(**variables).ignored
    return ignored.why


def test_an_environment_without_variables_of_tcmalloc_sets_nothing():
    assert (DEFAULTS, ()) == (
        (found := read_settings({"PATH": "/bin", "MALLOC_ARENA_MAX": "1"})).settings,
        found.ignored,
    )


@pytest.mark.parametrize(
    ("name", "text", "field", "value"),
    [
        ("MAX_TOTAL_THREAD_CACHE_BYTES", "1048576", "max_total_thread_cache_bytes", 1 << 20),
        ("TRANSFER_NUM_OBJ", "512", "transfer_num_obj", 512),
        ("AGGRESSIVE_DECOMMIT", "true", "aggressive_decommit", True),
        ("RELEASE_RATE", "2.5", "release_rate", 2.5),
        ("RELEASE_RATE", "0", "release_rate", 0.0),
        ("HEAP_LIMIT_MB", "64", "heap_limit_mb", 64),
        ("SKIP_SBRK", "1", "skip_sbrk", True),
        ("SKIP_MMAP", "Y", "skip_mmap", True),
        ("DISABLE_MEMORY_RELEASE", "no", "disable_memory_release", False),
        ("DEVMEM_START", "16", "devmem_start_mb", 16),
    ],
)
def test_a_variable_sets_what_it_says(name, text, field, value):
    assert evolve(DEFAULTS, **{field: value}) == read(**{name: text}).settings
    assert () == read(**{name: text}).ignored


@pytest.mark.parametrize(
    ("name", "text", "field", "taken"),
    [
        ("MAX_TOTAL_THREAD_CACHE_BYTES", "1", "max_total_thread_cache_bytes", 512 << 10),
        ("MAX_TOTAL_THREAD_CACHE_BYTES", "1g", "max_total_thread_cache_bytes", 512 << 10),
        ("MAX_TOTAL_THREAD_CACHE_BYTES", "-1", "max_total_thread_cache_bytes", 1 << 30),
        ("MAX_TOTAL_THREAD_CACHE_BYTES", "9" * 30, "max_total_thread_cache_bytes", 1 << 30),
        ("TRANSFER_NUM_OBJ", "", "transfer_num_obj", 0),
        ("TRANSFER_NUM_OBJ", "0x20", "transfer_num_obj", 0),
        ("TRANSFER_NUM_OBJ", "4294967297", "transfer_num_obj", 1),
        ("AGGRESSIVE_DECOMMIT", "on", "aggressive_decommit", False),
        ("AGGRESSIVE_DECOMMIT", "", "aggressive_decommit", True),
        ("SKIP_SBRK", "10", "skip_sbrk", True),
        ("RELEASE_RATE", "fast", "release_rate", 0.0),
        ("RELEASE_RATE", "2,5", "release_rate", 2.0),
        ("RELEASE_RATE", "-3", "release_rate", -3.0),
        ("RELEASE_RATE", "inf", "release_rate", math.inf),
        ("HEAP_LIMIT_MB", "2147483648", "heap_limit_mb", -(1 << 31)),
        ("HEAP_LIMIT_MB", " 12 ", "heap_limit_mb", 12),
    ],
)
def test_what_does_not_do_what_it_looks_like_is_told(name, text, field, taken):
    found = read(**{name: text})

    assert taken == getattr(found.settings, field)
    assert [f"TCMALLOC_{name}"] == [each.variable for each in found.ignored]
    assert "it is taken for" in found.ignored[0].why


def test_variables_of_other_builds_and_wrong_names_are_told():
    assert "only libtcmalloc_debug reads it" == only_complaint(PAGE_FENCE="1")
    assert "Debian's library is built without" in only_complaint(LARGE_ALLOC_REPORT_THRESHOLD="1")
    assert "tcmalloc has no such variable" == only_complaint(RELEASE_RAT="1")
    assert DEFAULTS == read(**{name.removeprefix("TCMALLOC_"): "1" for name in DO_NOTHING}).settings


def test_every_variable_that_is_read_makes_a_difference():
    for variable in READ:
        assert DEFAULTS != read_settings({variable: "1"}).settings or (
            "TCMALLOC_RELEASE_RATE" == variable
        )


@pytest.mark.parametrize(
    ("variables", "releases"),
    [({}, True), ({"DISABLE_MEMORY_RELEASE": "1"}, False), ({"DEVMEM_START": "1"}, False)],
)
def test_memory_is_given_back_unless_one_of_two_variables_forbids_it(variables, releases):
    assert releases is read(**variables).settings.releases


def test_numbers_are_read_as_c_reads_them():
    assert [(12, True), (-3, True), (7, False), (0, False), ((1 << 63) - 1, True)] == [
        strtol(text) for text in ("\t12", "-3", "7k", "k7", "9" * 20)
    ]
    assert [(1.5, True), (0.25, True), (16.0, True), (1e3, True), (1.0, False), (0.0, False)] == [
        strtod(text) for text in ("1.5", " .25", "0x1p4", "1e3", "1e", "e1")
    ]
    assert math.isnan(strtod("NaN")[0])
