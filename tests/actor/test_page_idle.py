"""Marking pages idle: a walk from each page to its entries."""

from machines import run_to_nothing, scenario_of


def test_pages_of_a_range_are_marked():
    """Those that are present and not the page of zeros; the result is their number."""
    ran = run_to_nothing(
        scenario_of(
            ["mmap A 32K", "touch A 0..3 write", "touch A 5..7 read", "idle A", "touch A write"]
        )
    )

    assert [3] == [event["ret"] for event in ran.events("sys_exit") if event["call"] == "idle A"]


def test_a_range_that_was_never_mapped_is_an_error():
    """EINVAL, as for other calls on such a name."""
    ran = run_to_nothing(scenario_of(["mmap A 0", "idle A"]))

    assert [-22] == [event["ret"] for event in ran.events("sys_exit") if event["call"] == "idle A"]


def test_a_walk_takes_the_lock_of_the_tree_for_reading():
    """Once a page; linking and unlinking the area takes it for writing."""
    ran = run_to_nothing(scenario_of(["mmap A 16K", "touch A write", "idle A"]))
    stat = ran.machine.inspect().locks["&anon_vma->rwsem"]

    assert (2, 4) == (stat.write.acquisitions, stat.read.acquisitions)
