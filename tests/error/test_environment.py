"""The host is narrow, odd or hostile: the command line says what is missing, and runs nothing else.

A process takes a second to begin, so one tries all that goes together (`in_turn`), and of each kind
of surroundings the ordinary suite tries one; the others are slow tests, which .ci/run runs too.
Root without capabilities is a user like others: what may not be written is not written.
"""

import errno
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from itertools import product
from pathlib import Path

import pytest
from toys import aba, fixed

from mmactors.arch import jit
from mmactors.arch.native import store
from mmactors.errors import UserError
from mmactors.explore import Options, search

ROOT = Path(__file__).parents[2]
QUICK = """
processes:
  - name: app
    program: [mmap A 64K, touch A write]
"""
LONG = """
machine: {memory: {size: 128M}}
processes:
  - name: app
    program: [mmap A 1M, faultloop A 200]
"""
NOT_ALLOWED_ANYTHING = ("setpriv", "--bounding-set=-all", "--inh-caps=-all")
"""What a root that runs tests puts before a command for which permissions count."""

IN_TURN = """
import os
import sys

from mmactors.cli import main
from mmactors.cli.terminal import streams

rest = [*sys.argv[1:], ",,"]
codes = []
while rest:
    end = rest.index(",,")
    words, rest = rest[:end], rest[end + 1 :]
    while words and words[0].startswith("COLUMNS="):
        os.environ["COLUMNS"] = words.pop(0).partition("=")[2]
    streams.prepare()
    codes.append(main.run_command(words))
streams.close()
os.write(2, repr(codes).encode())
"""
"""Runs commands as `mmactors` does; between any two is a word of two commas. Their exit codes end
stderr."""

unprivileged = pytest.mark.skipif(
    os.geteuid() == 0 and shutil.which("setpriv") is None, reason="root ignores permissions"
)


@pytest.fixture(scope="module", autouse=True)
def code():
    """Native code is there, whatever a test takes away."""
    jit.prepare()


@pytest.fixture
def scenario(tmp_path):
    path = tmp_path / "quick.yaml"
    path.write_text(QUICK)
    return path


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """The folder of a run for who only looks at it; the scenario is beside it."""
    folder = tmp_path_factory.mktemp("recorded")
    (folder / "quick.yaml").write_text(QUICK)
    mmactors("run", folder / "quick.yaml", "--out", folder / "out")
    return folder / "out"


def environment(**changes):
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    known = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), **changes}
    return {name: value for name, value in known.items() if value is not None}


def python(*arguments, cwd=None, before=(), env=None, **options):
    """Run Python; return exit code, stdout and stderr as bytes."""
    done = subprocess.run(
        [*before, sys.executable, *arguments],
        cwd=cwd,
        env=environment(**(env or {})),
        check=False,
        timeout=120,
        **{"stdin": subprocess.DEVNULL, "capture_output": True, **options},
    )
    return done.returncode, done.stdout, done.stderr


def mmactors(*arguments, **options):
    code, out, errors = python("-m", "mmactors", *map(os.fsencode, arguments), **options)
    for text in (out or b"", errors or b""):
        assert b"Traceback" not in text, text.decode(errors="replace")
        assert b"Exception ignored" not in text, text.decode(errors="replace")
    return code, out, errors


def in_turn(*commands, **options):
    """Run all in one process; return exit codes, stdout and stderr."""
    arguments = [word for words in commands for word in (",,", *words)][1:]
    code, out, errors = python("-P", "-c", IN_TURN, *map(os.fsencode, arguments), **options)
    assert 0 == code, errors.decode(errors="replace")
    assert b"Traceback" not in out + errors, errors.decode(errors="replace")
    errors, _, codes = errors.rpartition(b"[")
    return json.loads(b"[" + codes), out, errors


def one_of(*cases, ids=None):
    """Return cases, the first for the ordinary suite, the others slow."""
    ids = ids or [None] * len(cases)
    return [
        pytest.param(*(case if isinstance(case, tuple) else (case,)), id=name, marks=marks)
        for case, name, marks in zip(
            cases, ids, [(), *[pytest.mark.slow] * (len(cases) - 1)], strict=True
        )
    ]


def shell(command, *, cwd, **env):
    """Run a command of a shell in which $M is `mmactors`."""
    known = environment(M=f"{sys.executable} -m mmactors", **env)
    done = subprocess.run(
        ["sh", "-c", command], cwd=cwd, env=known, capture_output=True, check=False, timeout=120
    )
    assert b"Traceback" not in done.stderr, done.stderr.decode()
    assert b"Exception ignored" not in done.stderr, done.stderr.decode()
    return done.returncode, done.stdout.decode(), done.stderr.decode()


# -- foreign code ----------------------------------------------------------------------------------

PLANTED = """
    attr attrs cattrs conftest ctypes cyclopts gzip json llvmlite numba numpy orjson random rich
    ruamel sitecustomize string structlog subprocess tempfile textwrap threading trio typing
    usercustomize zipfile zstandard
"""


@pytest.fixture
def planted(tmp_path):
    """A folder whose files are named like modules; each says on stderr that it runs."""
    folder = tmp_path / "planted"
    folder.mkdir()
    for name in PLANTED.split():
        (folder / f"{name}.py").write_text("raise SystemExit('planted code runs')\n")
    (folder / "quick.yaml").write_text(QUICK)
    return folder


@pytest.mark.parametrize(
    ("module", "verb"),
    one_of(
        ("mmactors", "check"),
        ("mmactors", "run"),
        ("mmactors", "explain"),
        ("mmactors.cli", "run"),
    ),
)
def test_no_module_of_the_current_folder_is_imported(planted, module, verb):
    code, _, errors = python("-m", module, verb, "quick.yaml", cwd=planted)

    assert (0, b"") == (code, errors)


def test_the_command_imports_nothing_from_the_current_folder(planted):
    """Also not a package of our own name, nor any of Python's library."""
    for name in sys.stdlib_module_names:
        (planted / f"{name}.py").write_text("raise SystemExit('planted code runs')\n")
    (planted / "mmactors").mkdir()
    (planted / "mmactors" / "__init__.py").write_text("raise SystemExit('planted code runs')\n")
    command = planted.parent / "mmactors"
    command.write_text("import sys\nfrom mmactors.cli.main import main\nsys.exit(main())\n")

    assert (0, b"") == python(str(command), "check", "quick.yaml", cwd=planted)[::2]


def test_laws_of_a_stranger_are_named_and_not_run(tmp_path):
    """Whatever is done with the scenario but exploring it."""
    (tmp_path / "laws.py").write_text("raise SystemExit('it runs')\n\ndef law(machine): pass\n")
    scenario = tmp_path / "race.yaml"
    scenario.write_text(
        "machine: {memory: {size: 128M}}\n"
        "processes: [{name: app, program: [mmap A 4K, race, touch A write]}]\n"
        "race: {laws: ['laws:law'], reaches: ['laws:law']}\n"
    )

    codes, out, errors = in_turn(
        ("check", scenario),
        ("check", "--json", scenario),
        ("explain", scenario),
        ("run", scenario, "--out", "out", "-q"),
        ("replay", "out"),
        ("logs", "out"),
        cwd=tmp_path,
    )

    law = str(tmp_path / "laws.py")
    told, _, rest = out.decode().partition("\n")
    as_json, _ = json.JSONDecoder().raw_decode(rest)
    assert ([0] * 6, b"") == (codes, errors)
    assert f"{scenario}: ok; exploring it runs {law}" == told
    assert [{"path": str(scenario), "ok": True, "runs": [law]}] == as_json["files"]


# -- where nothing can be kept ---------------------------------------------------------------------


@unprivileged
@pytest.mark.skipif(jit.IS_PLAIN, reason="nothing is compiled")
@pytest.mark.parametrize(
    ("home", "reason"),
    one_of(
        ("closed", "denied"), ("/nonexistent", "no home folder"), ("relative", "no home folder")
    ),
)
def test_without_a_folder_of_ones_own_code_is_made_and_not_kept(planted, home, reason):
    """Nothing can be written anywhere, and stderr says so once.

    The processes that compile import nothing from the current folder.
    """
    folder = planted
    names = sorted(folder.iterdir())
    folder.chmod(0o555)
    program = "from mmactors.arch import jit; jit.prepare(['tools']); print(jit.is_native('tools'))"
    before = NOT_ALLOWED_ANYTHING if os.geteuid() == 0 else ()
    env = {
        "HOME": str(folder) if home == "closed" else home,
        "TMPDIR": str(folder),
        "XDG_CACHE_HOME": None,
        store.CACHE_VARIABLE: None,
    }

    code, out, errors = python("-P", "-c", program, cwd=folder, before=before, env=env)

    assert (0, b"True\n") == (code, out), errors
    assert 1 == errors.count(b"nothing could be kept")
    assert reason in errors.decode()
    assert names == sorted(folder.iterdir())


# -- texts -----------------------------------------------------------------------------------------

POOR = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}


@pytest.mark.parametrize("encoding", one_of("ascii", "latin-1", "utf-16"))
def test_every_encoding_of_a_terminal_will_do(recorded, tmp_path, encoding):
    scenario = recorded.parent / "quick.yaml"

    codes, text, _ = in_turn(
        ("run", "--out", tmp_path / "é→", scenario),
        ("top", recorded),
        ("waits", recorded),
        ("logs", recorded),
        ("explain", scenario),
        ("examples",),
        env={**POOR, "PYTHONIOENCODING": encoding},
    )

    assert [0] * 6 == codes
    assert text.decode(encoding)


NAMES = [b"no\xfftext", b"new\nline", b"a  b", b"\xe2\x86\x92", b"-q"]


@pytest.mark.parametrize("env", one_of(POOR, {}, ids=["ascii", "utf-8"]))
def test_every_name_of_a_file_will_do(tmp_path, env):
    commands = []
    outs = []
    for name in NAMES:
        folder = tmp_path / os.fsdecode(name)
        folder.mkdir()
        scenario = folder / os.fsdecode(name + b".yaml")
        scenario.write_text(QUICK)
        out = folder / "out"
        outs.append(out)
        commands += [
            ("check", scenario),
            ("run", scenario, "--out", out, "--json"),
            ("run", scenario, "--out", out, "--force"),
            ("replay", out),
            ("logs", out),
            ("top", out),
        ]

    codes, _, _ = in_turn(*commands, env=env)

    assert [0] * len(commands) == codes
    assert {"complete"} == {json.loads((out / "meta.json").read_bytes())["status"] for out in outs}


def test_a_name_that_no_file_can_have_is_told(tmp_path, scenario):
    name = "a" * 5000

    codes, _, errors = in_turn(
        ("check", name),
        ("run", "--out", name, scenario),
        ("run", name),
        ("logs", name),
        ("new", name),
        (name,),
        cwd=tmp_path,
    )

    assert [2] * 6 == codes
    assert 6 == errors.count(b"; expected")


def test_a_path_that_the_run_folder_could_not_name_is_told(tmp_path):
    """Areas of the process would show it in /proc/self/maps."""
    folder = tmp_path / os.fsdecode(b"\xff")
    folder.mkdir()
    shutil.copy(ROOT / "tests/reference/traces/bc.npz", folder)
    (folder / "own.yaml").write_text("processes: [{name: a, program: [trace bc.npz]}]\n")

    own = folder / "own.yaml"
    codes, _, errors = in_turn(("check", own), ("run", own), cwd=tmp_path)

    assert [2, 2] == codes
    assert 2 == errors.count(b"bytes that are no text")


# -- widths ----------------------------------------------------------------------------------------

ODD_WIDTHS = ["1", "0", "junk", "²"]


def test_a_width_that_is_none_changes_little(recorded):
    widths = [*ODD_WIDTHS, "-3", "", "9" * 20]
    verbs = (("run", "--help"), ("top", recorded))
    commands = [(f"COLUMNS={columns}", *words) for columns in widths for words in verbs]

    codes, out, errors = in_turn(*commands, env={"TERM": "dumb", "NO_COLOR": "1"})

    assert ([0] * len(commands), b"") == (codes, errors)
    assert b"\x1b" not in out
    assert max(map(len, out.decode().splitlines())) > 15


@pytest.mark.slow
def test_a_search_reports_at_any_width():
    race = min((ROOT / "configs/races").glob("*.yaml"))

    codes, out, _ = in_turn(
        *((f"COLUMNS={columns}", "explore", race, "--budget", "200") for columns in ODD_WIDTHS)
    )

    assert set(codes) <= {0, 1}
    assert out


@pytest.mark.slow
@pytest.mark.parametrize("columns", ODD_WIDTHS)
def test_an_explored_test_reports_at_any_width(tmp_path, columns):
    (tmp_path / "test_own.py").write_text(
        "import mmactors\n\n\n"
        "@mmactors.explore\n"
        "def test_count(world):\n"
        "    count = world.shared('count', 0)\n\n"
        "    async def add():\n"
        "        seen = await count.read()\n"
        "        await count.write(seen + 1)\n\n"
        "    world.actor('a', add)\n"
        "    world.actor('b', add)\n"
        "    world.at_end(lambda: count.value == 2)\n"
    )

    code, out, errors = python(
        "-m", "pytest", "-p", "no:cacheprovider", cwd=tmp_path, env={"COLUMNS": columns}
    )

    assert b"INTERNALERROR" not in out + errors, out.decode()
    assert 1 == code, out.decode()


# -- streams ---------------------------------------------------------------------------------------


VERBS = ("run quick.yaml", "nosuch", "schema")


@pytest.mark.parametrize(
    ("streams", "verb"), one_of(*product(("<&- >&- 2>&-", ">&-", "2>&-"), reversed(VERBS)))
)
def test_closed_streams_take_everything(scenario, verb, streams):
    expected = 2 if verb == "nosuch" else 0

    assert expected == shell(f"$M {verb} {streams}", cwd=scenario.parent)[0]


def test_no_file_gets_the_number_of_a_closed_stream(scenario):
    """What a library writes to descriptor 1 or 2 does not end up in the log."""
    code, _, _ = shell("$M run quick.yaml --out out <&- >&- 2>&-", cwd=scenario.parent)
    text = (scenario.parent / "out" / "events.jsonl").read_text()

    assert 0 == code
    assert all(json.loads(line) for line in text.splitlines())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
@pytest.mark.parametrize("verb", one_of(*reversed(VERBS)))
def test_full_streams_are_told_where_that_is_possible(scenario, verb):
    code, _, errors = shell(f"$M {verb} >/dev/full", cwd=scenario.parent)
    without_stderr, _, _ = shell(f"$M {verb} 2>/dev/full", cwd=scenario.parent)
    without_both, _, _ = shell(f"$M {verb} >/dev/full 2>&1", cwd=scenario.parent)

    bad = 2 if verb == "nosuch" else 0
    assert (2, bad, 2) == (code, without_stderr, without_both)
    assert "expected" in errors


@pytest.mark.parametrize(
    ("reader", "verb"),
    one_of(*product(("2>&1 | true", "| head -1"), ("schema", "logs out", "nosuch"))),
)
def test_readers_that_go_away_are_no_error(scenario, verb, reader):
    if verb == "logs out":
        shell("$M run quick.yaml --out out", cwd=scenario.parent)

    _, _, errors = shell(f"{{ $M {verb}; echo $? >code; }} {reader}", cwd=scenario.parent)

    assert ("2" if verb == "nosuch" else "0") == (scenario.parent / "code").read_text().strip()
    assert ("" if verb != "nosuch" else errors) == errors


# -- limits ----------------------------------------------------------------------------------------


def limited(kind, amount):
    def limit():
        resource.setrlimit(kind, (amount, amount))

    return limit


@pytest.mark.parametrize("nr_files", one_of(16, 32))
def test_few_descriptors_suffice_for_a_run(scenario, nr_files):
    limit = limited(resource.RLIMIT_NOFILE, nr_files)

    assert 0 == mmactors("run", scenario, cwd=scenario.parent, preexec_fn=limit)[0]


@pytest.mark.parametrize("nr_files", one_of(6, 5, 7, 8))
def test_too_few_descriptors_are_told(scenario, nr_files):
    limit = limited(resource.RLIMIT_NOFILE, nr_files)

    code, _, errors = python(
        "-m", "mmactors", "run", str(scenario), cwd=scenario.parent, preexec_fn=limit
    )

    assert b"Traceback" not in errors
    assert 0 == code or b"expected" in errors or b"Error 24" in errors or b"Errno 24" in errors


@pytest.mark.parametrize("mebibytes", one_of(200, 48, 96, 150, 300, 400))
def test_little_address_space_is_told(scenario, mebibytes):
    limit = limited(resource.RLIMIT_AS, mebibytes << 20)

    code, _, errors = mmactors("run", scenario, cwd=scenario.parent, preexec_fn=limit)

    assert code in {1, 2}
    assert b"expected" in errors or b"emory" in errors


@pytest.mark.parametrize("size", one_of(1024, 8192))
def test_files_that_may_not_grow_are_told(scenario, size):
    limit = limited(resource.RLIMIT_FSIZE, size)

    code, _, errors = mmactors("run", scenario, cwd=scenario.parent, preexec_fn=limit)

    assert 2 == code
    assert b"File too large; expected" in errors


def test_a_thread_that_cannot_be_started_is_told(scenario):
    program = (
        "import sys, threading\n"
        'def cannot(self): raise RuntimeError("can\'t start new thread")\n'
        "threading.Thread.start = cannot\n"
        "from mmactors.cli.main import main\n"
        "main()\n"
    )

    code, _, errors = python("-P", "-c", program, "run", str(scenario), cwd=scenario.parent)

    assert 2 == code
    assert b"can't start new thread; expected" in errors
    assert b"Traceback" not in errors


def test_processes_of_a_search_that_cannot_be_started_are_told(monkeypatch):
    def cannot():
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", cannot)

    with pytest.raises(UserError, match="of 2 processes 0 could be started: Resource"):
        search(fixed(aba), options=Options(jobs=2, is_exhaustive=True))


# -- folders and signals ---------------------------------------------------------------------------


def test_a_current_folder_that_is_gone_is_no_crash(scenario):
    gone = scenario.parent / "gone"
    gone.mkdir()
    commands = [
        ("check", scenario),
        ("explain", scenario),
        ("run", scenario),
        ("run", "--out", "../out", scenario),
    ]

    # The shell has the number of the folder, not its name.
    codes, _, errors = in_turn(*commands, cwd=gone, before=("sh", "-c", 'rmdir "$PWD"; "$@"', "sh"))

    assert [0, 0, 2] == codes[:3]
    assert codes[3] in {0, 2}  # Some file systems know what was above it.
    assert codes.count(2) == errors.count(b"; expected")


@unprivileged
def test_a_current_folder_that_may_not_be_read_is_no_crash(scenario):
    closed = scenario.parent / "closed"
    closed.mkdir(mode=0o111)
    before = NOT_ALLOWED_ANYTHING if os.geteuid() == 0 else ()

    codes, _, errors = in_turn(("check", scenario), ("run", scenario), cwd=closed, before=before)

    assert [0, 2] == codes
    assert b"runs: Permission denied; expected a directory that can be written" in errors


@pytest.mark.slow
@pytest.mark.parametrize(("umask", "mode"), [(0o077, 0o600), (0o022, 0o644), (0o002, 0o664)])
def test_what_a_run_writes_is_for_whom_the_umask_says(scenario, umask, mode):
    out = scenario.parent / "out"

    mmactors("run", scenario, "--out", out, preexec_fn=lambda: os.umask(umask))

    files = [path for path in out.rglob("*") if path.is_file() and not path.is_symlink()]
    assert len(files) > 10
    assert {mode} == {path.stat().st_mode & 0o777 for path in files}


@pytest.mark.slow
def test_a_run_outlives_its_terminal_if_it_is_told_to(tmp_path):
    """As under nohup: SIGHUP was ignored when it began, and is."""
    code = under_signals(
        tmp_path, signal.SIGHUP, before=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)
    )

    assert 0 == code


@pytest.mark.slow
def test_a_run_that_is_stopped_goes_on_when_it_is_continued(tmp_path):
    assert 0 == under_signals(tmp_path, signal.SIGSTOP, signal.SIGCONT)


def under_signals(folder, *numbers, before=None):
    """Return the exit code of a run that gets these signals while it moves."""
    (folder / "long.yaml").write_text(LONG)
    with subprocess.Popen(
        [sys.executable, "-m", "mmactors", "run", "long.yaml", "--out", "out", "-q", "--no-log"],
        cwd=folder,
        env=environment(),
        preexec_fn=before,  # noqa: PLW1509 - it starts no thread
        start_new_session=True,
    ) as process:
        meta = folder / "out" / "meta.json"
        while not meta.exists() and process.poll() is None:
            time.sleep(0.02)
        for number in numbers:
            time.sleep(0.2)
            assert process.poll() is None, "it ended before the signal"
            process.send_signal(number)
        code = process.wait(timeout=100)
    assert "complete" == json.loads(meta.read_bytes())["status"]
    return code
