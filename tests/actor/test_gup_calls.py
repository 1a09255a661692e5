"""Pages in other hands: devices that pin them, debuggers that write to them by force."""

from machines import run_to_nothing, scenario_of

EFAULT, EIO = 14, 5


def test_a_device_pins_what_is_there_and_what_is_not():
    """Present pages are pinned without locks; for the others the kernel faults as a write would."""
    ran = run_to_nothing(
        scenario_of(["mmap A 16K", "touch A 0..2 write", "pin A as=D", "dma D write", "unpin D"])
    )

    assert 4 == ran.results()["pin A as=D"] == ran.results()["dma D write"]
    assert 4 == ran.results()["unpin D"]
    assert 4 == ran.counters["pgfault"]


def test_pages_of_a_device_outlive_their_mapping():
    """munmap drops the program's references, the pins keep the pages until they are given back."""
    ran = run_to_nothing(
        scenario_of(["mmap A 8K", "pin A as=D", "munmap A", "dma D write", "unpin D"])
    )
    frees = [event["t"] for event in ran.events("mm_page_free")]
    unmapped = next(event["t"] for event in ran.events("sys_exit") if event["call"] == "munmap A")

    assert 2 == ran.results()["dma D write"]
    assert 2 <= sum(t > unmapped for t in frees)


def test_a_range_that_nothing_maps_cannot_be_pinned():
    """EFAULT; nor can one that may not be written."""
    ran = run_to_nothing(
        scenario_of(["mmap A 8K", "munmap A", "pin A as=D", "mmap B 8K prot=r", "pin B as=E"])
    )

    assert {-EFAULT} == {ran.results()["pin A as=D"], ran.results()["pin B as=E"]}


def test_a_debugger_writes_where_the_program_may_not():
    """The pages become private ones that stay read-only; what nothing maps is EIO."""
    ran = run_to_nothing(
        scenario_of(["mmap A 8K prot=r", "memwrite A", "mmap B 4K", "munmap B", "memwrite B"])
    )

    assert 2 == ran.results()["memwrite A"]
    assert -EIO == ran.results()["memwrite B"]
