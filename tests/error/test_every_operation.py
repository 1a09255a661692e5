"""What passes `check` can be run: every operation of the grammar, with every option, at its limits.

The texts are made from the grammar: each argument takes each of its values in turn, the others
theirs of every day. Each operation is done by a child of its own, so that what one does to its
memory, or its death, is nothing to the next.
"""

import re
from itertools import pairwise, product

import pytest

import mmactors
from mmactors.errors import UserError
from mmactors.workload.operation.all import OPERATIONS
from mmactors.workload.operation.generator import PATTERNS
from mmactors.workload.operation.grammar import arguments_of
from mmactors.workload.operation.memory import pattern_arguments

MACHINES = {"1 CPU": (1, 1), "3 CPUs, 2 nodes": (3, 2)}
TRACE = "tests/reference/traces/true.npz"
HEAP_TRACE = "tests/reference/malloc/real_zstd.npz"
SETUP = """
    mmap A 64K|touch A 0..4 write|mmap S 64K flags=shared,anon|touch S 0..2 write
    open F /shm/f create|write F 0 16K bs=4K|open G /mnt/g create|write G 0 16K bs=4K
    open Z /shm/z create|mmap M 16K prot=rw flags=shared file=F|touch M 0..2 write
    mmap P 16K prot=rw flags=private file=G|touch P 0..2 write|mmap X 4K prot=none|brk +64K
    heap H 8K|pin A 0..2 as=D|alloc_pages B order=1|thread U cpu=0
    kmem_cache_create K size=100|kmem_cache_alloc O cache=K|kmalloc Y size=64K
    kmalloc W size=64|percpu_ref_init R release=W flags=allow_reinit
    alloc_percpu V size=100|alloc_reserved_percpu M size=64
    malloc I 100|touch I write|malloc R 1M|malloc V 100|free V
    vmalloc E 8K|vmap L block=B|vm_map_ram C block=B|get_vm_area J 64K
"""
"""Memory of each kind, files, a device, pages of the kernel, and a thread."""

MAX = (1 << 64) - 1
LONG = (1 << 62) - 1
"""More of what is repeated than anybody could wait for."""
RANGES = """
    A|A 0..0|A 1..3|A 5..2|A 0..5000|A 9999999999999998..9999999999999999|H|S|M|P|X|Q|@0x0:4K
    @0x0:0|@0xfffffffffffff000:4K|@0xffffffffffffffff:1|@0xfffffffffffff000:64K|@A:0|@A+100:100
    @0x8000000000000000:1|@0x7ffffffff000:4K|@0x800000000000:4K|@0x1000000000000:4K|@stack:4K
    @0x7fffffffe000:16K|@brk-4K:8K|@A:0xffffffffffffffff|@A+60K:1M|@0xffffc90000000000:4K
"""
ADDRESSES = """
    A|0x0|0x1|A+1|A+4K|stack|brk|0xffffffffffffffff|0xfffffffffffff000|0x8000000000000000
    0x7ffffffff000|brk-4K|stack-8M|X|Q
"""
SIZES = "4K|0|1|4095|64K|2M|0x7ffffffff000|0x8000000000000000|0xfffffffffffff000"
SIZES_MAX = f"{SIZES}|{MAX}"
NUMBERS = f"0|1|2|3|4|7|8|10|99|100|1000|-1000|8191|8192|{(1 << 31) - 1}|{LONG}|{MAX}"
OTHERS = {
    "NAME": "N|A",
    "FILE": "F|G|Z|Q",
    "CHANGE": "+4K|-4K|0|+1|+0x7fffffffffff|-0xffffffffffffffff|+0xffffffffffffffff",
    "rev|rand:SEED": f"rev|rand:1|rand:{MAX}",
    "rand:SEED": f"rand:1|rand:{MAX}",
    "TIME": "0ns|1ns|1us|20ms",
    "PROT": "r|w|rw|x|rx|rwx|none|rw,growsdown|growsup|growsdown",
}
MALLOCS = ("malloc", "calloc", "realloc", "memalign", "aligned_alloc", "posix_memalign")
SPECIAL = {
    "stop.name": "U",
    "fork.child": "N",
    "kill.child": "N",
    "thread.name": "N",
    "dma.device": "D|Q",
    "unpin.device": "D",
    "block": "B|Q",
    "cache": "K|Q",
    "release": "O|Y|Q",
    "ref": "R|Q",
    "percpu": "V|M|Q",
    "pointer": "I|R|V|A|H|X|Q",
    **{f"{verb}.name": "N|I|R|V|A" for verb in MALLOCS},
    "members": f"1|0|3|1000|{LONG}|{MAX}",
    "alignment": f"16|0|1|3|8|48|64|4K|1M|0x8000000000000000|{MAX}",
    "alloc_percpu.length": "100|1|0|32768|32769|4M",
    "alloc_percpu.align": "8|0|1|3|4096|8192",
    "alloc_reserved_percpu.length": "100|8K|9K",
    "alloc_reserved_percpu.align": "8|0|3|8192",
    "object": "O|Y|E|L|J|Q",
    "align": "0|1|2|8|64|4096",
    "kmem_cache_create.length": f"100|1|8|4097|64K|2M|8M|{(1 << 32) - 1}",
    "offset": f"0|1|-1|4K|-4K|100|99|64K|{LONG}|-{LONG}",
    **dict.fromkeys(("poke.length", "peek.length"), "1|4|100|4K|4M"),
    "futex_wait.value": f"1|0 timeout=1us|0 timeout=1us shared|{(1 << 32) - 1}",
    "barrier.count": f"1|2|{LONG}",
    "path": "/shm/f|/mnt/new|/none|/proc/meminfo|/proc/self/maps|/proc/sys/vm/drop_caches"
    "|/proc/sys/vm/overcommit_memory|/proc/sys/vm/swappiness|/sys/kernel/mm/ksm/run|/proc|/|x"
    "|/sys/kernel/mm/transparent_hugepage/enabled|/proc/self/oom_score_adj|/mnt/|.|..|a/../b|/shm/f/"
    f"|//shm//f|shm/f|/shm/f/g|{'x' * 255}|{'x' * 256}|{'/y' * 2048}|/proc/self/../meminfo",
    "trace.path": TRACE,
    "heap_trace.path": HEAP_TRACE,
    "heap_trace.limit": "1|100|1000000",
    "heap_trace.format": "npz",
    "heap_trace.stack": "16K|1M|8M|1T",
    "put.value": f"1|0|x|-1|{MAX + 1}|never",
    "duration_ms": "0|1|1000",
    "group": f"4|1|2|{LONG}",
    "passes": "1|3",
    "repeat": "1|2",
    "churn.count": "1|3",
    "faultloop.count": "1|3",
    "generate.count": "1|1000",
    "churn.length": "4K|0|1|1M|0x8000000000000000",
    **dict.fromkeys(("vmalloc.length", "vzalloc.length"), "4K|0|1|1M|0x7ffffffff000"),
    "vmalloc.align": "1|4K|2M|1T",
    "vmap.count": "2|1|3|1048576",
    "vm_map_ram.count": "2|1|3|1048576",
    "area": "E|L|C|J|O|Y|Q",
    "length": SIZES,
    "sched_setaffinity.thread": "U|P0",
    **dict.fromkeys(
        [f"{verb}.smp_call" for verb in ("kmem_cache_alloc", "kmalloc", "kzalloc", "krealloc")],
        "0 gfp=ATOMIC|1 gfp=NOWAIT|2 gfp=ATOMIC|0|8191 gfp=ATOMIC",
    ),
}
"""By the name of a field, of one operation or of all: what the kind of the word cannot know."""


def words(text):
    return [word.strip() for line in text.split("\n") for word in line.split("|") if word.strip()]


def values_of(verb, name, argument):
    """Return what an argument takes; first what it has when another is tried."""
    kind = argument.kind
    special = SPECIAL.get(f"{verb}.{name}", SPECIAL.get(name))
    if special is not None:
        return words(special)
    if kind.symbol == "FLAG,...":
        return flag_sets([choice for choice in kind.choices if choice != "none"])
    if kind.symbol == "RANGE":
        return words(RANGES)
    if kind.symbol == "ADDRESS":
        return words(ADDRESSES)
    if kind.symbol in OTHERS:
        return words(OTHERS[kind.symbol])
    if kind.choices:
        return list(kind.choices)
    candidates = words(SIZES_MAX) if "SIZE" in kind.symbol else words(NUMBERS)
    return [word for word in candidates if is_legal(kind, word)] or ["w"]


def is_legal(kind, word):
    try:
        kind.read(word)
    except ValueError:
        return False
    return True


def flag_sets(flags):
    """Return sets that do something, each flag with them, pairs, and all."""
    if "private" not in flags:
        return [*flags, *(",".join(pair) for pair in pairwise(flags)), "none"]
    common = ("private,anon", "shared,anon", "private", "shared", "none", "private,shared,anon")
    others = [flag for flag in flags if flag not in ("private", "shared", "anon")]
    return [
        *common,
        *(f"{kind},anon,{flag}" for kind, flag in product(("private", "shared"), others)),
    ]


def texts_of(verb):
    """Return the texts that are tried of one operation."""
    if verb != "generate":
        return written(verb, verb, arguments_of(OPERATIONS[verb]))
    plain = arguments_of(OPERATIONS[verb])
    return [
        text
        for kind in PATTERNS
        for text in written(verb, f"{verb} {kind}", {**plain, **pattern_arguments(kind)})
    ]


def written(verb, head, arguments):
    values = {
        name: values_of(verb, name, argument)
        for name, argument in arguments.items()
        if not argument.is_switch
    }

    def text(chosen, value):
        parts = [head]
        for name, argument in arguments.items():
            if argument.is_switch:
                parts += [argument.key] if name == chosen else []
            elif argument.key is None:
                parts.append(value if name == chosen else values[name][0])
            elif name == chosen or argument.is_required:
                parts.append(f"{argument.key}={value if name == chosen else values[name][0]}")
        return " ".join(parts)

    return [
        text(name, value)
        for name, argument in arguments.items()
        for value in (["on"] if argument.is_switch else values[name])
    ] or [head]


def scenario_of(operations, nr_cpus, nr_nodes):
    memory = {"size": "64M", "kernel_image": "1M", "initramfs": 0, "nr_nodes": nr_nodes}
    return {
        "machine": {"cpus": nr_cpus, "memory": memory},
        "engine": {"driver": "inline"},
        "record": {"events": []},
        "processes": [{"name": "p", "program": [*words(SETUP), *operations]}],
    }


def by_children(texts):
    """Return a program in which each text is done by a child of its own."""
    begin = {"stop U": "U& spin"}
    return [
        step
        for text in texts
        for step in (begin.get(text, "nop"), "fork V", f"V: {text}", "kill V")
    ]


def those_that_pass(texts, nr_cpus, nr_nodes):
    """Return the texts that `check` has nothing against, also without the others."""
    while True:
        problems = ()
        try:
            mmactors.load(scenario_of(by_children(texts), nr_cpus, nr_nodes))
        except UserError as error:
            problems = error.problems
        places = [re.search(r"program\[(\d+)\]", problem.found) for problem in problems]
        if not places:
            return texts
        wrong = {(int(place[1]) - len(words(SETUP))) // 4 for place in places}
        texts = [text for nth, text in enumerate(texts) if nth not in wrong]


@pytest.mark.parametrize(
    "machine", [pytest.param("1 CPU", marks=pytest.mark.slow), "3 CPUs, 2 nodes"]
)
@pytest.mark.parametrize("verb", OPERATIONS)
def test_what_passes_check_can_be_run(verb, machine):
    """To its end: no assertion, no exception of ours, nobody who waits for ever."""
    texts = those_that_pass(texts_of(verb), *MACHINES[machine])

    result = mmactors.run(scenario_of(by_children(texts), *MACHINES[machine]))

    assert "complete" == result.status, result.failure
    assert result.verdict in {"ok", "died"}
    assert verb in {"cgcreate", "cgget", "cgjoin", "cgset", "spin", "sync", "kill"} or texts
