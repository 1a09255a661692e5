"""Which compiled functions are made together: a machine needs two parts, which two processors make.

What a run without sanitizers and a level that is measured alone do not need is a part of its own.
"""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

PACKAGE: Final = Path(__file__).parent.parent.parent
"""The folder of mmactors."""

PARTS: Final = {
    "access": "the path of memory accesses",
    "memory": "pages, lists and tables",
    "percpu": "per-CPU memory",
    "vmalloc": "vmalloc",
    "slab": "SLAB",
    "slob": "SLOB",
    "ptmalloc": "ptmalloc",
    "tcmalloc": "tcmalloc",
    "jemalloc": "jemalloc",
    "tools": "sanitizers and tools",
}
MACHINE_PARTS: Final = ("access", "memory")
WRAPPING_PARTS: Final = frozenset({"ptmalloc", "tcmalloc", "jemalloc"})
"""Those whose sums may be of any words, and wrap as C's numbers without sign do."""

_PART_OF: Final = {
    "mmactors.arch": "memory",
    "mmactors.malloc": "ptmalloc",
    "mmactors.malloc.jemalloc": "jemalloc",
    "mmactors.malloc.tcmalloc": "tcmalloc",
    "mmactors.mm": "memory",
    "mmactors.mm.percpu": "percpu",
    "mmactors.mm.vmalloc": "vmalloc",
    "mmactors.mm.slab.slab": "slab",
    "mmactors.mm.slab.slob": "slob",
    "mmactors.hw": "access",
    "mmactors.hw.level": "tools",
    "mmactors.sanitize": "tools",
    "mmactors.workload": "tools",
}
"""By module or package; the longest name that fits counts."""

_MARK: Final = "from mmactors.arch.jit import compiled"


def part_of(module: str) -> str | None:
    """Return the part that a module's functions are in; None for a module outside."""
    name = module
    while name and name not in _PART_OF:
        name = name.rpartition(".")[0]
    return _PART_OF.get(name)


def modules_of(part: str) -> Iterator[str]:
    """Return the modules that declare functions of a part."""
    for folder in sorted({name.split(".")[1] for name in _PART_OF}):
        for path in sorted((PACKAGE / folder).rglob("*.py")):
            module = ".".join(("mmactors", *path.relative_to(PACKAGE).with_suffix("").parts))
            if part_of(module) == part and declares_compiled(path.read_text(encoding="utf-8")):
                yield module


def declares_compiled(source: str) -> bool:
    """Return whether a module's text uses the decorator."""
    return _MARK in source and any(
        isinstance(node, ast.ImportFrom) and node.module == "mmactors.arch.jit"
        for node in ast.parse(source).body
    )
