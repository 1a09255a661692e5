"""Scenarios, drawn: small machines of every kind, and random programs for their processes.

A document is what a scenario file says, as dicts and lists; `write` gives its text. The options are
those of the schema, found by walking it.
"""

import json
import random
import typing

import attrs

from mmactors.scenario.schema import Scenario
from mmactors.scenario.structure import config_fields, optional_type
from mmactors.units import MIB, PAGE_SIZE

from .words import ODD_NUMBERS, ODD_SIZES, Author

SECTIONS = tuple(
    name
    for name, known in config_fields(Scenario).items()
    if attrs.has(optional_type(known.type)[0])
)
DRAWN_APART = {
    *("machine.cpus", "machine.memory.size", "machine.memory.nr_nodes", "machine.memory.hotplug"),
    *("engine.step_budget", "record.sample"),
}
NOT_DRAWN = {
    "race.laws": "names a function of the user's",
    "race.reaches": "names a function of the user's",
}
SIZES_MAX = 1 << 20
"""Of caches and the like: what the host has to hold."""
ENVIRONMENTS = {
    "ptmalloc": (
        {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=0:glibc.malloc.mxfast=0"},
        {"GLIBC_TUNABLES": "glibc.malloc.arena_max=1"},
        {"GLIBC_TUNABLES": "glibc.malloc.top_pad=0:glibc.malloc.trim_threshold=65536"},
        {"GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=65536"},
        {"MALLOC_ARENA_MAX": "2", "MALLOC_TOP_PAD_": "4096"},
    ),
    "tcmalloc": (
        {"TCMALLOC_MAX_TOTAL_THREAD_CACHE_BYTES": "524288", "TCMALLOC_TRANSFER_NUM_OBJ": "2"},
        {"TCMALLOC_AGGRESSIVE_DECOMMIT": "1"},
        {"TCMALLOC_RELEASE_RATE": "100"},
        {"TCMALLOC_HEAP_LIMIT_MB": "4"},
        {"TCMALLOC_SKIP_SBRK": "1"},
        {"TCMALLOC_SKIP_MMAP": "1", "TCMALLOC_DISABLE_MEMORY_RELEASE": "1"},
        {"TCMALLOC_TRANSFER_NUM_OBJ": "many"},
    ),
    "jemalloc": (
        {"MALLOC_CONF": "narenas:1,tcache:false"},
        {"MALLOC_CONF": "dirty_decay_ms:0,muzzy_decay_ms:0"},
        {"MALLOC_CONF": "dirty_decay_ms:-1,percpu_arena:percpu"},
        {"MALLOC_CONF": "abort_conf:true,oversize_threshold:65536"},
        {"MALLOC_CONF": "junk:true,zero:true,retain:false"},
        {"MALLOC_CONF": "lg_tcache_max:12,narenas:x,nothing:1"},
    ),
}
"""What a process's library may find, by the library's name."""
STEP_BUDGET = 20_000
FAULTS = tuple(config_fields(config_fields(Scenario)["faults"].type))[1:]
EXPECTATIONS = (
    *("pgfault >= 0", "pgfault > 1000000", "nr_free_pages != -1", "cpu[0].pgfault <= 99999"),
    *("cpu[0].tlb_shootdowns == 0", "p* may die", "* may die", "* dies of SIGSEGV"),
)
HOPES = (
    *("process[p0].min_flt >= 0", "cpu[3].pgfault >= 0", "process[p0/A].maj_flt < 3"),
    *("p0 may die", "p0/A may die", "p1 dies of SIGSEGV", "nothing > 3", "pgfault >"),
)
ALLOCATORS = ("slub", "slub", "slab", "slob")
CARELESS = 0.2
"""Share of documents in which most texts would be refused, if there are enough of them."""


def leaves(config_class=Scenario, prefix=""):
    """Yield (path, field) of every option that holds one value, and lists of choices."""
    for name, known in config_fields(config_class).items():
        path = f"{prefix}{name}"
        if path in NOT_DRAWN or (not prefix and name not in SECTIONS):
            continue
        inner, _ = optional_type(known.type)
        if attrs.has(inner):
            yield from leaves(inner, f"{path}.")
        else:
            yield path, known


def values(path, known):
    """Return values of an option, legal and hardly so."""
    inner, is_optional = optional_type(known.type)
    doc = known.doc
    found = [None] if is_optional else []
    if inner is bool:
        return [*found, True, False]
    if doc.choices is not None:
        is_list = typing.get_origin(inner) is tuple
        return [*found, *([[choice] for choice in doc.choices] if is_list else doc.choices)]
    if inner is not int:
        return [*found, *TEXTS.get(path, ())]
    low = 0 if doc.minimum is None else doc.minimum
    high = (1 << 62) if doc.maximum is None else doc.maximum
    if path.startswith("machine."):
        high = min(high, SIZES_MAX)
    numbers = [low, low + 1, high, 1, 2, 3, 4, 7, 8, 64, 100, 4096, *ODD_NUMBERS, *ODD_SIZES]
    return [*found, *dict.fromkeys(n for n in numbers if low <= n <= high)]


TEXTS = {
    "machine.memory.cpu_nodes": ([0], [0, 0], [1, 0], [0, 1, 0, 1], [2, 1, 0, 0]),
    "machine.memory.cmdline": (
        *("movablecore=16M", "kernelcore=50%", "memblock=debug", "crashkernel=16M"),
        *("mem=48M movable_node", "memmap=4M$24M possible_cpus=8", "mem=x", "foo", "--"),
        *("slub_debug", "slub_debug=FZ,kmalloc-*;U", "slub_debug=PO slab_nomerge", "slub_debug=tq"),
        *("slub_min_order=1 slub_max_order=0", "slub_min_objects=-1", "slub_min_order=12"),
        *("slab_max_order=3 noaliencache", "slab_max_order=-1 slab_nomerge"),
    ),
    "machine.memory.reserved_ranges": ([], [[0, PAGE_SIZE]], [[1 << 20, 5 << 20]], [[3, 5]]),
    "machine.memory.lowmem_reserve_ratio": ([256, 256, 32, 0, 0], [1, 1, 1, 1, 1], []),
    "record.events": (["*"], [], ["mm_*"], ["sys_exit", "sched_*"], ["nothing"]),
    "record.counters": (["pgfault"], ["*"], ["cpu[*].pgfault", "process[p0].*"], []),
    "faults.failslab.cache_filter": ([], ["kmalloc-64"], ["vm_area_struct", "kmalloc-16"], ["x"]),
    "race.broken": ([], ["nothing"]),
    "race.finds": ("x",),
    "race.scope": ([], ["page_tables"], ["tlb", "ptl"]),
    "race.why_sampled": ("it is long",),
    "race.look_at": ("page_tables",),
}
"""Values of options that are no numbers."""


def draw(seed):
    """Return the document of a seed."""
    rng = random.Random(seed)
    cpus = rng.choice((1, 1, 2, 2, 3, 4))
    document = {"machine": _machine(rng, cpus), "engine": _engine(rng)}
    if rng.random() < 0.55:
        document["sanitize"] = _sanitize(rng)
    if (slab := random.Random(f"slab {seed}").choice(ALLOCATORS)) != "slub":
        document["kernel"] = {"slab": slab}
    if rng.random() < 0.3:
        document["record"] = {"sample": rng.choice((1000, 5000, 1_000_000))}
    known = [(path, each) for path, each in leaves() if path not in DRAWN_APART]
    if seed % 3 == 0:  # Each has its turn.
        _draw_option(rng, document, *known[seed // 3 % len(known)])
    for _ in range(rng.choice((0, 0, 0, 0, 1, 2))):
        section = rng.choice(SECTIONS) if rng.random() < 0.3 else ""
        of_section = [one for one in known if one[0].startswith(section)]
        _draw_option(rng, document, *rng.choice(of_section))
    if rng.random() < 0.25:
        for path, each in known:
            if path.startswith("faults.") and rng.random() < 0.3:
                _draw_option(rng, document, path, each)
        for fault in rng.sample(FAULTS, rng.choice((1, 1, 2, 3))):
            _put(document, f"faults.{fault}.probability", rng.choice((100, 50, 20)))
            _put(document, f"faults.{fault}.times", rng.choice((-1, -1, 1, 2)))
        if rng.random() < 0.7:  # Else nearly nothing can fail.
            for name, value in (("min_order", 0), ("ignore_gfp_wait", False)):
                _put(document, f"faults.fail_page_alloc.{name}", value)
            _put(document, "faults.failslab.ignore_gfp_wait", value=False)
    is_careless = rng.random() < CARELESS
    nodes = document["machine"]["memory"].get("nr_nodes", 1)
    document["processes"] = _processes(rng, cpus, nodes, is_careless)
    if "race" in document:
        for process in document["processes"]:
            process["program"].insert(rng.randrange(2), "race")
    if rng.random() < 0.25:
        known = EXPECTATIONS + HOPES if is_careless else EXPECTATIONS
        document["expect"] = rng.sample(known, rng.choice((1, 2, 3)))
    for process in document["processes"]:
        process.update(_library(rng))
    return document


def _library(rng):
    """Return how a process is linked with its C library."""
    said = {}
    library = "ptmalloc"
    if rng.random() < 0.6:
        library = said["malloc"] = rng.choice(("ptmalloc", "tcmalloc", "jemalloc"))
    if rng.random() < 0.15:
        said["metadata_in_memory"] = rng.random() < 0.5
    if rng.random() < 0.15:
        of = library if rng.random() < 0.9 else rng.choice(tuple(ENVIRONMENTS))
        said["environment"] = rng.choice(ENVIRONMENTS[of])
    return said


def _machine(rng, cpus):
    size = rng.choice((20, 24, 32, 32, 48, 64, 96)) * MIB
    if rng.random() < 0.2:
        size += rng.choice((-PAGE_SIZE, PAGE_SIZE, 3 * PAGE_SIZE, 5 * MIB))
    nodes = rng.choice((1, 1, 1, 2, 2, 3))
    memory = {"size": size, "kernel_image": MIB, "initramfs": 0}
    if nodes > 1:
        memory["nr_nodes"] = nodes
    if rng.random() < 0.1:
        memory["hotplug"] = rng.choice((128, 256, 128, 1, 130)) * MIB
    return {"cpus": cpus, "memory": memory}


def _engine(rng):
    return {
        "policy": rng.choice(("fifo", "seeded")),
        "seed": rng.choice((0, 1, rng.randrange(1000), (1 << 62) + 1)),
        "quantum_ns": rng.choice((10_000, 0, 100)),
        "jitter_percent": rng.choice((0, 0, 30, 100)),
        "driver": rng.choice(("trio", "inline")),
        "guard": rng.random() < 0.15,
        "step_budget": STEP_BUDGET,
    }


def _sanitize(rng):
    names = config_fields(Scenario)["sanitize"].type
    share = rng.choice((1, 1, 0.5))
    return {name: name != "panic" and rng.random() < share for name in config_fields(names)} | {
        "leaks": True,
        "counters": True,
    }


def _processes(rng, cpus, nodes, is_careless):
    processes = []
    for number in range(rng.choice((1, 1, 2, 3))):
        length = rng.choice((1, 2, 3, 5, 8, 12, 20, 30))
        author = Author(rng, cpus, is_careless, nodes)
        process = {"name": f"p{number}", "program": author.program(length)}
        if rng.random() < 0.2:
            process["copies"] = rng.choice((2, 3))
        if rng.random() < 0.25:
            process["cpu"] = rng.randrange(cpus)
        if rng.random() < 0.4:
            process["on_signal"] = "continue"
        if rng.random() < 0.1:
            process["make_it_fail"] = True
        processes.append(process)
    if len(processes) > 1 and rng.random() < 0.15:  # They meet.
        count = sum(process.get("copies", 1) for process in processes)
        for process in processes:
            program = process["program"]
            program.insert(rng.randrange(len(program) + 1), f"barrier M {count}")
    return processes


def _draw_option(rng, document, path, each):
    drawn = values(path, each)
    if drawn:
        _put(document, path, rng.choice(drawn))


def _put(document, path, value):
    *above, key = path.split(".")
    for step in above:
        below = document.get(step)
        if not isinstance(below, dict):
            below = document[step] = {}
        document = below
    document[key] = value


CHILD = "P1"
"""The process that the first one of a module's document forks."""


def draw_of_module(seed, *, verbs, cpus, faults):
    """Return a document without mistakes: threads and a child, here and there a failure.

    `cpus` and `faults` are what is chosen from; `verbs` those of the module, and others.
    """
    rng = random.Random(seed)
    nr_cpus = rng.choice(cpus)
    threads = [f"T{number}" for number in range(1, nr_cpus)]
    author = Author(rng, nr_cpus, verbs=verbs)
    author.known.threads.update(threads)
    author.known.children.add(CHILD)
    program = [f"thread {name} cpu={number}" for number, name in enumerate(threads, 1)]
    program.append(f"fork {CHILD}")
    program += author.program(rng.choice((20, 60, 150)))
    nodes = rng.choice((1, 1, 2))
    document = {
        "machine": {
            "cpus": nr_cpus,
            "memory": {"size": 32 << 20, "nr_nodes": nodes, "kernel_image": 1 << 20},
        },
        "engine": {
            "policy": rng.choice(("fifo", "seeded")),
            "seed": seed,
            "guard": rng.random() < 0.2,
            "driver": rng.choice(("trio", "inline")),
        },
        "processes": [{"name": "p0", "program": [*program, "wait"], "on_signal": "continue"}],
    }
    if rng.random() < 0.4:
        name = rng.choice(faults)
        probability = rng.choice((5, 30, 100))
        document["faults"] = {
            "seed": seed,
            name: {
                "probability": probability,
                "times": rng.choice((1, 3) if probability == 100 else (-1, 1, 3)),
                "space": rng.choice((20, 40, 80)),
                "ignore_gfp_wait": False,
                **({"min_order": 0} if name == "fail_page_alloc" else {}),
            },
        }
    return document


def write(document, indent=""):
    """Return the YAML text of a document; texts as JSON has them, which YAML reads alike."""
    lines = []
    for key, value in document.items():
        if isinstance(value, dict) and value:
            lines += [f"{indent}{key}:", write(value, f"{indent}  ")]
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            lines.append(f"{indent}{key}:")
            for item in value:
                text = write(item, f"{indent}    ")
                lines.append(f"{indent}  - {text.removeprefix(indent + '    ')}")
        elif key in ("program", "expect") and value:
            lines.append(f"{indent}{key}:")
            lines += [f"{indent}  - {json.dumps(text)}" for text in value]
        else:
            lines.append(f"{indent}{key}: {json.dumps(value)}")
    return "\n".join(lines)
