"""procps on the proc/ of a run: free, vmstat, ps, top, pmap and uptime show the model's numbers.

Each tool sees the run's proc/ in place of the host's, by a bind mount in namespaces of its own. In
a new PID namespace it is process 1, as ps looks for its own number. Skipped, with the reason, where
procps is missing or the host does not allow it.
"""

import os
import re
import shutil
import subprocess
from functools import cache

import pytest
from machines import run, scenario_of, write_proc

_BIND = 'mount --bind "$0" /proc && exec "$@"'
_PROGRAM = [
    "mmap A 1M",
    "touch A 0..100 write",
    "mlock A 0..10",
    "open F /tmp/f create",
    "write F 0 200K bs=4K",
    "mmap M 200K flags=shared file=F",
    "touch M 0..20 write",
    "open G /mnt/g create",
    "write G 0 40K bs=4K",
    "fsync G",
    "thread T1 cpu=1",
    "T1& compute 9ms",
    "fork C",
    "C: touch A 0..7 write",
    "put /proc/sys/vm/stat_refresh 1",
    "sleep 100",
]


def bound(folder, *command):
    """Return what a command prints that finds `folder` at /proc."""
    environment = {"PATH": os.defpath, "LC_ALL": "C", "TERM": "dumb", "COLUMNS": "200"}
    return subprocess.run(
        ["unshare", "-mpf", "sh", "-c", _BIND, str(folder), *command],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@cache
def why_not_bound(folder):
    """Return why the host does not let us show a folder at /proc; None: it does."""
    if shutil.which("unshare") is None:
        return "there is no command unshare"
    tried = bound(folder, "cat", "/proc/meminfo")
    return tried.stderr.strip() or "refused" if tried.returncode else None


@pytest.fixture(scope="module")
def proc(tmp_path_factory):
    """The proc/ of a machine in the middle of a run: a process with a thread, and its child."""
    ran = run(scenario_of(_PROGRAM, cpus=2), until_ns=8_000_000, is_logged=False).machine
    folder = tmp_path_factory.mktemp("run") / "proc"
    write_proc(folder, ran.proc())
    return folder


@pytest.fixture
def tool(proc):
    """Run a tool of procps on the run's proc/; return what it prints."""

    def ran(*command):
        name, *arguments = command
        if (path := shutil.which(name)) is None:
            pytest.skip(f"{name} (procps) is not installed")
        if reason := why_not_bound(proc):
            pytest.skip(f"no bind mount in a namespace of its own: {reason}")
        done = bound(proc, path, *arguments)
        assert (0, "") == (done.returncode, done.stderr)
        return done.stdout

    return ran


@pytest.fixture
def meminfo(proc):
    """Lines of meminfo by name, in KiB."""
    lines = (line.split() for line in (proc / "meminfo").read_text().splitlines())
    return {name.rstrip(":"): int(number) for name, number, *_ in lines}


def status_of(proc, pid):
    lines = (line.split(":", 1) for line in (proc / str(pid) / "status").read_text().splitlines())
    return {name: words.split()[0] for name, words in lines if words.split()}


def test_free_shows_meminfo(tool, meminfo):
    """Its columns are lines of meminfo, or sums of some."""
    _, memory, swap = tool("free", "-k", "-w").splitlines()
    total, _used, free, shared, buffers, cache, available = map(int, memory.split()[1:])

    assert (total, free) == (meminfo["MemTotal"], meminfo["MemFree"])
    assert (shared, buffers) == (meminfo["Shmem"], meminfo["Buffers"])
    assert cache == meminfo["Cached"] + meminfo["SReclaimable"] > shared > 0
    assert available == meminfo["MemAvailable"]
    assert ["Swap:", "0", "0", "0"] == swap.split()


def test_vmstat_shows_memory_and_events(tool, meminfo, proc):
    """The sums since boot: memory, pages of disks, interrupts, switches, forks."""
    printed = re.findall(r"^ +(\d+) (.*)$", tool("vmstat", "-s"), re.MULTILINE)
    shown = {name.removeprefix("K "): int(number) for number, name in printed}
    stat = dict(line.split(maxsplit=1) for line in (proc / "stat").read_text().splitlines())

    assert (shown["total memory"], shown["free memory"]) == (
        meminfo["MemTotal"],
        meminfo["MemFree"],
    )
    assert (shown["active memory"], shown["inactive memory"]) == (
        meminfo["Active"],
        meminfo["Inactive"],
    )
    assert (0, 40) == (shown["paged in"], shown["paged out"])
    assert (int(stat["ctxt"]), int(stat["processes"])) == (
        shown["CPU context switches"],
        shown["forks"],
    )
    assert int(stat["intr"].split()[0]) == shown["interrupts"]


def test_vmstat_shows_how_it_stands_and_what_the_disk_did(tool, meminfo, proc):
    """One line of the present, and one of the disk."""
    present = tool("vmstat").splitlines()[-1].split()
    disk = tool("vmstat", "-d").splitlines()[-1].split()

    cached = meminfo["Cached"] + meminfo["SReclaimable"]
    assert [meminfo["MemFree"], meminfo["Buffers"], cached] == [
        int(column) for column in present[3:6]
    ]
    assert ["vda", "0", "0", "0", "0", "10", "0", "80"] == disk[:8]
    assert "vda" in (proc / "diskstats").read_text()


def test_ps_shows_processes_and_threads(tool, proc):
    """Numbers, sizes, faults, states and CPUs of all threads."""
    columns = "pid,ppid,lwp,nlwp,rss,vsz,min_flt,stat,psr,comm"
    printed = [line.split() for line in tool("ps", "-eLo", columns).splitlines()[1:]]
    rows = {int(row[2]): row for row in printed}

    assert [1, 2, 3] == sorted(rows)
    for tid, row in rows.items():
        pid = row[0]
        status = status_of(proc, f"{pid}/task/{tid}")
        assert [status["PPid"], status["Threads"]] == [row[1], row[3]]
        assert [status["VmRSS"], status["VmSize"]] == row[4:6]
        assert status["State"] == row[7][0]
        assert status["Name"] == row[9]
        stat = (proc / pid / "task" / str(tid) / "stat").read_text().rpartition(")")[2].split()
        assert [stat[10 - 3], stat[39 - 3]] == [row[6], row[8]]
    assert [["1", "2"], ["1", "2"], ["3", "1"]] == [
        [rows[tid][0], rows[tid][3]] for tid in sorted(rows)
    ]
    assert "L" in rows[1][7], "it has locked pages"


def test_ps_aux_shows_the_share_of_memory(tool, meminfo, proc):
    """%MEM is what is resident, of all memory."""
    printed = [line.split() for line in tool("ps", "aux").splitlines()[1:]]
    rows = {int(row[1]): row for row in printed}

    assert [1, 3] == sorted(rows)
    for pid, row in rows.items():
        resident = int(status_of(proc, pid)["VmRSS"])
        assert resident * 1000 // meminfo["MemTotal"] / 10 == float(row[3])
        assert ["root", "p0"] == [row[0], row[10]]


def test_top_shows_memory_and_processes(tool, meminfo, proc):
    """Its head sums up, its rows are the processes."""
    head, _, table = tool("top", "-b", "-n1").partition("\n\n")
    memory = re.search(r"MiB Mem : +([\d.]+) total, +([\d.]+) free", head)
    rows = {int(row.split()[0]): row.split() for row in table.splitlines()[1:] if row.strip()}

    assert [f"{meminfo[name] / 1024:.1f}" for name in ("MemTotal", "MemFree")] == list(
        memory.groups()
    )
    assert "Tasks:   2 total" in head
    for pid, row in rows.items():
        status = status_of(proc, pid)
        shared = int(status["RssFile"]) + int(status["RssShmem"])
        assert [status["VmSize"], status["VmRSS"], str(shared)] == row[4:7]


def test_pmap_shows_the_areas_with_what_is_resident(tool, proc):
    """Addresses, sizes, modes and names as smaps has them."""
    lines = tool("pmap", "-x", "1").splitlines()
    areas = [line.split(maxsplit=5) for line in lines[2:-2]]
    smaps = (proc / "1/smaps").read_text()
    starts = re.findall(r"^([0-9a-f]+)-[0-9a-f]+ ", smaps, re.MULTILINE)

    def sizes(name):
        return re.findall(rf"^{name}: +(\d+) kB$", smaps, re.MULTILINE)

    assert [int(start, 16) for start in starts] == [int(area[0], 16) for area in areas]
    assert sizes("Size") == [area[1] for area in areas]
    assert sizes("Rss") == [area[2] for area in areas]
    total = lines[-1].split()
    assert [str(sum(map(int, sizes(name)))) for name in ("Size", "Rss")] == total[2:4]
    assert any(area[-1] == "f" for area in areas), "the mapped file has its name"


def test_uptime_has_just_begun(tool):
    """Milliseconds after boot; the load was never sampled."""
    assert "up 0 min" in (text := tool("uptime"))
    assert text.endswith("load average: 0.00, 0.00, 0.00\n")


def test_sysctl_reads_the_settings(tool):
    """By their names in /proc/sys."""
    assert "vm.max_map_count = 65530\n" == tool("sysctl", "vm.max_map_count")
    assert "kernel.osrelease = 6.1.0\n" == tool("sysctl", "kernel.osrelease")
