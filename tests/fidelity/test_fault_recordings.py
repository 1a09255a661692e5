"""Recorded page faults: counters of each operation, and LRU lists explained by their phase."""

import errno
import json
from pathlib import Path

import pytest

from mmactors.actors.call import mmap
from mmactors.actors.file import truncate
from mmactors.actors.program import file_calls
from mmactors.mm.fault import file_fault, handle_mm_fault
from mmactors.mm.page_cache import readahead
from mmactors.mm.page_table.page_table import PTE_LEVEL
from mmactors.mm.reclaim import vmscan
from mmactors.units import PAGE_SIZE
from mmactors.validate.userland.faults import validate_faults

REFERENCE = Path(__file__).parents[1] / "reference/linux-6.1/userland/faults"


@pytest.mark.parametrize("path", sorted(REFERENCE.glob("*.json")), ids=lambda path: path.stem)
def test_every_counter_is_the_recorded_one(path):
    """Determined counters, and sizes of LRU lists once the phase is known, equal the recorded."""
    (result,) = validate_faults(path)

    assert (None, None, True) == (result.not_validated, result.first_difference, result.passed)


def test_a_machine_whose_faults_begin_with_the_lowest_table_does_not_pass(monkeypatch):
    """SIGBUS would leave a table where the kernel has none."""
    monkeypatch.setattr(handle_mm_fault, "PMD_LEVEL", PTE_LEVEL)

    (result,) = validate_faults(REFERENCE / "sigbus_no_table.json")

    assert not result.passed
    assert result.first_difference is not None
    assert "VmPTE" in result.first_difference


def test_a_machine_that_zaps_nothing_where_a_file_grows_does_not_pass(monkeypatch):
    """ftruncate to 20000 bytes empties the batches, as an area maps what lies behind."""
    set_size = truncate.truncate_setsize

    async def grow_quietly(kernel, cpu, inode, size_bytes):
        if size_bytes > inode.mapping.size_bytes:
            inode.mapping.size_bytes = size_bytes
        else:
            await set_size(kernel, cpu, inode, size_bytes)

    monkeypatch.setattr(file_calls, "truncate_setsize", grow_quietly)

    (result,) = validate_faults(REFERENCE / "ftruncate_mapped.json")

    assert not result.passed
    assert result.first_difference is not None
    assert "nr_inactive_anon" in result.first_difference


def test_a_machine_that_asks_once_for_a_page_that_fails_does_not_pass(monkeypatch):
    """The kernel asks for it again, as the first of a new round, and counts one more fault."""
    fault_in_pages = mmap.fault_in_pages

    async def fail_at_once(kernel, cpu, space, request):
        nr_done = await fault_in_pages(kernel, cpu, space, request)
        nr_pages = (request.end - request.start) // PAGE_SIZE
        return nr_done if nr_done == nr_pages else -errno.EFAULT

    monkeypatch.setattr(mmap, "fault_in_pages", fail_at_once)

    (result,) = validate_faults(REFERENCE / "sigbus_populate.json")

    assert not result.passed
    assert result.first_difference is not None
    assert "ops[4].minflt: recorded 1, ours 0" in result.first_difference


@pytest.mark.parametrize("case", ["pageout_shared", "pageout_free"])
def test_a_machine_that_keeps_entries_of_pages_to_be_reclaimed_does_not_pass(case, monkeypatch):
    """Shared pages lose them and stay for want of swap; what MADV_FREE gave up goes with them."""

    def leave_mapped(*_):
        return
        yield

    monkeypatch.setattr(vmscan, "_try_to_unmap_one", leave_mapped)

    (result,) = validate_faults(REFERENCE / f"{case}.json")

    assert not result.passed
    assert result.first_difference is not None
    assert "Rss: recorded" in result.first_difference


def test_a_number_that_no_phase_explains_is_a_difference(tmp_path):
    """One page more on a list, in the middle of the case: no fill of the batch gives that."""
    case = json.loads((REFERENCE / "mlock.json").read_text())
    case["ops"][9]["vmstat"]["nr_inactive_anon"] += 1
    (tmp_path / "mlock.json").write_text(json.dumps(case))

    (result,) = validate_faults(tmp_path / "mlock.json")

    assert not result.passed
    assert result.first_difference is not None
    assert "nr_inactive_anon" in result.first_difference


@pytest.mark.parametrize(
    ("case", "rule", "broken", "place"),
    [
        ("file_private_cow", "sync_mmap_readahead", lambda *_: (), "majflt"),
        ("file_private_cow", "test_clear_readahead", lambda *_: False, "minflt"),
        ("msync_file", "allows_retry_first", lambda _flags: False, "pgfault"),
    ],
)
def test_a_kernel_that_reads_no_file_around_its_faults_does_not_pass(
    monkeypatch, case, rule, broken, place
):
    """Page by page, without marks, or with mmap_lock held: each counts other faults."""
    monkeypatch.setattr(file_fault, rule, broken)

    (result,) = validate_faults(REFERENCE / f"{case}.json")

    assert not result.passed
    assert result.first_difference is not None
    assert place in result.first_difference


@pytest.mark.parametrize(
    ("case", "rule", "broken"),
    [
        ("readahead_seq_4k", "_next_size", lambda size, _max_pages: size),
        ("readahead_random", "_history_pages", lambda *_: 0),
        ("readahead_seq_4k", "_initial_size", lambda size, _max_pages: size),
    ],
)
def test_a_kernel_whose_windows_grow_otherwise_does_not_pass(monkeypatch, case, rule, broken):
    """How many pages a read brings into the page cache is recorded for each."""
    monkeypatch.setattr(readahead, rule, broken)

    (result,) = validate_faults(REFERENCE / f"{case}.json")

    assert not result.passed
    assert result.first_difference is not None
    assert "nr_file_pages" in result.first_difference


def test_a_name_of_two_children_is_listed_with_the_reason(tmp_path):
    """The recordings' interpreter asks the first of a name for ever: it is not validated."""
    case = json.loads((REFERENCE / "mlock.json").read_text())
    case["op_list"] += ["fork C", "kill C", "fork C"]
    case["ops"] += [{"i": i, "op": case["op_list"][i]} for i in range(len(case["ops"]), 20)]
    (tmp_path / "mlock.json").write_text(json.dumps(case))

    (result,) = validate_faults(tmp_path / "mlock.json")

    assert "C is the name of two: fork C" == result.not_validated
    assert not result.passed
