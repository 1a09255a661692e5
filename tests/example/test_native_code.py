"""Native code: made once from its source, kept in a file, and never run for other source."""

import io
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from mmactors.arch import jit
from mmactors.arch.column import Column, Table, WordsView
from mmactors.arch.native import abi, make, store
from mmactors.arch.native.load import has_known_arrays
from mmactors.arch.native.make import CannotMakeError, Progress
from mmactors.arch.native.parts import PACKAGE, PARTS
from mmactors.arch.native.report import Report
from mmactors.arch.native.signature import ArrayKind, Signature, signature_of
from mmactors.arch.page import list_add
from mmactors.cli.main import run_command

ROOT = Path(__file__).parents[2]
SOURCE = PACKAGE / "arch" / "page.py"

is_compiled = pytest.mark.skipif(jit.IS_PLAIN, reason="nothing is compiled")


def fresh_python(code: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        check=False,
    )
    assert 0 == done.returncode, done.stderr
    return done.stdout


def columns(nr: int = 8, dtype: type = np.int32):
    return np.arange(nr, dtype=dtype), np.arange(nr, dtype=dtype)


# -- made ------------------------------------------------------------------------------------------


@is_compiled
def test_numba_still_has_what_native_code_is_made_with():
    """The parts of Numba that quick.py and numba_unit.py use, on two functions of ours."""
    out = fresh_python("""
        import numpy as np
        from mmactors.arch.column import Words
        from mmactors.arch.native.load import NativeCode
        from mmactors.arch.native.numba_unit import Unit

        def twice(number: int) -> int:
            return number << 1

        def add_up(words: Words, more: int, is_whole: bool) -> tuple[int, int]:
            total = 0
            for index in range(len(words)):
                total += twice(words[index])
            return (total, more) if is_whole else (-1, 0)

        unit = Unit("test")
        unit.add(twice, "test.twice", has_entry=False)
        unit.add(add_up, "test.add_up", has_entry=True)
        code = unit.finish()
        native = NativeCode(code)
        print(native.function("test.add_up", add_up)(np.arange(4), 7, True))
        print(native.function("test.twice", twice), b"NRT" in code)
    """)

    assert "(12, 7)\nNone False\n" == out


@is_compiled
def test_code_that_cannot_be_made_leaves_the_functions_to_numba(monkeypatch, capsys):
    """The user is told, and an underscore does not take a function's entry away."""

    def cannot(*_arguments):
        raise CannotMakeError("pages, lists and tables: no processor left")

    def _three() -> int:
        return 3

    _three.__module__ = "mmactors.arch.page"
    monkeypatch.setattr(make, "native_code", cannot)
    monkeypatch.setattr(jit, "_loaded", {})

    assert 3 == jit.compiled(_three)()
    assert (
        "mmactors: Numba compiles each function when it is called: "
        "pages, lists and tables: no processor left\n"
    ) == capsys.readouterr().err


def test_what_fails_while_code_is_made_is_told_in_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr(make, "_BUILD", "mmactors.no_such_module")
    monkeypatch.setattr(store, "find", lambda _part: None)
    monkeypatch.setenv(store.CACHE_VARIABLE, str(tmp_path))

    with pytest.raises(CannotMakeError, match=r"sanitizers and tools: .*no_such_module"):
        make.native_code(["tools"], lambda _progress: None)


def test_a_signature_is_what_the_annotations_say():
    """Of a union of an array and a memoryview it is the array; texts are read only."""

    def fold(
        column: Column, table: Table, words: WordsView, text: NDArray[np.uint8], row: int
    ) -> tuple[int, int]:
        return int(column[row] + table[row, 0]), int(words[row] + text[row])

    def forget(*, is_last: bool) -> None:
        del is_last

    text = ArrayKind("uint8", 1)
    arrays = (ArrayKind("int32", 1), ArrayKind("int64", 2), ArrayKind("int64", 1), text)
    assert [Signature((*arrays, int), tuple[int, int]), Signature((bool,), None)] == [
        signature_of(fold),
        signature_of(forget),
    ]
    assert not text.is_writable


def test_an_argument_of_no_known_kind_is_refused():
    def takes_text(text: str) -> int:
        return len(text)

    with pytest.raises(TypeError, match=r"takes_text\(text\) is .*str.*expected int, bool or"):
        signature_of(takes_text)


# -- kept ------------------------------------------------------------------------------------------


def test_code_is_found_again_for_the_same_source():
    assert b"code" == store.unpack(store.pack(b"code", [SOURCE]))


@pytest.mark.parametrize(
    "change",
    [
        {"format": abi.FORMAT + 1},
        {"object_header": 8},
        {"code": "0" * 32},
        {"sources": {"arch/page.py": "0" * 32}},
        {"sources": {"arch/no_such_page.py": "0" * 32}},
        {"sources": None},
    ],
    ids=str,
)
def test_code_of_other_source_is_as_good_as_none(change):
    head, _, code = store.pack(b"code", [SOURCE]).partition(b"\n")

    assert store.unpack(json.dumps(json.loads(head) | change).encode() + b"\n" + code) is None


@pytest.mark.parametrize("content", [b"", b"\n", b"[]\n", b"\x7fELF", b'{"format": 1}\n'])
def test_a_broken_file_is_as_good_as_none(content):
    assert store.unpack(content) is None


def test_shipped_code_does_not_run_for_changed_source(monkeypatch, tmp_path):
    """What a wheel brought counts only while the modules are the wheel's."""
    monkeypatch.setattr(store, "SHIPPED", tmp_path / "shipped")
    monkeypatch.setenv(store.CACHE_VARIABLE, str(tmp_path / "cache"))
    changing = tmp_path / "changing.py"
    changing.write_text("LEVELS = 4\n")
    monkeypatch.setattr(store, "PACKAGE", tmp_path)
    path = store.SHIPPED / store.file_name("tools")
    store.save(path, store.pack(b"code", [changing]))
    before = store.find("tools")
    changing.write_text("LEVELS = 5\n")

    assert store.Found(b"code", path) == before
    assert store.find("tools") is None


def test_the_cache_is_where_the_user_says(monkeypatch):
    monkeypatch.setenv(store.CACHE_VARIABLE, "/somewhere")
    chosen = store.cache_dir()
    monkeypatch.delenv(store.CACHE_VARIABLE)

    assert Path("/somewhere") == chosen.parent
    assert (chosen.name, "mmactors") == (store.cache_dir().name, store.cache_dir().parent.name)


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """An empty cache; what a test keeps there is made from one module."""
    monkeypatch.setattr(store, "SHIPPED", tmp_path / "shipped")
    monkeypatch.setenv(store.CACHE_VARIABLE, str(tmp_path / "cache"))
    store.keep("tools", store.pack(b"code", [SOURCE]))
    return store.cache_dir()


def test_what_is_kept_is_only_for_its_user(cache):
    path = cache / store.file_name("tools")

    assert store.Found(b"code", path) == store.find("tools")
    assert (0o700, 0o600) == (cache.stat().st_mode & 0o777, path.stat().st_mode & 0o777)


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_code_that_others_can_write_is_not_loaded(cache, mode):
    (cache / store.file_name("tools")).chmod(mode)

    assert store.find("tools") is None


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o1777])
def test_code_in_a_folder_that_others_can_write_is_not_loaded_until_it_is_made_anew(cache, mode):
    """Who compiles takes the folder back; it was made under an umask that shares."""
    cache.chmod(mode)
    found = store.find("tools")
    store.keep("tools", store.pack(b"new", [SOURCE]))

    assert found is None
    assert b"new" == store.find("tools").code


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize("is_folder", [False, True])
def test_code_that_another_user_planted_is_not_loaded(cache, is_folder):
    path = cache if is_folder else cache / store.file_name("tools")
    os.chown(path, 65534, 65534)

    assert store.find("tools") is None
    if is_folder:
        with pytest.raises(store.CannotKeepError, match=r"others can write .*, or it is theirs"):
            store.keep("tools", b"")


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_what_is_no_file_is_not_loaded(cache, tmp_path, kind):
    """A link may lead to what somebody unpacked, a pipe never ends."""
    path = cache / store.file_name("tools")
    path.rename(tmp_path / "elsewhere")
    if kind == "link":
        path.symlink_to(tmp_path / "elsewhere")
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()

    assert store.find("tools") is None


def test_the_lock_of_the_cache_follows_no_link(cache, tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("kept")
    (cache / "lock").symlink_to(precious)

    with make._alone():
        assert "kept" == precious.read_text()


@pytest.mark.parametrize("chosen", ["cache", "./cache", "~/cache", "."])
def test_no_cache_is_in_the_current_folder(monkeypatch, tmp_path, chosen):
    """Its files may be anybody's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(store.CACHE_VARIABLE, chosen)

    assert store.cache_dir() is None
    with pytest.raises(store.CannotKeepError, match="no absolute path"):
        store.keep("tools", b"")


@pytest.mark.skipif(sys.platform == "darwin", reason="Library/Caches is the only place")
@pytest.mark.parametrize("root", ["", ".", "cache", "~/.cache", "relative/../x"])
def test_a_cache_home_that_is_no_absolute_path_does_not_count(monkeypatch, tmp_path, root):
    """As the XDG base directory specification has it."""
    monkeypatch.delenv(store.CACHE_VARIABLE, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", root)

    assert tmp_path / ".cache" / "mmactors" == store.cache_dir().parent


@pytest.mark.parametrize("home", [".", "relative", "/nonexistent", "/dev/null"])
def test_a_home_that_is_no_folder_has_no_cache(monkeypatch, home):
    monkeypatch.delenv(store.CACHE_VARIABLE, raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", home)

    assert store.cache_dir() is None
    assert store.find("no part") is None


@pytest.mark.parametrize("chosen", ["/dev/null", "/proc/self/cache", f"/{'a' * 5000}"])
def test_where_nothing_can_be_kept_is_told(monkeypatch, chosen):
    monkeypatch.setenv(store.CACHE_VARIABLE, chosen)

    assert store.find("no part") is None
    with pytest.raises(store.CannotKeepError):
        store.keep("tools", b"")


@is_compiled
def test_numba_makes_what_calls_native_code_if_only_one_part_cannot_be_made():
    """Its callees are Numba's, too: it knows nothing of native code."""
    out = fresh_python("""
        from mmactors.arch import jit
        jit._loaded["tools"] = None
        import numpy as np
        from mmactors.sanitize.count import count_lru
        flags, zone = np.zeros(4, np.int64), np.ones(4, np.int16)
        print(jit.is_native("memory"), jit.is_native("tools"))
        count_lru(flags, zone, 4, np.zeros((1, 8), np.int64))
    """)

    assert "True False\n" == out


# -- called ----------------------------------------------------------------------------------------


def test_arrays_lie_where_native_code_reads_them():
    assert has_known_arrays()


@is_compiled
def test_an_entry_takes_numbers_arrays_and_what_is_made_from_arrays():
    links, back = columns()

    class Mine(np.ndarray):
        pass

    assert list_add(links.view(Mine), back, np.int64(3), True) is None
    assert [3, 1] == [links[1], links[3]]


@is_compiled
@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({0: [1, 2]}, TypeError),
        ({0: None}, TypeError),
        ({0: np.arange(8)}, TypeError),
        ({1: np.arange(16, dtype=np.int32)[::2]}, TypeError),
        ({1: np.zeros((2, 4), np.int32)}, TypeError),
        ({1: np.arange(8, dtype=">i4")}, TypeError),
        ({1: np.frombuffer(bytes(32), np.int32)}, TypeError),
        ({2: 3.0}, TypeError),
        ({2: "3"}, TypeError),
        ({3: 1 << 63}, OverflowError),
        ({3: None, 4: 1}, TypeError),
    ],
    ids=str,
)
def test_an_entry_refuses_what_its_function_does_not_take(change, error):
    links, back = columns()
    arguments = dict(enumerate([links, back, 3, 5])) | change

    with pytest.raises(error):
        list_add(*arguments.values())
    assert list(range(8)) == links.tolist() == back.tolist()


# -- the same as Python ----------------------------------------------------------------------------

_RUN = """
    import hashlib, json, sys
    from pathlib import Path
    from mmactors.arch import jit
    if {alone}:
        jit._loaded.update(dict.fromkeys({parts}))
    import mmactors
    changed = {{"sanitize.leaks": True, "sanitize.counters": True, "machine.memory.size": "128M"}}
    result = mmactors.run({path!r}, seed=3, overrides=changed, out={out!r})
    print(result.verdict, hashlib.sha256(Path({out!r}, "events.jsonl").read_bytes()).hexdigest())
    print(json.dumps(dict(result.counters), sort_keys=True))
    print(json.dumps(dict(result.proc), sort_keys=True))
"""


def what_a_run_says(out: Path, scenario: str, *, alone: bool = False, **environment: str) -> str:
    """Return verdict, digest of the log, counters and /proc of a run in a process of its own."""
    path = str(ROOT / "configs" / f"{scenario}.yaml")
    code = _RUN.format(alone=alone, parts=tuple(PARTS), path=path, out=str(out))
    return fresh_python(code, **environment)


@is_compiled
def test_native_code_does_what_plain_python_does(tmp_path):
    """Verdict, log, counters and /proc; each function is the only copy of its logic."""
    native = what_a_run_says(tmp_path / "native", "threads")
    plain = what_a_run_says(tmp_path / "plain", "threads", NUMBA_DISABLE_JIT="1")

    assert native == plain


@is_compiled
@pytest.mark.slow
@pytest.mark.parametrize("scenario", ["quickstart", "threads", "mmap_lock", "generators"])
def test_native_code_does_what_numba_alone_does(tmp_path, scenario):
    native = what_a_run_says(tmp_path / "native", scenario)
    numba = what_a_run_says(tmp_path / "numba", scenario, alone=True)

    assert native == numba


# -- said ------------------------------------------------------------------------------------------

_STEPS = (
    Progress(done=0, total=0, name="pages, lists and tables"),
    Progress(done=1, total=2, name="arch.page.list_add"),
    Progress(done=2, total=2, name="arch.page.list_del"),
)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def said(stream: io.StringIO, steps=_STEPS) -> str:
    with Report(stream) as report:
        for step in steps:
            report(step)
    return stream.getvalue()


def test_a_terminal_has_one_line_that_goes_away():
    shown = [line.rstrip() for line in said(Terminal()).split("\r")]

    assert [
        "",
        "compiling, once for this version: pages, lists and tables",
        "compiling: 1 of 2 functions, arch.page.list_add",
        "compiling: 2 of 2 functions, arch.page.list_del",
        "",
        "",
    ] == shown


def test_elsewhere_few_lines_say_it():
    assert (
        "mmactors: compiling, once for this version: pages, lists and tables\n"
        "mmactors: compiled 2 functions in 0 s\n"
    ) == said(io.StringIO())


def test_nothing_is_said_where_nothing_is_compiled():
    assert "" == said(io.StringIO(), steps=())


@is_compiled
def test_what_is_going_to_be_compiled_is_said_before_it_begins(monkeypatch, tmp_path):
    """Whatever the host does meanwhile: no second of silence."""
    steps: list[Progress] = []
    monkeypatch.setattr(make, "_make", lambda parts, *_: dict.fromkeys(parts, b"code"))
    monkeypatch.setenv(store.CACHE_VARIABLE, str(tmp_path))
    monkeypatch.setattr(store, "SHIPPED", tmp_path)

    assert {"access": b"code", "memory": b"code"} == (
        make.native_code(["access", "memory"], steps.append)
    )
    assert ["the path of memory accesses, pages, lists and tables"] == [step.name for step in steps]


@is_compiled
def test_warm_up_says_what_is_there_and_where(capsys):
    jit.prepare()

    assert 0 == run_command(["warm-up"])
    lines = capsys.readouterr().out.splitlines()
    assert list(PARTS.values()) == [line.partition(":")[0] for line in lines]
    assert all(": was there, /" in line for line in lines)


@is_compiled
def test_warm_up_as_json_is_the_same_for_programs(capsys):
    jit.prepare()

    assert 0 == run_command(["warm-up", "--json"])
    parts = json.loads(capsys.readouterr().out)
    assert list(PARTS) == [part["part"] for part in parts]
    assert {"was there"} == {part["state"] for part in parts}
    assert all(Path(part["path"]).exists() for part in parts)


@is_compiled
def test_warm_up_that_can_keep_nothing_fails_and_says_what_to_set(monkeypatch, capsys):
    jit.prepare()
    monkeypatch.setattr(store, "find", lambda _part: None)

    assert 1 == run_command(["warm-up"])
    captured = capsys.readouterr()
    assert ["compiled, not kept"] * len(PARTS) == [
        line.rpartition(": ")[2] for line in captured.out.splitlines()
    ]
    assert "set MMACTORS_CACHE_DIR to a folder that can be written" in captured.err


# -- imported --------------------------------------------------------------------------------------


@is_compiled
def test_a_machine_needs_neither_numba_nor_the_sanitizers():
    """With code that is there; so a later run starts fast."""
    out = fresh_python("""
        import sys
        from mmactors.arch import jit
        jit.prepare()
        import mmactors.scenario.machine
        heavy = ("numba", "mmactors.sanitize.sanitizer", "mmactors.sanitize.count")
        print([name for name in heavy if name in sys.modules])
    """)

    assert "[]\n" == out


def test_a_machine_has_one_allocator_of_objects_and_none_of_what_looks_for_mistakes():
    """SLAB, SLOB and the checks of debugged caches are loaded by machines that have them."""
    out = fresh_python("""
        import sys
        import mmactors
        program = [{"name": "a", "program": ["kmalloc A size=100", "kfree A"]}]
        mmactors.run({"processes": program})
        rooms = ("slab.", "slob.", "slub.debug.check", "slub.debug.report", "slub.single")
        rooms = tuple(f"mmactors.mm.slab.{room}" for room in rooms)
        print([name for name in sys.modules if name.startswith(rooms)])
        mmactors.run({"processes": program, "kernel": {"slab": "slob"}})
        print(sorted({name.split(".")[3] for name in sys.modules if name.startswith(rooms)}))
    """)

    assert "[]\n['slob']\n" == out


def test_a_run_with_its_files_compiles_neither_vmalloc_nor_per_cpu_memory(tmp_path):
    """What writes /proc asks for them only where a module has."""
    out = fresh_python(f"""
        import sys
        import mmactors
        program = [{{"name": "a", "program": ["kmalloc A size=100", "kfree A"]}}]
        mmactors.run({{"processes": program}}, out={str(tmp_path / "run")!r})
        compiled = ("mmactors.mm.vmalloc.area_tree", "mmactors.mm.percpu.pcpu_chunk")
        print([name for name in compiled if name in sys.modules])
    """)

    assert (tmp_path / "run/proc/meminfo").exists()
    assert "[]\n" == out


def test_the_command_line_loads_no_machine_before_it_is_needed():
    out = fresh_python("""
        import sys
        import mmactors.cli.main, mmactors.cli.run, mmactors.cli.check, mmactors.cli.explain
        heavy = ("numba", "llvmlite", "trio", "structlog", "mmactors.scenario.machine")
        print([name for name in heavy if name in sys.modules])
    """)

    assert "[]\n" == out
