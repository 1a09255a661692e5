"""Processes, threads and open files are objects of the kernel's caches, and all go back."""

from collections import Counter

import pytest
from attrs import evolve
from machines import objects_left, run, scenario_of

from mmactors.scenario.faults.config import FailSlab, FaultsConfig

OF_A_PROCESS = [
    "dup_task_struct",
    "prepare_creds",
    "dup_fd",
    "copy_fs_struct",
    "copy_process",
    "copy_process",
    "dup_mm",
    "alloc_pid",
]
"""Who asks for the objects of a child without areas, in the kernel's order."""
GIVEN_BACK = {
    "dup_task_struct": [],
    "prepare_creds": ["free_task"],
    "dup_fd": ["put_cred_rcu", "free_task"],
    "copy_fs_struct": ["put_files_struct", "put_cred_rcu", "free_task"],
    "copy_process": ["free_fs_struct", "put_files_struct", "put_cred_rcu", "free_task"],
    "dup_mm": [
        *("copy_process", "__cleanup_sighand", "free_fs_struct", "put_files_struct"),
        *("put_cred_rcu", "free_task"),
    ],
    "alloc_pid": [
        *("vm_area_free", "vm_area_free", "__mmdrop", "copy_process", "__cleanup_sighand"),
        *("free_fs_struct", "put_files_struct", "put_cred_rcu", "free_task"),
    ],
}
"""Who gives back what, the newest first, by whose allocation fails in a fork."""


def failing(program, **fault):
    failslab = FailSlab(probability=100, ignore_gfp_wait=False, **fault)
    return run(evolve(scenario_of(program), faults=FaultsConfig(failslab=failslab)))


def failing_in(program, call, site):
    """Run a program in which the first allocation of `site` in a call fails, and none else."""
    asked = run(scenario_of(program)).events("kmem_cache_alloc")
    for nth in range(1, len(asked) + 1):
        ran = failing(program, interval=nth, times=1)
        (fault,) = ran.events("fault_injection")
        opened = [e["seq"] for e in ran.events("sys_enter") if e["call"] == call]
        if fault["site"] == site and opened and fault["seq"] > opened[0]:
            return ran, fault
    raise AssertionError(f"{call} asks for nothing in {site}")


def in_call(ran, call):
    """Return who allocated what in a call, in order."""
    opened = next(e["seq"] for e in ran.events("sys_enter") if e["call"] == call)
    closed = next(e["seq"] for e in ran.events("sys_exit") if e["seq"] > opened)
    asked = ran.events("kmem_cache_alloc")
    return [each["call_site"] for each in asked if opened < each["seq"] < closed]


def test_a_child_takes_its_objects_in_the_kernels_order():
    ran = run(scenario_of(["fork c"]))

    assert OF_A_PROCESS == [site for site in in_call(ran, "fork c") if site != "vm_area_dup"]
    assert {} == objects_left(ran)


def test_a_thread_takes_a_task_struct_and_a_pid():
    ran = run(scenario_of(["mmap A 4K", "thread T cpu=0", "mmap B 4K"]))
    opened = [e["seq"] for e in ran.events("sys_enter")]
    asked = ran.events("kmem_cache_alloc")
    between = [e["call_site"] for e in asked if opened[0] < e["seq"] < opened[1]]

    assert ["dup_task_struct", "alloc_pid"] == between[-2:]
    assert {} == objects_left(ran)


@pytest.mark.parametrize("site", GIVEN_BACK)
def test_a_fork_that_fails_gives_back_what_it_had_the_newest_first(site):
    ran, fault = failing_in(["mmap A 4K", "fork c", "sleep 1", "mmap B 4K"], "fork c", site)
    looked = next(e["seq"] for e in ran.events("sys_enter") if e["call"] == "mmap B 4K")
    freed = ran.events("kmem_cache_free")

    assert -12 == ran.results()["fork c"]
    assert GIVEN_BACK[site] == [
        each["call_site"] for each in freed if fault["seq"] < each["seq"] < looked
    ]
    assert {} == objects_left(ran)


def test_a_child_that_nobody_waits_for_goes_with_its_parent():
    """Until then it keeps what tells of its end; its memory and files went at once."""
    ran = run(scenario_of(["fork c", "c: exit", "sleep 1", "mmap A 4K"]))
    looked = next(e["seq"] for e in ran.events("sys_enter") if e["call"] == "mmap A 4K")
    freed = Counter(e["call_site"] for e in ran.events("kmem_cache_free") if e["seq"] < looked)

    assert (1, 1, 1) == (freed["__mmdrop"], freed["put_files_struct"], freed["free_fs_struct"])
    assert 0 == freed["free_task"] + freed["put_pid"] + freed["__cleanup_sighand"]
    assert {} == objects_left(ran)


def test_a_child_that_was_waited_for_is_gone_after_a_grace_period():
    ran = run(scenario_of(["fork c", "c: exit", "reap", "sleep 1", "mmap A 4K"]))
    looked = next(e["seq"] for e in ran.events("sys_enter") if e["call"] == "mmap A 4K")
    freed = Counter(e["call_site"] for e in ran.events("kmem_cache_free") if e["seq"] < looked)

    assert (1, 1, 1) == (freed["free_task"], freed["put_pid"], freed["__cleanup_sighand"])
    assert (1, 1) == (freed["__put_task_struct"], freed["put_cred_rcu"])


def test_an_open_file_is_one_object_however_many_use_it():
    """A child's table and two areas; it goes with the last of them."""
    program = [
        "open f /f create",
        "mmap A 8K file=f flags=shared",
        "fork c",
        "munmap A",
        "close f",
        "mmap B 4K",
        "c: close f",
        "c: munmap A",
        "sleep 1",
        "mmap C 4K",
    ]
    ran = run(scenario_of(program))
    (file,) = [e for e in ran.events("kmem_cache_alloc") if e["call_site"] == "__alloc_file"]
    (freed,) = [e for e in ran.events("kmem_cache_free") if e["ptr"] == file["ptr"]]
    calls = {e["call"]: e["seq"] for e in ran.events("sys_enter")}

    assert calls["munmap A"] < freed["seq"] < calls["mmap C 4K"]
    assert calls["mmap B 4K"] < freed["seq"]


def test_shared_anonymous_memory_is_an_open_file_until_it_is_unmapped():
    ran = run(scenario_of(["mmap A 8K flags=shared,anon", "munmap A", "sleep 1", "mmap B 4K"]))
    made = [e for e in ran.events("kmem_cache_alloc") if e["call_site"] == "__alloc_file"]
    freed = [e for e in ran.events("kmem_cache_free") if e["call_site"] == "file_free_rcu"]

    assert [e["ptr"] for e in made] == [e["ptr"] for e in freed]


@pytest.mark.parametrize(
    ("program", "call", "answer"),
    [
        (["open f /f create"], "open f /f create", -12),
        (["mmap A 8K flags=shared,anon"], "mmap A 8K flags=shared,anon", -12),
        (["open f /f"], "open f /f", -12),
    ],
)
def test_where_no_open_file_can_be_made_the_call_says_so(program, call, answer):
    """Before the path is even looked up."""
    ran = failing(program, require=("__alloc_file",))

    assert answer == ran.results()[call]
    assert {} == objects_left(ran)


def test_a_name_that_is_none_takes_no_object():
    ran = run(scenario_of(["open f " + "/a" * 2050]))

    assert [] == [e for e in ran.events("kmem_cache_alloc") if e["call_site"] == "__alloc_file"]


@pytest.mark.parametrize("site", [*dict.fromkeys(OF_A_PROCESS[:-2]), "alloc_pid", "mm_alloc"])
def test_a_program_for_which_there_is_no_memory_dies_and_leaves_nothing(site):
    ran = failing(["mmap A 4K"], require=(site,))

    assert {} == ran.results()
    assert ["SIGKILL"] == [death.signal for death in ran.machine.deaths()]
    assert {} == objects_left(ran)


@pytest.mark.parametrize("site", ["dup_task_struct", "alloc_pid"])
def test_a_thread_for_which_there_is_no_memory_is_none(site):
    """What it is told to do is told to nobody."""
    program = ["mmap A 4K", "thread T cpu=0", "T: mmap B 4K"]
    asked = len(run(scenario_of(["mmap A 4K"])).events("kmem_cache_alloc"))
    nth = asked + 1 + (site == "alloc_pid")
    ran = failing(program, interval=nth, times=1)
    (fault,) = ran.events("fault_injection")

    assert site == fault["site"]
    assert -3 == ran.results()["T: mmap B 4K"]
    assert {} == objects_left(ran)


NR_CHILDREN = 20
NR_WRITTEN = 5
"""Areas of the parent with pages of its own."""
OF_ZOMBIES = ("task_struct", "cred_jar", "sighand_cache", "signal_cache", "pid")
OF_CHILDREN = (*OF_ZOMBIES, "files_cache", "mm_struct")


def in_use(ran, at):
    """Return how many objects of each cache are in use before a call."""
    looked = next(e["seq"] for e in ran.events("sys_enter") if e["call"] == at)
    names = {e["ptr"]: e["name"] for e in ran.events("kmem_cache_free")}
    asked = [e for e in ran.events("kmem_cache_alloc") if e["seq"] < looked]
    freed = [e for e in ran.events("kmem_cache_free") if e["seq"] < looked]
    count = Counter(names[e["ptr"]] for e in asked if e["ptr"] in names)
    count.subtract(Counter(e["name"] for e in freed))
    return count


def test_a_storm_of_forks_costs_as_many_objects_as_on_a_real_kernel():
    """Looked at before, while all live, when all have ended, when all were waited for.

    So it was on Debian's 6.1 with slab_nomerge and slub_debug=F, where /proc/slabinfo counts
    exactly: 20 children that share five open files, with ten areas each, five of them written.
    There fs_cache is no alias, and had 20 objects more, and none when the children had ended.
    """
    files = [f"open f{nth} /f{nth} create" for nth in range(5)]
    for nth in range(NR_WRITTEN):
        # Areas of one protection side by side would be one area.
        files += [f"mmap A{nth} 4K prot={'rw' if nth % 2 else 'rwx'}", f"touch A{nth} write"]
    forks = [f"fork C{nth}" for nth in range(NR_CHILDREN)]
    ends = [f"C{nth}: exit" for nth in range(NR_CHILDREN)]
    looks = [f"open {name} /nothing" for name in "wxyz"]
    program = [*files, looks[0], *forks, looks[1], *ends, "sleep 1", looks[2], "reap", "sleep 1"]
    ran = run(scenario_of([*program, looks[3]], size=128 << 20))
    before, live, ended, gone = (in_use(ran, look) for look in looks)
    live.subtract(before)
    ended.subtract(before)

    assert dict.fromkeys(OF_CHILDREN, NR_CHILDREN) == {each: live[each] for each in OF_CHILDREN}
    assert NR_CHILDREN * before["vm_area_struct"] == live["vm_area_struct"]
    assert NR_CHILDREN * NR_WRITTEN == live["anon_vma"]
    assert NR_CHILDREN * (2 * NR_WRITTEN + 1) == live["anon_vma_chain"], "and fs_structs"
    assert 0 == live["filp"]
    assert dict.fromkeys(OF_ZOMBIES, NR_CHILDREN) == +ended
    assert before == gone
