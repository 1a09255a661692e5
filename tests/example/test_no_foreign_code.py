"""What could let somebody else's code in is nowhere in the source, or for a reason in a table."""

import ast
import re
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = [*sorted((ROOT / "mmactors").rglob("*.py")), ROOT / "hatch_build.py"]

NEVER = {
    *("pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "code", "codeop"),
    *("pty", "commands", "xmlrpc", "imp", "runpy", "pdb"),
}
"""Modules that make objects or code of what they read, or that ask a shell."""
CALLS = {"eval", "exec", "compile", "__import__", "execfile", "input"}
METHODS = {
    *("system", "popen", "mktemp", "tempnam", "tmpnam", "execv", "execvp", "execve", "spawnl"),
    *("spawnv", "startfile", "literal_eval_unsafe", "unsafe_load", "full_load", "exec_module"),
    *("load_module", "spec_from_file_location", "import_module"),
}
KEPT = {
    ("mmactors/__init__.py", "import_module"): "names of the table of the facade",
    ("mmactors/arch/native/build.py", "import_module"): "modules of the package, by its parts",
    ("mmactors/observe/log.py", "eval"): "the writer of an event, from the fields of its class",
    ("mmactors/races/own_laws.py", "exec_module"): "laws that a user names, when exploring",
    ("mmactors/races/own_laws.py", "spec_from_file_location"): "the same",
    ("mmactors/validate/registry.py", "import_module"): "the table of topics",
}
PROCESSES = {
    "mmactors/arch/native/make.py": "this interpreter, which compiles",
    "hatch_build.py": "the same, for a wheel",
    "mmactors/observe/run_meta.py": "/bin/ps where there is no /proc, for when a process began",
    "mmactors/races/provenance.py": "git, in the checkout of mmactors itself",
}
"""Who starts a program, and which."""


def name_of(path):
    return path.relative_to(ROOT).as_posix()


@cache
def trees():
    return [(name_of(path), ast.parse(path.read_text(encoding="utf-8"))) for path in SOURCES]


def suspects(tree):
    """Return what a module imports and calls that could run foreign code."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=aliases):
                yield from (alias.name for alias in aliases if alias.name in NEVER)
            case ast.ImportFrom(module=str(module)) if module.partition(".")[0] in NEVER:
                yield module
            case ast.Call(func=ast.Name(id=name)) if name in CALLS | METHODS:
                yield name
            case ast.Call(func=ast.Attribute(attr=name)) if name in METHODS:
                yield name
            case ast.keyword(arg="shell", value=value) if not is_text_of_ours(value):
                yield "shell"
            case ast.keyword(arg="allow_pickle", value=value) if not is_false(value):
                yield "allow_pickle"


def is_false(node):
    return isinstance(node, ast.Constant) and node.value is False


def is_text_of_ours(node):
    """Return whether it is the option of `mmactors completion`."""
    return isinstance(node, ast.Name) and node.id == "shell"


def test_nothing_runs_what_others_wrote():
    found = Counter((name, suspect) for name, tree in trees() for suspect in suspects(tree))

    assert set(KEPT) == set(found)


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "from marshal import loads",
        "eval(text)",
        "exec(text)",
        "os.system(text)",
        "tempfile.mktemp()",
        "subprocess.run(text, shell=True)",
        "np.load(path, allow_pickle=True)",
        "importlib.import_module(name)",
    ],
)
def test_what_runs_foreign_code_is_found(text):
    assert [] != list(suspects(ast.parse(text)))


def test_a_program_is_started_in_few_places():
    named = {
        name
        for name, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Name | ast.alias) and "subprocess" in ast.unparse(node)
    }

    assert named == set(PROCESSES)


def test_arrays_are_read_without_objects():
    """numpy makes objects of a file only if it is asked to."""
    wrong = [
        name
        for name, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and ast.unparse(node.func) in {"np.load", "numpy.load", "np.lib.format.read_array"}
        and not any(each.arg == "allow_pickle" and is_false(each.value) for each in node.keywords)
    ]

    assert [] == wrong


def test_each_interpreter_that_is_started_stays_out_of_the_current_folder():
    """-P: `python -m` and `python -c` would look there first."""
    for path in (ROOT / "mmactors/arch/native/make.py", ROOT / "hatch_build.py"):
        text = path.read_text(encoding="utf-8")
        assert "sys.executable" in text
        assert re.search(r"\"-P\"", text)
