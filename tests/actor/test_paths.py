"""Paths: what open, unlink, get and put make of them (fs/namei.c, Linux 6.1)."""

import errno

import pytest
from machines import run, scenario_of

LONGEST = "/" + "d/" * 2047

MEANT = {
    "f": "/f",
    "./f": "/f",
    "//shm///f": "/shm/f",
    "/shm/./d/../f": "/shm/f",
    "../../f": "/f",
    "mnt/f": "/mnt/f",
    "x" * 255: "/" + "x" * 255,
    "é" * 127: "/" + "é" * 127,
}
WRONG = {
    ".": "EISDIR",
    "..": "EISDIR",
    "/": "EISDIR",
    "//": "EISDIR",
    "/mnt": "EISDIR",
    "/shm/": "EISDIR",
    "/shm/new/": "EISDIR",
    "/shm/new/.": "EISDIR",
    "/shm/there/new": "ENOTDIR",
    "/shm/there/../new": "ENOTDIR",
    "x" * 256: "ENAMETOOLONG",
    "é" * 128: "ENAMETOOLONG",
    f"/{'x' * 256}/f": "ENAMETOOLONG",
    LONGEST + "e": "ENAMETOOLONG",
}


def outcomes(*operations):
    """Return what came of each operation; /shm/there is a file."""
    return run(scenario_of(["open T /shm/there create", *operations])).results()


@pytest.mark.parametrize(("path", "meant"), MEANT.items(), ids=range(len(MEANT)))
def test_a_path_is_looked_up_from_the_root(path, meant):
    """Which is where every process stands; /proc shows the whole path."""
    ran = run(
        scenario_of(
            [
                f'open F "{path}" create',
                "write F 0 4K bs=4K",
                "mmap A 4K prot=r flags=shared file=F",
                "fork C",
                "get /proc/self/maps",
                "get /proc/self/fdinfo/3",
                f'unlink "{meant}"',
            ]
        )
    )
    maps, fdinfo = (each.text for each in ran.machine.texts())

    assert {0} == {result for call, result in ran.results().items() if call[:2] in ("ge", "un")}
    assert f" {meant}\n" in maps
    assert f"mnt_id:\t{4 if meant.startswith('/mnt/') else 1}\n" in fdinfo


@pytest.mark.parametrize(("path", "error"), WRONG.items(), ids=range(len(WRONG)))
def test_what_no_file_can_be_called_is_refused(path, error):
    """As by openat() with O_CREAT."""
    call = f'open F "{path}" create'

    (found,) = (ret for name, ret in outcomes(call).items() if name.startswith("open F"))

    assert -getattr(errno, error) == found


def test_who_does_not_make_a_file_may_name_it_with_a_slash_behind():
    """And is told that it is none, or that there is none; unlink says the same."""
    found = outcomes("open F /shm/there/", "open F /none/", "unlink /shm/there/", "unlink /none/")

    assert [-errno.ENOTDIR, -errno.ENOENT] * 2 == list(found.values())[1:]


def test_a_directory_stays_when_its_last_file_has_gone():
    """No file can take its name."""
    found = outcomes("open F /a/b create", "unlink /a/b", "unlink /a", "open G /a create")

    assert [0, 0, -errno.EISDIR, -errno.EISDIR] == list(found.values())[1:]


def test_files_of_proc_have_paths_of_all_shapes():
    """get and put look them up as open does."""
    found = outcomes(
        "get proc//meminfo",
        "get /proc/self/../vmstat",
        "get /proc/meminfo/",
        f"get /{'x' * 256}",
        "put //proc/sys/vm/overcommit_memory 1",
        f"put {LONGEST}e 1",
    )

    assert [0, 0, -errno.ENOTDIR, -errno.ENAMETOOLONG, 0, -errno.ENAMETOOLONG] == [*found.values()][
        1:
    ]
