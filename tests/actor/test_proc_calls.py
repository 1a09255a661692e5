"""Programs that read and write files of /proc and /sys."""

import errno

import orjson
import pytest
from machines import final_status, run, scenario_of

import mmactors


def results(ran):
    return [(event["call"], event["ret"]) for event in ran.events("sys_exit")]


def read_by(*program, **options):
    """Return the texts that a program read."""
    return [read.text for read in run(scenario_of(list(program), **options)).machine.texts()]


def row_of(text, name):
    return next(line for line in text.splitlines() if line.startswith(name)).split()[1]


def test_a_text_is_as_the_file_was_when_it_was_read():
    """What happens later does not change it."""
    before, after = read_by(
        "mmap A 64K", "get /proc/self/smaps_rollup", "touch A write", "get /proc/1/smaps_rollup"
    )

    assert ["0", "64"] == [row_of(text, "Rss:") for text in (before, after)]


def test_a_child_reads_its_own_files_as_self():
    """And those of others by their pid."""
    own, parents = read_by("fork C", "C: get /proc/self/stat", "C: get /proc/1/stat")

    assert ["2", "1"] == [text.split()[0] for text in (own, parents)]


def test_a_snapshot_has_four_files_under_its_tag():
    """Its counters are exact: those of all CPUs are brought together first."""
    ran = run(scenario_of(["mmap A 64K", "touch A write", "snap s0", "munmap A"]))

    reads = {read.name: read for read in ran.machine.texts()}

    assert ["s0.vmstat", "s0.meminfo", "s0.buddyinfo", "s0.interrupts"] == list(reads)
    assert "16" == row_of(reads["s0.vmstat"].text, "nr_anon_pages")
    assert "64" == row_of(reads["s0.meminfo"].text, "AnonPages:")


@pytest.mark.parametrize(
    ("call", "result"),
    [
        ("get /proc/nothing", -errno.ENOENT),
        ("get /proc/77/maps", -errno.ENOENT),
        ("get /proc/sys/vm/nothing", -errno.ENOENT),
        ("get /proc/sys/vm/drop_caches", -errno.EACCES),
        ("put /proc/sys/vm/nothing 1", -errno.ENOENT),
        ("put /proc/meminfo 1", -errno.EIO),
        ("put /proc/self/maps 1", -errno.EINVAL),
        ("put /proc/sys/vm/overcommit_memory 3", -errno.EINVAL),
        ("put /proc/sys/vm/overcommit_memory many", -errno.EINVAL),
        ("put /proc/sys/vm/drop_caches 0", -errno.EINVAL),
        ("put /proc/sys/vm/drop_caches 5", -errno.EINVAL),
        ("put /proc/self/oom_score_adj 1001", -errno.EINVAL),
        ("put /sys/kernel/mm/transparent_hugepage/enabled never", 0),
        ("put /sys/kernel/mm/transparent_hugepage/enabled nothing", -errno.EINVAL),
        ("put /proc/sys/vm/stat_refresh 1", 0),
    ],
)
def test_what_there_is_not_and_what_takes_no_value_is_an_error(call, result):
    """As 6.1 answers it to root."""
    assert [(call, result)] == results(run(scenario_of([call])))


def test_a_setting_is_read_as_it_was_written():
    """The ratio and the kilobytes of overcommit exclude each other."""
    texts = read_by(
        "put /proc/sys/vm/overcommit_kbytes 0x100",
        "get /proc/sys/vm/overcommit_kbytes",
        "get /proc/sys/vm/overcommit_ratio",
        "put /proc/sys/vm/max_map_count 9",
        "get /proc/sys/vm/max_map_count",
    )

    assert ["256\n", "0\n", "9\n"] == texts


def test_a_limit_that_is_written_is_obeyed_by_all_processes():
    """max_map_count is one for the machine."""
    ran = run(
        scenario_of(["put /proc/sys/vm/max_map_count 1"], ["sleep 1", "mmap A 4K", "mmap B 4K"])
    )

    assert -errno.ENOMEM in [result for call, result in results(ran) if call.startswith("mmap")]


def test_children_inherit_the_score_and_may_change_it():
    """oom_score_adj is the process's own from then on."""
    texts = read_by(
        "oomadj -17",
        "fork C",
        "C: get /proc/self/oom_score_adj",
        "C: oomadj 1000",
        "put /proc/self/oom_score_adj 5",
        "get /proc/self/oom_score_adj",
        "get /proc/2/oom_score_adj",
    )

    assert ["-17\n", "5\n", "1000\n"] == texts


def test_dropping_caches_frees_clean_pages_that_nobody_maps():
    """Dirty pages stay, and so do those of files in memory that were written."""
    texts = read_by(
        "open F /mnt/f create",
        "write F 0 64K bs=4K",
        "fsync F",
        "open G /tmp/g create",
        "write G 0 32K bs=4K",
        "write F 0 8K bs=4K",
        "mmap M 4K flags=shared file=F off=16K",
        "touch M read",
        "snap s",
        "put /proc/sys/vm/drop_caches 3",
        "snap s",
        "put /proc/sys/vm/drop_caches 2",
        "snap s",
    )

    cached = [row_of(text, "Cached:") for text in texts if text.startswith("MemTotal")]
    mapped_and_dirty = (1 + 2) * 4
    assert ["96", *[str(32 + mapped_and_dirty)] * 2] == cached


def test_what_was_read_is_in_the_result_and_in_the_run_directory(tmp_path):
    """The index says who read what, and when."""
    program = ["get /proc/meminfo", "snap a", "get /proc/none"]

    result = mmactors.run({"processes": [{"name": "p", "program": program}]}, out=tmp_path / "run")

    index = orjson.loads((tmp_path / "run/texts/index.json").read_bytes())
    assert [each.name for each in result.texts] == [each["file"][5:] for each in index]
    assert ["get /proc/meminfo", *["snap a"] * 4] == [each["call"] for each in index]
    for each, read in zip(index, result.texts, strict=True):
        assert read.text == (tmp_path / "run/texts" / each["file"]).read_text()


def test_a_run_in_the_same_directory_leaves_no_old_texts(tmp_path):
    """As for all other files of a run directory."""
    for program in (["get /proc/meminfo"], ["compute 1us"]):
        scenario = {"processes": [{"name": "p", "program": program}]}
        mmactors.run(scenario, out=tmp_path / "run", force=True)

    assert not (tmp_path / "run/texts").exists()


@pytest.mark.parametrize(
    "call",
    [
        "put /proc/sys/vm/swappiness 10",
        "put /proc/sys/vm/nr_hugepages 1",
        "get /proc/self/exe",
        "get /proc/1/fd/3",
        "put /sys/kernel/mm/transparent_hugepage/enabled always",
    ],
)
def test_what_nothing_would_obey_is_refused_before_the_run(call):
    """An answer would be untrue."""
    with pytest.raises(mmactors.UserError, match="not simulated yet"):
        mmactors.load({"processes": [{"name": "p", "program": [call]}]})


def test_the_score_is_shown_at_the_end_too():
    """It is one of the files of /proc/PID that a run leaves."""
    ran = run(scenario_of(["oomadj 7"]))

    assert ("7\n", "p0") == (ran.machine.proc()["1/oom_score_adj"], final_status(ran)["Name"])
