"""The house stays in order: rooms, floors, sizes, and nothing that nobody uses."""

import ast
import re
from collections import Counter, defaultdict
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "mmactors"
MAX_LINES = 450
"""A file is about 400 lines; this is the end."""
MAX_MODULES = 20
"""Of one folder, its __init__ apart."""
MAY_BE_A_CIRCLE = "mmactors.mm.area."
"""struct mm_struct, vma and anon_vma know each other."""
BANNED_WORDS = re.compile(
    r"\b(?:TODO|FIXME|XXX|HACK|(?<!importlib\.)(?<!\")utils?(?!\.c\b)|helpers?)\b"
)
MACHINE_PATHS = re.compile(
    r"(?<![\w.])/(?:home|root|work|Users)/\w|(?<![\w.])/tmp/(?:wt|venv|base)\b"
)
LAYERS_OF = {
    "trio": ("mmactors.engine.", "mmactors.cli.", "mmactors.scenario.run."),
    "structlog": ("mmactors.observe.",),
}

ENTRIES = (
    "mmactors",
    "mmactors.__main__",
    "mmactors.cli.__main__",
    "mmactors.pytest_plugin",
    "mmactors.scenario.generate",
)
"""Where users come in: the façade, the command, the plugin; and who writes documents."""

FOR_WORLDS = "worlds that users explore are made of it (docs/races.md)"
FOR_USERS = "users of the façade and notebooks call it"
HOOK = "called by name: by pytest, by the command line, by the table of topics"
UNUSED_BUT_KEPT = {
    "mmactors.arch.native.quick._QuickLibrary": HOOK,
    "mmactors.cli.examples.examples": HOOK,
    "mmactors.cli.heap.heap_compare.heap_compare": HOOK,
    "mmactors.cli.heap.heap_trace.heap_trace": HOOK,
    "mmactors.cli.logs.logs": HOOK,
    "mmactors.cli.validate.validate": HOOK,
    "mmactors.engine.cell.Cell": FOR_WORLDS,
    "mmactors.engine.cell.ColumnCell.get_and_clear": FOR_WORLDS,
    "mmactors.engine.cell.ColumnCell.inc": FOR_WORLDS,
    "mmactors.engine.edge.OutsideReceiver.aclose": FOR_USERS,
    "mmactors.engine.edge.OutsideSender.aclose": FOR_USERS,
    "mmactors.engine.lock.rwsem.RwSem.trylock_write": FOR_WORLDS,
    "mmactors.engine.lock.seqcount.SeqCount.read_begin": FOR_WORLDS,
    "mmactors.engine.lock.spinlock.Spinlock.irqsave": FOR_WORLDS,
    "mmactors.explore.world.cell.SharedCount.get_and_clear": FOR_WORLDS,
    "mmactors.explore.world.cell.SharedCount.inc": FOR_WORLDS,
    "mmactors.explore.world.atomic.SharedAtomic": FOR_WORLDS,
    "mmactors.explore.world.condition.SharedCondition": FOR_WORLDS,
    "mmactors.explore.world.event.SharedEvent": FOR_WORLDS,
    "mmactors.explore.world.primitives.Primitives": FOR_WORLDS,
    "mmactors.explore.world.rwlock.SharedRwLock": FOR_WORLDS,
    "mmactors.explore.world.world.World.once": FOR_WORLDS,
    "mmactors.explore.world.world.World.wait_queue": FOR_WORLDS,
    "mmactors.cli.completion.completion": HOOK,
    "mmactors.hw.hardware.Hardware.kernel_access": "the cost of the kernel's own data in caches",
    "mmactors.mm.slab.slub": "kernel paths and programs call it once they allocate from it",
    "mmactors.mm.boot.memblock.Memblock": "memblock's whole interface (include/linux/memblock.h)",
    "mmactors.mm.page_table.page_table.PageTable.clear_range": "entries of a range, as one",
    "mmactors.mm.vmstat.VmStat": "the counters' whole interface (include/linux/vmstat.h)",
    "mmactors.observe.inspection": FOR_USERS,
    "mmactors.observe.proc.process_view.pss_of": "who makes SmapsNumbers by hand divides with it",
    "mmactors.pytest_plugin": HOOK,
    "mmactors.sanitize.lockdep.Lockdep.has_found_nothing": FOR_WORLDS,
    "mmactors.scenario.machine.Machine.mailboxes": FOR_USERS,
    "mmactors.scenario.run.stepped.Result": FOR_USERS,
    "mmactors.validate.buddy.buddy.validate_buddy": HOOK,
    "mmactors.validate.hardware.traces.validate_trace": HOOK,
    "mmactors.validate.slab.slab.validate_slab": HOOK,
    "mmactors.validate.percpu.percpu.validate_percpu": HOOK,
    "mmactors.validate.slub.slub.validate_slub": HOOK,
    "mmactors.validate.vmalloc.vmalloc.validate_vmalloc": HOOK,
    "mmactors.validate.slob.slob.validate_slob": HOOK,
    "mmactors.validate.slab_compare.slab_compare.validate_slab_compare": HOOK,
    "mmactors.validate.memblock.memblock.validate_memblock": HOOK,
    "mmactors.validate.userland.faults.validate_faults": HOOK,
    "mmactors.validate.userland.vma.validate_vma": HOOK,
    "mmactors.validate.malloc.malloc.validate_malloc": HOOK,
    "mmactors.validate.malloc.jemalloc_geometry.validate_jemalloc_geometry": HOOK,
    "mmactors.validate.malloc.tcmalloc_geometry.validate_tcmalloc_geometry": HOOK,
    "mmactors.validate.malloc.usable_sizes.validate_usable_sizes": HOOK,
}
"""What nothing but tests names, and why it stays; a module or a class stands for all in it."""


def module_of(path):
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    return name.removesuffix(".__init__")


@cache
def modules():
    """Return the package's modules by name: path and syntax tree."""
    return {
        module_of(path): (path, ast.parse(path.read_text()))
        for path in sorted(PACKAGE.rglob("*.py"))
    }


@cache
def imports():
    """Return what each module imports of the package, for types only or late, too."""
    known = modules()
    found = defaultdict(set)
    for name, (_, tree) in known.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module in known:
                for alias in node.names:
                    full = f"{node.module}.{alias.name}"
                    found[name].add(full if full in known else node.module)
            elif isinstance(node, ast.Import):
                found[name].update(alias.name for alias in node.names if alias.name in known)
        found[name].discard(name)
    return found


def circles(graph):
    """Return the strongly connected parts of more than one module (Tarjan)."""
    index, low, stack, found = {}, {}, [], []

    def visit(name):
        index[name] = low[name] = len(index)
        stack.append(name)
        for other in sorted(graph.get(name, ())):
            if other not in index:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], index[other])
        if low[name] == index[name]:
            part = stack[stack.index(name) :]
            del stack[stack.index(name) :]
            if len(part) > 1:
                found.append(sorted(part))

    for name in sorted(graph):
        if name not in index:
            visit(name)
    return found


def names_in(tree):
    """Return the short strings of a module."""
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=str(text)) if re.fullmatch(r"[\w.:-]+", text):
                yield text


def modules_named(tree):
    """Return the modules that strings name, with or without what is in them."""
    return [name.partition(":")[0] for name in names_in(tree) if name.startswith("mmactors.")]


def definitions():
    """Return the functions, classes and methods that have a name of their own: full name, name."""
    found = {}
    for module, (_, tree) in modules().items():
        for node in tree.body:
            inner = node.body if isinstance(node, ast.ClassDef) else []
            for each, prefix in [(node, ""), *((one, f"{node.name}.") for one in inner)]:
                if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                    found[f"{module}.{prefix}{each.name}"] = each.name
    return {full: name for full, name in found.items() if not name.startswith("__")}


def names_used():
    """Return how often code names something, in the package and the benchmarks."""
    used = Counter()
    trees = [tree for _, tree in modules().values()]
    trees += [ast.parse(path.read_text()) for path in (ROOT / "benchmarks").rglob("*.py")]
    for tree in trees:
        for node in ast.walk(tree):
            match node:
                case ast.Name(id=name) | ast.Attribute(attr=name):
                    used[name] += 1
                case ast.ImportFrom(names=aliases):
                    used.update(alias.name for alias in aliases if alias.asname is not None)
                case ast.Constant(value=str(text)) if len(text) < 200:  # An annotation, perhaps.
                    used.update(re.findall(r"\b[A-Z]\w+\b", text))
    return used


def is_kept(full):
    return any(full == kept or full.startswith(f"{kept}.") for kept in UNUSED_BUT_KEPT)


def text_files():
    for folder in ("mmactors", "tests", "benchmarks", "docs", "configs"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in {".py", ".md", ".yaml", ".toml"}:
                yield path
    yield from sorted(ROOT.glob("*.md"))
    yield ROOT / "pyproject.toml"


def test_no_circle_of_imports():
    """Imports for types only count; the one room that may is mm/area."""
    wrong = [
        circle
        for circle in circles(imports())
        if not all(name.startswith(MAY_BE_A_CIRCLE) for name in circle)
    ]

    assert [] == wrong


def test_a_circle_is_found():
    """The search for circles sees one, and only that."""
    graph = {"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set(), "e": {"a"}}

    assert [["b", "c"]] == circles(graph)


def test_every_module_is_reached_from_where_users_come_in():
    """By imports, late ones too, and by name: the façade, the verbs, the table of topics."""
    graph = imports()
    reached, todo = set(), [name for name in ENTRIES if name in modules()]
    while todo:
        name = todo.pop()
        if name not in reached and name in modules():
            path, tree = modules()[name]
            reached.add(name)
            todo += [*graph[name], name.rpartition(".")[0], *modules_named(tree)]
            if path.parent.name == "cli":
                verbs = [verb.replace("-", "_") for verb in names_in(tree)]
                todo += [f"mmactors.cli.{room}{verb}" for room in ("", "heap.") for verb in verbs]

    lost = set(modules()) - reached
    assert [] == sorted(
        name
        for name in lost
        if not any(f"{kept}.".startswith(f"{name}.") for kept in UNUSED_BUT_KEPT)
    )


def test_nothing_is_used_by_tests_only():
    """Each function, class and method is named by other code, or stays for a reason."""
    used = names_used()
    unused = {full for full, name in definitions().items() if not used[name]}

    assert [] == sorted(full for full in unused if not is_kept(full))
    unneeded = [
        kept
        for kept in UNUSED_BUT_KEPT
        if not any(full == kept or full.startswith(f"{kept}.") for full in unused)
    ]
    assert [] == unneeded, "these are used now: take them off the list"


@pytest.mark.parametrize("folder", ["mmactors", "benchmarks"])
def test_no_file_is_too_long(folder):
    """Who finds a file too long splits it along a noun."""
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text().splitlines())
        for path in (ROOT / folder).rglob("*.py")
    }

    assert {} == {name: length for name, length in lengths.items() if length > MAX_LINES}


def test_no_folder_is_too_full():
    """A stranger can hold so many modules."""
    counts = Counter(
        path.parent.relative_to(ROOT).as_posix()
        for path in PACKAGE.rglob("*.py")
        if path.name != "__init__.py"
    )

    assert {} == {name: count for name, count in counts.items() if count > MAX_MODULES}


def test_each_room_says_what_lives_there():
    """The first words of a folder: what lives there; in a house with rooms, what it may import."""
    silent = [
        name
        for name, (path, tree) in modules().items()
        if path.name == "__init__.py" and not ast.get_docstring(tree)
    ]
    rooms = [
        name
        for name in modules()
        if re.fullmatch(r"mmactors\.(mm|actors|explore)\.\w+", name)
        and modules()[name][0].name == "__init__.py"
    ]

    assert [] == silent
    assert len(rooms) > 25
    assert [] == [
        name
        for name in rooms
        if "import" not in (ast.get_docstring(modules()[name][1]) or "").lower()
    ]


def test_no_banned_word():
    """Nothing is left to do later, and nothing is called by what it is not."""
    own = Path(__file__)
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in text_files()
        if path != own and path.name != "CONTRIBUTING.md"  # It shows bad names, too.
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if BANNED_WORDS.search(line)
    ]

    assert [] == found


def test_every_driver_knows_what_it_is_asked_for():
    """A generator of requests has a type, so that who leaves one without an answer is told."""
    untyped = [
        f"{path.relative_to(ROOT)}:{number}"
        for name, (path, _) in modules().items()
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if "Generator[Any" in line
    ]

    assert [] == untyped


def test_no_path_of_a_machine():
    """What is committed says nothing of where it was made."""
    own = Path(__file__)
    found = [
        f"{path.relative_to(ROOT)}: {match.group()}"
        for path in text_files()
        if path != own
        for match in MACHINE_PATHS.finditer(path.read_text())
    ]

    assert [] == found


def test_the_map_names_what_exists():
    """Each file and folder that docs/ARCHITECTURE.md names, from the package or from the root."""
    text = (ROOT / "docs/ARCHITECTURE.md").read_text()
    names = re.findall(r"`([\w/.-]+(?:/|\.(?:py|md|toml|yaml)))`", text)
    folders = [PACKAGE, ROOT, *sorted(path for path in PACKAGE.rglob("*") if path.is_dir())]

    assert len(names) > 50
    assert [] == sorted(
        {name for name in names if not any((folder / name).exists() for folder in folders)}
    )


@pytest.mark.parametrize("library", LAYERS_OF)
def test_a_library_stays_where_it_belongs(library):
    """Only these layers import it."""
    wrong = []
    for name, (_, tree) in modules().items():
        for node in ast.walk(tree):
            imported = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            imported += [each.name for each in node.names] if isinstance(node, ast.Import) else []
            is_library = any(each.split(".")[0] == library for each in imported)
            if is_library and not f"{name}.".startswith(LAYERS_OF[library]):
                wrong.append(name)

    assert [] == wrong


def test_no_drawn_example_depends_on_how_fast_the_host_is():
    """Neither by a deadline nor by a check of how long drawing takes."""
    own = [
        f"{path.relative_to(ROOT)}: {line}"
        for path in sorted((ROOT / "tests").glob("*/*.py"))
        for line in re.findall(r"(?:deadline|suppress_health_check)=.*", path.read_text())
    ]

    assert settings.default.deadline is None
    assert HealthCheck.too_slow in settings.default.suppress_health_check
    assert [] == [line for line in own if "HealthCheck.too_slow" not in line]
