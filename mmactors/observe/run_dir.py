"""The directory of a run: what was run, what happened, how far it came.

meta.json is there when the scenario and the heads of the log and the schedule are. It says
`running`, and anything else only after all other files are written, so that a directory never
looks whole when it is not (run_meta.py: how a dead run is known). The log and the schedule grow;
every other file is written beside its place and renamed (own_files.py). Two runs never share a
directory: it is locked while it is written.
"""

import contextlib
import os
import platform
import secrets
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import orjson
from attrs import define, field

from mmactors.actors.program.proc_paths import ReadText
from mmactors.errors import Place, Problem, UserError
from mmactors.observe.proc.link import Link
from mmactors.observe.run_meta import (
    HEAD,
    META,
    Status,
    is_running,
    process_start,
    read_meta,
    standing_of,
)
from mmactors.own_files import PARTIAL, Folder, InUseError
from mmactors.version import __version__

SCENARIO: Final = "scenario.resolved.yaml"
EVENTS: Final = "events.jsonl"
COUNTERS: Final = "counters.json"
SUMMARY: Final = "summary.json"
SCHEDULE: Final = "schedule.txt"
PROC: Final = "proc"
SYS: Final = "sys"
"""Below it, kernel/slab.txt: the files of /sys/kernel/slab, of caches that have slabs."""
SERIES: Final = "series.jsonl"
"""Only there if the scenario asks for samples of counters."""
TEXTS: Final = "texts"
"""Only there if programs read files of /proc or /sys: each as it was then; index.json says who
read it, when, and by what operation."""
HEAPS: Final = "malloc"
"""Only there if programs called their C library's allocator: below it, by pid, what it says of
itself at the process's end, or the run's, and heap_map.json."""
FINDINGS: Final = "findings.txt"
"""Only there if sanitizers found something: all of it, with what to know about it."""
TRACEBACK: Final = "traceback.txt"
"""Only there if an actor crashed: where in mmactors."""

_NAMES: Final = (
    META,
    SUMMARY,
    COUNTERS,
    SCHEDULE,
    SCENARIO,
    EVENTS,
    SERIES,
    FINDINGS,
    TRACEBACK,
    PROC,
    SYS,
    HEAPS,
    TEXTS,
)
"""All that a run writes; what says how the run stands comes first."""
_PACKAGES: Final = ("attrs", "numba", "numpy", "orjson", "structlog", "trio")
_RUNS_MAX: Final = 999_999
_META_BYTES: Final = 4096
"""What a file system keeps together, so that a full disk lets it be written over."""


@define(eq=False, kw_only=True)
class RunDir:
    """A run directory that is being written."""

    path: Path
    folder: Folder
    _meta: dict[str, Any] = field(factory=dict)

    def start(self, *, scenario: str, seed: int, command: Sequence[str]) -> None:
        """Write what is known before the run; the status is `running`."""
        self._meta = {
            **HEAD,
            "status": "running",
            "seed": seed,
            "command": [_as_text(word) for word in command],
            "versions": _versions(),
            "host": {
                "name": platform.node(),
                "system": platform.platform(),
                "machine": platform.machine(),
                "cpus": os.cpu_count(),
            },
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "pid": os.getpid(),
            "pid_start": process_start(os.getpid()),
        }
        self.write(SCENARIO, scenario)
        self._write_json(META, self._meta)

    def write(self, name: str, text: str) -> None:
        """Write a file of the directory, folders included, whole or not at all.

        A `Link` becomes a symbolic link, which leads nowhere on the host: it is never followed.
        Where the file system has none, or does not take its target, there is no such file.
        """
        if isinstance(text, Link):
            with contextlib.suppress(OSError, ValueError):
                self.folder.link(name, text)
        else:
            self.folder.write(name, (text,))

    def write_parts(self, name: str, parts: Iterable[str]) -> None:
        """Write a file whose text comes in parts, as `write` does."""
        self.folder.write(name, parts)

    def close(self) -> None:
        """Let another run have the directory; twice is allowed."""
        self.folder.close()

    def finish(
        self,
        status: Status,
        *,
        summary: Mapping[str, Any],
        schedule: str,
        proc: Mapping[str, str],
        sysfs: Mapping[str, str],
        heaps: Mapping[str, str],
        wall_s: float,
        error: str | None = None,
    ) -> None:
        """Write what came of the run, and last the status."""
        for folder, texts in ((PROC, proc), (SYS, sysfs), (HEAPS, heaps)):
            for name, text in texts.items():
                self.write(f"{folder}/{name}", text)
        self.write(SCHEDULE, schedule)
        self._write_json(COUNTERS, summary.get("counters", {}))
        self._write_json(SUMMARY, {"status": status, **summary})
        self.set_status(status, reached=summary, wall_s=wall_s, error=error)
        self.folder.unlock()

    def write_texts(self, texts: Sequence[ReadText]) -> None:
        """Write what programs read, in files whose names begin with a running number."""
        index = []
        for number, read in enumerate(texts, start=1):
            name = f"{number:04d}-{read.name}"
            self.write(f"{TEXTS}/{name}", read.text)
            index.append(
                {
                    "file": name,
                    "t_ns": read.t_ns,
                    "pid": read.pid,
                    "call": read.call,
                    "path": read.path,
                }
            )
        self._write_json(f"{TEXTS}/index.json", index)

    def set_status(
        self,
        status: Status,
        *,
        reached: Mapping[str, Any] | None = None,
        wall_s: float | None = None,
        error: str | None = None,
    ) -> None:
        """Write how the run stands: its status and how far it came."""
        figures = {} if reached is None else dict(reached)
        figures.pop("counters", None)
        self._meta |= {"status": status, "reached": figures, "wall_s": wall_s, "error": error}
        self._write_json(META, self._meta)

    def try_set_status(self, status: Status, *, error: str) -> None:
        """Write how the run stands, if that is still possible; on a full disk, in place."""
        if not self._meta:
            return  # It has not begun.
        try:
            self.set_status(status, error=error)
        except OSError:
            text = _json(self._meta)
            if len(text.encode()) <= _META_BYTES:
                with contextlib.suppress(OSError):
                    self.folder.overwrite(META, text)

    def _write_json(self, name: str, value: object) -> None:
        self.write(name, _json(value))


def create_run_dir(
    *, out: Path | None, name: str, force: bool = False, runs: Path = Path("runs")
) -> RunDir:
    """Make the directory of a run: `out`, or the next `runs/NAME-N`, and point `latest` at it.

    `out` may be missing or empty; with `force` an earlier run that it holds is replaced. Raises
    UserError when it cannot be written or holds anything else.
    """
    try:
        if out is None:
            runs.mkdir(parents=True, exist_ok=True)
            path = _next_free(runs, name)
            _point_latest(path)
        else:
            path = out
            path.mkdir(parents=True, exist_ok=True)
        folder = Folder(path)
        if out is not None:
            _must_be_free(folder, force=force)
        if not folder.lock() and is_running(path):
            raise UserError(_in_use(path))
        if out is not None:  # Another may have been faster.
            _must_be_free(folder, force=force)
            _clear(folder)
        return RunDir(path=path, folder=folder)
    except InUseError:
        raise UserError(_in_use(path)) from None
    except (OSError, ValueError) as error:  # ValueError: no file can be called that.
        raise UserError(
            Problem(
                place=Place(str(out or runs)),
                found=getattr(error, "strerror", None) or str(error) or type(error).__name__,
                legal="expected a directory that can be written",
                advice="name another with --out DIR",
            )
        ) from None


def _next_free(runs: Path, name: str) -> Path:
    taken = {
        int(tail)
        for path in runs.glob(f"{_glob_escape(name)}-*")
        if (tail := path.name.rpartition("-")[2]).isdecimal()
    }
    last = max((number for number in taken if number < _RUNS_MAX), default=0)
    # Numbers go on after the greatest; where they are used up, to what is free.
    for number in (*range(last + 1, _RUNS_MAX), *range(1, _RUNS_MAX)):
        if number in taken:
            continue
        path = runs / f"{name}-{number}"
        with contextlib.suppress(FileExistsError):
            path.mkdir()
            return path
    raise FileExistsError(f"{runs} is full")


def _glob_escape(name: str) -> str:
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)


def _point_latest(path: Path) -> None:
    link = path.parent / "latest"
    partial = path.parent / f".latest.{secrets.token_hex(4)}"
    with contextlib.suppress(OSError):  # a file system without symbolic links
        partial.symlink_to(path.name, target_is_directory=True)
        try:
            partial.replace(link)
        except OSError:  # a folder has the name
            partial.unlink()


def _clear(folder: Folder) -> None:
    # The status goes first: what is half removed must not look whole.
    for name in (*_NAMES, *(name for name in folder.names() if name.endswith(PARTIAL))):
        folder.remove(name)


def _must_be_free(folder: Folder, *, force: bool) -> None:
    """Raise UserError unless a run may have the directory, or replace what is there."""
    names = folder.names()
    is_run = META in names
    if is_run:
        try:
            meta = read_meta(folder.path)
        except UserError:
            is_run = False
    if is_run:
        if not force:
            raise UserError(_earlier_run(folder.path, meta))
        return
    if not names:
        return
    if not {name for name in names if not name.endswith(PARTIAL)} <= {*_NAMES}:
        found = "the directory is not empty, and no run directory"
        legal = "expected a new or an empty directory, or an earlier run with --force"
        advice = "name another with --out DIR"
    elif not force:
        found = "what a run leaves that was ended as it began, or was being replaced, is there"
        legal, advice = _LEGAL_OUT, _ADVICE_OUT
    else:
        return
    place = Place(str(folder.path))
    raise UserError(Problem(place=place, found=found, legal=legal, advice=advice))


_LEGAL_OUT: Final = "expected a new or an empty directory"
_ADVICE_OUT: Final = (
    "name another with --out DIR, or replace it with --force (force=True in Python)"
)


def _earlier_run(path: Path, meta: Mapping[str, Any]) -> Problem:
    standing = standing_of(meta)
    known = [standing.words, *(f"{key} {meta[key]}" for key in ("seed", "started") if key in meta)]
    return Problem(
        place=Place(str(path)),
        found=f"an earlier run is there ({', '.join(known)})",
        legal=_LEGAL_OUT,
        advice=_ADVICE_OUT,
    )


def _in_use(path: Path) -> Problem:
    return Problem(
        place=Place(str(path)),
        found="another run writes there now",
        legal="expected a directory that nobody writes",
        advice="name another with --out DIR, or wait for its end",
    )


def _json(value: object) -> str:
    options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    return orjson.dumps(value, option=options).decode()


def _as_text(word: str) -> str:
    r"""Return a word of a command line as a text: a byte that is none becomes \xff or its like."""
    return os.fsencode(word).decode("utf-8", errors="backslashreplace")


def _versions() -> dict[str, str]:
    versions = {"python": sys.version.split()[0], "mmactors": __version__}
    for package in _PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            versions[package] = version(package)
    return versions
