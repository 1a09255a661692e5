"""A sanitizer of programs: what they do with blocks of malloc that are not theirs."""

import pytest
from attrs import evolve
from machines import run, scenario_of

from mmactors.sanitize.config import SanitizeConfig
from mmactors.sanitize.law import Law


def ran(*operations, cpus=1):
    sanitize = SanitizeConfig(heap=True)
    return run(evolve(scenario_of(list(operations), cpus=cpus), sanitize=sanitize))


def findings(*operations, **options):
    return ran(*operations, **options).machine.findings()


def laws(*operations, **options):
    return [finding.law for finding in findings(*operations, **options)]


@pytest.mark.parametrize(
    "program",
    [
        ("malloc a 24", "memset a 1", "realloc a 5000", "memset a 3", "free a", "malloc_trim"),
        ("calloc a 4 100", "touch a write", "generate sequential a", "free a", "free a2"),
        ("malloc a 200K", "memset a 7", "free a", "mmap b 256K", "memset b 1", "alias c b 4K"),
        ("malloc a 24", "fork C", "C: free a", "free a"),
        ("malloc a 100", "thread T cpu=0", "T: memset a 1", "T: free a", "T: malloc a 9"),
        ("malloc a 100", "realloc a 0", "free a", "malloc a 10", "alias b a 1", "free b"),
        ("posix_memalign a 4K 100", "memset a 1", "realloc a 300K", "memset a 2", "free a"),
    ],
)
def test_who_keeps_to_his_blocks_is_not_blamed(program):
    assert [] == laws(*program)


def test_a_write_behind_a_block_names_who_wrote_before_the_library_aborts():
    machine = ran("malloc a 24", "malloc b 24", "memset @a+20:8 65", "free b")
    (finding,) = machine.machine.findings()
    (death,) = machine.machine.deaths()

    assert Law.HEAP_OUT_OF_BOUNDS == finding.law
    assert "`memset @a+20:8 65` writes bytes 20 to 27 of block" in finding.what
    assert any("in process p0, pid 1" in fact for fact in finding.facts)
    assert any("in the way is" in fact and "`malloc b 24`" in fact for fact in finding.facts)
    assert ("SIGABRT", "free b") == (death.signal, death.operation)
    assert finding.t_ns <= death.t_ns


def test_bytes_that_are_usable_but_were_not_asked_for_are_not_the_programs():
    (finding,) = findings("malloc a 20", "store a+16 0x41", "free a")

    assert Law.HEAP_OUT_OF_BOUNDS == finding.law
    assert "glibc does not notice it" in finding.facts


def test_a_name_stays_stale_when_another_has_the_memory():
    found = findings("malloc a 24", "free a", "malloc b 24", "touch a read", "free a")

    assert [Law.HEAP_USE_AFTER_FREE, Law.HEAP_DOUBLE_FREE] == [each.law for each in found]
    assert all(any("`malloc b 24`" in fact for fact in each.facts) for each in found)


def test_a_pointer_without_a_name_is_judged_by_where_it_leads():
    assert [Law.HEAP_USE_AFTER_FREE] == laws("malloc a 5000", "alias p a 1", "free a", "memset p 1")
    assert [Law.HEAP_OUT_OF_BOUNDS] == laws("malloc a 20", "alias p a+20 1", "touch p read")


def test_what_realloc_moved_is_free():
    found = laws("malloc a 24", "malloc g 24", "alias b a 24", "realloc b 100", "free a")
    assert [Law.HEAP_DOUBLE_FREE] == found


def test_a_block_that_no_name_means_is_lost_when_the_process_ends_by_itself():
    (finding,) = findings("malloc a 24", "malloc a 30")

    assert Law.HEAP_LEAK == finding.law
    assert [] == laws("malloc a 24", "alias b a+4 1", "malloc a 30")
    assert [Law.HEAP_DOUBLE_FREE] == laws("malloc a 9", "malloc a 9", "free a", "free a")


def test_the_run_is_the_same_with_and_without_it():
    program = ("malloc a 24", "memset a 1", "realloc a 9000", "free a", "malloc b 9", "free b")
    assert ran(*program).log == run(scenario_of(list(program))).log
