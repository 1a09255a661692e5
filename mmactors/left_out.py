"""What is left out of Linux 6.1's memory management, for good or for now: one list.

Whoever asks for it by name, as an operation, an argument, a key of a scenario or a path of /proc
or /sys, is told that it is left out, why, and what to use instead; docs/left-out.md is made of this
list. What is here must not be implemented, and what comes leaves the list.
"""

import re
from typing import Final

from attrs import frozen


@frozen(kw_only=True)
class LeftOut:
    """One mechanism, with every name by which somebody may ask for it."""

    name: str
    for_good: bool
    why: str
    instead: str
    words: tuple[str, ...]
    """Operations, advices, arguments and keys; in lower case, `_` between parts."""
    paths: tuple[str, ...] = ()
    """Files, or what they begin with."""

    @property
    def found(self) -> str:
        """The sentence that says so."""
        return f"{self.name} left out for {'good' if self.for_good else 'now'}: {self.why}"


LEGAL: Final = "expected what this release simulates; docs/left-out.md lists what it does not"

LEFT_OUT: Final = (
    LeftOut(
        name="KSM is",
        for_good=True,
        why="pages have no contents here that could be found to be equal",
        instead="let processes share a mapping: flags=shared,anon before fork",
        words=("ksm", "ksmd", "mergeable", "unmergeable"),
        paths=("/sys/kernel/mm/ksm",),
    ),
    LeftOut(
        name="DAMON is",
        for_good=True,
        why="it samples accesses, of which a run counts every one",
        instead="read the counters, or mark pages with `idle`",
        words=("damon", "damos", "kdamond"),
        paths=("/sys/kernel/mm/damon", "/sys/kernel/debug/damon", "/sys/module/damon"),
    ),
    LeftOut(
        name="userfaultfd is",
        for_good=True,
        why="a program of operations has no handler that could answer a fault",
        instead="write the pages with `touch` before others read them",
        words=("userfaultfd", "uffd", "uffdio_register", "uffdio_copy", "uffdio_writeprotect"),
        paths=("/dev/userfaultfd",),
    ),
    LeftOut(
        name="cpusets are",
        for_good=True,
        why="there is no load balancing that they could restrict",
        instead="pin processes with `cpu: N`, or the operation `cpu N`",
        words=("cpuset", "cpusets", "cpuset_cpus", "cpuset_mems"),
        paths=("/sys/fs/cgroup/cpuset", "/dev/cpuset"),
    ),
    LeftOut(
        name="scheduling classes and priorities are",
        for_good=True,
        why="each CPU runs its threads round robin with a fixed slice",
        instead="pin threads with `cpu N` and set kernel.costs.slice_ns",
        words=("nice", "sched_setscheduler", "cfs", "priority"),
    ),
    LeftOut(
        name="io_uring and asynchronous I/O are",
        for_good=True,
        why="calls return when they are done",
        instead="use `read` and `write` in a thread, or `pin` and `dma`",
        words=("io_uring", "io_uring_setup", "io_uring_enter", "io_setup", "io_submit", "aio"),
    ),
    LeftOut(
        name="persistent memory and DAX are",
        for_good=True,
        why="files lie in the page cache only",
        instead="map a file below /shm",
        words=("dax", "pmem", "nvdimm"),
    ),
    LeftOut(
        name="other architectures are",
        for_good=True,
        why="entries, walks and flushes are those of x86-64",
        instead="leave it out; machine.hardware changes TLBs and caches",
        words=("arch", "architecture", "arm64", "riscv"),
    ),
    LeftOut(
        name="page-table isolation is",
        for_good=True,
        why="kernel and programs use one top table, as with pti=off",
        instead="leave it out",
        words=("pti", "kpti"),
    ),
    LeftOut(
        name="requeueing, priority inheritance and robust lists of futexes are",
        for_good=False,
        why="threads sleep at one word at a time, and have no priorities",
        instead="use `futex_wait` and `futex_wake`, or `lll_lock` and `lll_unlock`",
        words=(
            "futex_requeue",
            "futex_cmp_requeue",
            "futex_wake_op",
            "futex_lock_pi",
            "futex_unlock_pi",
            "futex_waitv",
            "set_robust_list",
        ),
    ),
    LeftOut(
        name="swap is",
        for_good=False,
        why="anonymous pages stay in memory",
        instead="raise machine.memory.size",
        words=("swap", "swapon", "swapoff", "swap_file", "swapfile", "zram"),
        paths=("/sys/kernel/mm/swap", "/sys/block/zram0"),
    ),
    LeftOut(
        name="zswap is",
        for_good=False,
        why="there is no swap that it could stand before",
        instead="raise machine.memory.size",
        words=("zswap", "zsmalloc", "zbud", "z3fold", "frontswap"),
        paths=("/sys/module/zswap",),
    ),
    LeftOut(
        name="reclaim by kswapd is",
        for_good=False,
        why="an allocation that finds no memory fails",
        instead="use `madvise RANGE PAGEOUT`, or raise machine.memory.size",
        words=("kswapd", "reclaim", "shrink", "process_mrelease"),
    ),
    LeftOut(
        name="the multi-generational LRU is",
        for_good=False,
        why="pages are on the two lists that 6.1 has without it",
        instead="leave it out",
        words=("mglru", "lru_gen"),
        paths=("/sys/kernel/mm/lru_gen", "/sys/kernel/debug/lru_gen"),
    ),
    LeftOut(
        name="the OOM killer is",
        for_good=False,
        why="the process whose allocation fails is killed",
        instead="use `kill`, or a smaller machine.memory.size",
        words=("oom", "oom_killer", "oom_kill"),
    ),
    LeftOut(
        name="compaction is",
        for_good=False,
        why="pages are not moved to make blocks",
        instead="use `drain_all_pages`",
        words=("compaction", "kcompactd", "compact"),
        paths=("/sys/devices/system/node/node0/compact",),
    ),
    LeftOut(
        name="the contiguous memory allocator is",
        for_good=False,
        why="it needs migration",
        instead="use `alloc_pages NAME order=N`",
        words=("cma", "cma_alloc", "alloc_contig_range"),
        paths=("/sys/kernel/mm/cma",),
    ),
    LeftOut(
        name="transparent huge pages are",
        for_good=False,
        why="every page has 4 KiB, as with `never`",
        instead="leave it out",
        words=("thp", "khugepaged", "hugepage_size"),
        paths=("/sys/kernel/mm/transparent_hugepage/khugepaged",),
    ),
    LeftOut(
        name="huge pages of hugetlb are",
        for_good=False,
        why="the pool is empty: mmap with the flag hugetlb gives ENOMEM, as on Linux without any",
        instead="map ordinary pages",
        words=("hugetlb", "hugetlbfs", "hugepages", "hugepagesz", "nr_hugepages"),
        paths=("/sys/kernel/mm/hugepages",),
    ),
    LeftOut(
        name="memory cgroups are",
        for_good=False,
        why="pages are charged to nobody",
        instead="limit a process with `rlimit AS SIZE`",
        words=("memcg", "cgroup", "cgroups", "cgcreate", "cgset", "cgjoin", "cgget"),
        paths=("/sys/fs/cgroup",),
    ),
    LeftOut(
        name="memory policies are",
        for_good=False,
        why="memory comes from the node of the CPU first, as with MPOL_DEFAULT",
        instead="run who touches first on a CPU of the node",
        words=(
            "mbind",
            "set_mempolicy",
            "get_mempolicy",
            "set_mempolicy_home_node",
            "mempolicy",
            "numactl",
            "interleave",
        ),
    ),
    LeftOut(
        name="NUMA balancing and moving of pages between nodes are",
        for_good=False,
        why="a page stays where it was allocated",
        instead="map again, and touch on a CPU of the other node",
        words=("numa_balancing", "autonuma", "move_pages", "migrate_pages", "demotion"),
        paths=("/proc/sys/kernel/numa_balancing", "/sys/kernel/mm/numa"),
    ),
    LeftOut(
        name="settings of caches in sysfs, and bulk calls for objects are",
        for_good=False,
        why="files of /sys/kernel/slab are only read here, and objects come one by one",
        instead="use `kmem_cache_create`, `kmem_cache_alloc` and `kmem_cache_shrink`",
        words=("kmem_cache_alloc_bulk", "kmem_cache_free_bulk"),
    ),
    LeftOut(
        name="allocators besides ptmalloc, tcmalloc and jemalloc are",
        for_good=False,
        why="no other was held against recordings",
        instead="use `malloc: ptmalloc`, or one of the others",
        words=("mimalloc", "snmalloc", "hoard", "scudo"),
    ),
    LeftOut(
        name="calls for protection keys are",
        for_good=False,
        why="the only key is that of execute-only memory",
        instead="use `mprotect RANGE prot=x` with machine.pku",
        words=("pkey_alloc", "pkey_free", "pkey_mprotect"),
    ),
    LeftOut(
        name="soft-dirty bits are",
        for_good=False,
        why="entries have no such bit, as without CONFIG_MEM_SOFT_DIRTY",
        instead="use `idle`",
        words=("soft_dirty", "clear_refs"),
        paths=("/proc/self/clear_refs",),
    ),
    LeftOut(
        name="memory failure is",
        for_good=False,
        why="no page is ever poisoned",
        instead="use `offline_pages`",
        words=("hwpoison", "soft_offline", "memory_failure"),
        paths=(
            "/sys/devices/system/memory/hard_offline",
            "/sys/devices/system/memory/soft_offline",
        ),
    ),
    LeftOut(
        name="calls on other processes' memory are",
        for_good=False,
        why="a process works on its own",
        instead="write `CHILD: operation`, or use `memwrite`",
        words=("process_madvise", "process_vm_readv", "process_vm_writev", "ptrace"),
    ),
    LeftOut(
        name="System V shared memory and memory files are",
        for_good=False,
        why="one kind of shared file is enough to share",
        instead="use flags=shared,anon, or a file below /shm",
        words=("shmget", "shmat", "shmdt", "memfd_create", "memfd_secret"),
    ),
    LeftOut(
        name="remap_file_pages is",
        for_good=True,
        why="6.1 only emulates it by mmap",
        instead="use mmap with flags=shared,fixed",
        words=("remap_file_pages",),
    ),
    LeftOut(
        name="pipes are",
        for_good=False,
        why="nothing holds pages but mappings, files and devices",
        instead="use `pin`, `dma` and `unpin`",
        words=("pipe", "splice", "vmsplice", "tee"),
    ),
)

_BY_WORD: Final = {word: each for each in LEFT_OUT for word in each.words}


def left_out_called(word: str) -> LeftOut | None:
    """Return what is left out under this name, in any spelling: `MADV_MERGEABLE`, `lru-gen`."""
    plain = re.sub(r"[^a-z0-9]+", "_", word.casefold()).strip("_")
    return _BY_WORD.get(plain) or _BY_WORD.get(plain.removeprefix("madv_"))


def left_out_at(path: str) -> LeftOut | None:
    """Return what is left out to which a file of /proc or /sys belongs."""
    for each in LEFT_OUT:
        if any(
            path == start or path.startswith((f"{start}/", f"{start}.")) for start in each.paths
        ):
            return each
    return None


def left_out_document() -> str:
    """Return docs/left-out.md."""
    lines = [
        "# What is left out",
        "",
        "Made from mmactors/left_out.py by `python -m mmactors.scenario.generate docs`.",
        "`mmactors check` refuses what stands here by each of its names, as an operation, an",
        "argument, a key, or a path, and says why and what to use instead. What is simulated, and",
        "how exactly, is in [fidelity.md](fidelity.md).",
    ]
    for title, for_good in (("For good", True), ("For now", False)):
        lines += ["", f"## {title}", "", "| what | why | instead | names |", "|---|---|---|---|"]
        for each in LEFT_OUT:
            if each.for_good == for_good:
                names = ", ".join(f"`{name}`" for name in (*each.words, *each.paths))
                what = each.name.removesuffix(" is").removesuffix(" are")
                lines.append(f"| {what} | {each.why} | {each.instead} | {names} |")
    return "\n".join(lines) + "\n"
