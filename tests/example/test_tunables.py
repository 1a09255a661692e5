"""What an environment sets of malloc's parameters, held against Debian 12's dynamic linker."""

import pytest

from mmactors.malloc.ptmalloc.options.tunables import read_tunables


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("abc", 0),
        ("", 0),
        ("  12", 12),
        ("\t+7", 7),
        ("0x41", 0x41),
        ("0X1fG", 0x1F),
        ("0x", 0),
        ("010", 8),
        ("08", 0),
        ("64K", 64),
        ("=5", 0),
        ("-5", (1 << 64) - 5),
        ("99999999999999999999", (1 << 64) - 1),
        ("-99999999999999999999", (1 << 64) - 1),
    ],
)
def test_a_value_is_the_number_that_it_begins_with(text: str, value: int) -> None:
    read = read_tunables({"GLIBC_TUNABLES": f"glibc.malloc.top_pad={text}"})

    assert {"top_pad": value} == read.values


def test_what_is_out_of_range_leaves_what_was_set_before() -> None:
    """As `ld.so --list-tunables` prints for the same text: limits are those of the list."""
    text = (
        "glibc.malloc.check=7:glibc.malloc.mmap_max=-1:glibc.malloc.perturb=256"
        ":glibc.malloc.arena_max=0:glibc.malloc.arena_test=9:glibc.malloc.arena_test=0"
    )
    read = read_tunables({"GLIBC_TUNABLES": text})

    assert {"arena_test": 9} == read.values
    assert 5 == sum("out of range" in entry.why for entry in read.ignored)


def test_an_entry_without_an_equals_sign_is_skipped_and_the_rest_counts() -> None:
    read = read_tunables({"GLIBC_TUNABLES": "foo:glibc.malloc.mxfast=64::glibc.malloc.top_pad"})

    assert {"mxfast": 64} == read.values
    assert ["foo", "", "glibc.malloc.top_pad"] == [entry.entry for entry in read.ignored]


def test_a_value_ends_at_a_colon_only_and_the_last_of_a_name_counts() -> None:
    text = "glibc.malloc.top_pad=1=glibc.malloc.mxfast=3:glibc.malloc.top_pad=2"

    assert {"top_pad": 2} == read_tunables({"GLIBC_TUNABLES": text}).values


@pytest.mark.parametrize(
    "variables",
    [("MALLOC_ARENA_MAX", "GLIBC_TUNABLES"), ("GLIBC_TUNABLES", "MALLOC_ARENA_MAX")],
)
def test_an_older_variable_counts_only_without_the_tunable(variables: tuple[str, str]) -> None:
    texts = {"MALLOC_ARENA_MAX": "3", "GLIBC_TUNABLES": "glibc.malloc.arena_max=2"}

    read = read_tunables({name: texts[name] for name in variables})

    assert {"arena_max": 2} == read.values


def test_an_older_variable_sets_what_the_tunable_does() -> None:
    read = read_tunables({"HOME": "/root", "MALLOC_TOP_PAD_": "0x1000", "MALLOC_PERTURB_": "300"})

    assert {"top_pad": 4096} == read.values
    assert ["MALLOC_PERTURB_=300"] == [entry.entry for entry in read.ignored]


@pytest.mark.parametrize(
    ("entry", "why", "legal"),
    [
        ("glibc.malloc.tcache_count=70000", "malloc does not take 70000", "from 0 to 65535"),
        ("glibc.malloc.mxfast=161", "malloc does not take 161", "from 0 to 160"),
        ("glibc.malloc.tcache_max=1033", "malloc does not take 1033", "from 0 to 1032"),
        ("glibc.malloc.tcache_count=many", "'many' is read as 0x0", "a whole number"),
        ("glibc.malloc.nosuch=1", "there is no such tunable", "glibc.malloc.top_pad"),
        ("glibc.rtld.nns=4", "malloc does not read it", "glibc.malloc.top_pad"),
        ("glibc.malloc.check=3", "only libc_malloc_debug.so.0 reads it", "leave it away"),
    ],
)
def test_an_entry_that_does_not_do_what_it_looks_like_says_why(
    entry: str, why: str, legal: str
) -> None:
    (ignored,) = read_tunables({"GLIBC_TUNABLES": entry}).ignored

    assert entry == ignored.entry
    assert why in ignored.why
    assert legal in ignored.legal
