"""The directory of a run: what was run, what happened, how far it came.

meta.json says `running` from the first moment and anything else only after all other files are
written, so that a directory never looks whole when it is not. Every file but the log is written
beside its place and renamed.
"""

import contextlib
import os
import platform
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path, PurePosixPath
from typing import Any, Final, Literal

import orjson
from attrs import define, field

from mmactors.actors.program.proc_paths import ReadText
from mmactors.errors import Place, Problem, UserError
from mmactors.observe.proc.link import Link
from mmactors.version import __version__

Status = Literal["running", "complete", "interrupted", "failed"]

META: Final = "meta.json"
SCENARIO: Final = "scenario.resolved.yaml"
EVENTS: Final = "events.jsonl"
COUNTERS: Final = "counters.json"
SUMMARY: Final = "summary.json"
SCHEDULE: Final = "schedule.txt"
PROC: Final = "proc"
SERIES: Final = "series.jsonl"
"""Only there if the scenario asks for samples of counters."""
TEXTS: Final = "texts"
"""Only there if programs read files of /proc or /sys: each as it was then; index.json says who
read it, when, and by what operation."""
FINDINGS: Final = "findings.txt"
"""Only there if sanitizers found something: all of it, with what to know about it."""
TRACEBACK: Final = "traceback.txt"
"""Only there if an actor crashed: where in mmactors."""

_SCHEMA: Final = {"schema": "mmactors.run", "version": "1.0"}
_PACKAGES: Final = ("attrs", "numba", "numpy", "orjson", "structlog", "trio")
_RUNS_MAX: Final = 1_000_000


@define(eq=False, kw_only=True)
class RunDir:
    """A run directory that is being written."""

    path: Path
    _meta: dict[str, Any] = field(factory=dict)

    def start(self, *, scenario: str, seed: int, command: Sequence[str]) -> None:
        """Write what is known before the run; the status is `running`."""
        self.write(SCENARIO, scenario)
        self._meta = {
            **_SCHEMA,
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
        }
        self._write_json(META, self._meta)

    def write(self, name: str, text: str) -> None:
        """Write a file of the directory, folders included, whole or not at all.

        A `Link` becomes a symbolic link, which leads nowhere on the host: it is never followed.
        Where the file system has none, or does not take its target, there is no such file.
        """
        self.write_parts(name, text if isinstance(text, Link) else (text,))

    def write_parts(self, name: str, text: Link | Iterable[str]) -> None:
        """Write a file whose text comes in parts, as `write` does."""
        parts = PurePosixPath(name).parts
        assert parts, "a file of the run directory needs a name"
        assert ".." not in parts, f"{name} leaves the run directory"
        assert not PurePosixPath(name).is_absolute(), f"{name} leaves the run directory"
        place = self.path.joinpath(*parts)
        place.parent.mkdir(parents=True, exist_ok=True)
        partial = place.with_name(place.name + ".partial")
        if isinstance(text, Link):
            with contextlib.suppress(OSError, ValueError):
                partial.symlink_to(text)
                partial.replace(place)
        else:
            with partial.open("w", encoding="utf-8") as file:
                file.writelines(text)
            partial.replace(place)

    def finish(
        self,
        status: Status,
        *,
        summary: Mapping[str, Any],
        schedule: str,
        proc: Mapping[str, str],
        wall_s: float,
        error: str | None = None,
    ) -> None:
        """Write what came of the run, and last the status."""
        for name, text in proc.items():
            self.write(f"{PROC}/{name}", text)
        self.write(SCHEDULE, schedule)
        self._write_json(COUNTERS, summary.get("counters", {}))
        self._write_json(SUMMARY, {"status": status, **summary})
        self.set_status(status, reached=summary, wall_s=wall_s, error=error)

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
        """Write how the run stands, if that is still possible."""
        with contextlib.suppress(OSError):
            self.set_status(status, error=error)

    def _write_json(self, name: str, value: object) -> None:
        options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
        self.write(name, orjson.dumps(value, option=options).decode())


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
            _clear(path, force=force)
        return RunDir(path=path)
    except OSError as error:
        raise UserError(
            Problem(
                place=Place(str(out or runs)),
                found=error.strerror or type(error).__name__,
                legal="expected a directory that can be written",
                advice="name another with --out DIR",
            )
        ) from None


def read_meta(path: Path) -> dict[str, Any]:
    """Return meta.json of a run directory; raise UserError if there is none that can be read."""
    with contextlib.suppress(OSError, ValueError):
        meta = orjson.loads((path / META).read_bytes())
        if isinstance(meta, dict) and meta.get("schema") == _SCHEMA["schema"]:
            return meta
    raise UserError(
        Problem(
            place=Place(str(path)),
            found=f"no run directory, {META} is missing or damaged",
            legal="expected a directory that `mmactors run` wrote",
            advice="name it like runs/latest",
        )
    )


def is_running(path: Path) -> bool:
    """Return whether the run that writes this directory is still alive on this host."""
    try:
        meta = read_meta(path)
    except UserError:
        return False
    if meta.get("status") != "running":
        return False
    pid = meta.get("pid")
    if not isinstance(pid, int) or pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True  # it lives, as somebody else's
    return True


def _next_free(runs: Path, name: str) -> Path:
    number = 1 + max(
        (
            int(tail)
            for path in runs.glob(f"{_glob_escape(name)}-*")
            if (tail := path.name.rpartition("-")[2]).isdecimal()
        ),
        default=0,
    )
    while number < _RUNS_MAX:
        path = runs / f"{name}-{number}"
        with contextlib.suppress(FileExistsError):
            path.mkdir()
            return path
        number += 1
    raise FileExistsError(f"{runs} is full")


def _glob_escape(name: str) -> str:
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)


def _point_latest(path: Path) -> None:
    link = path.parent / "latest"
    partial = path.parent / f".latest.{os.getpid()}"
    with contextlib.suppress(OSError):  # a file system without symbolic links
        partial.symlink_to(path.name, target_is_directory=True)
        partial.replace(link)


def _clear(path: Path, *, force: bool) -> None:
    path.mkdir(parents=True, exist_ok=True)
    if any(path.iterdir()):
        try:
            meta = read_meta(path)
        except UserError:
            raise UserError(
                Problem(
                    place=Place(str(path)),
                    found="the directory is not empty, and no run directory",
                    legal="expected a new or an empty directory, or an earlier run with --force",
                    advice="name another with --out DIR",
                )
            ) from None
        if not force:
            raise UserError(_earlier_run(path, meta))
        # The status goes first: what is half removed must not look whole.
        for name in (
            META,
            SUMMARY,
            COUNTERS,
            SCHEDULE,
            SCENARIO,
            EVENTS,
            SERIES,
            FINDINGS,
            TRACEBACK,
        ):
            (path / name).unlink(missing_ok=True)
        _remove_tree(path / PROC)
        _remove_tree(path / TEXTS)


def _earlier_run(path: Path, meta: Mapping[str, Any]) -> Problem:
    known = [f"{key} {meta[key]}" for key in ("status", "seed", "started") if key in meta]
    return Problem(
        place=Place(str(path)),
        found=f"an earlier run is there ({', '.join(known)})",
        legal="expected a new or an empty directory",
        advice="name another with --out DIR, or replace it with --force (force=True in Python)",
    )


def _remove_tree(folder: Path) -> None:
    if folder.is_dir() and not folder.is_symlink():
        for child in folder.iterdir():
            _remove_tree(child)
        folder.rmdir()
    else:
        folder.unlink(missing_ok=True)


def _as_text(word: str) -> str:
    r"""Return a word of a command line as a text: a byte that is none becomes \xff or its like."""
    return os.fsencode(word).decode("utf-8", errors="backslashreplace")


def _versions() -> dict[str, str]:
    versions = {"python": sys.version.split()[0], "mmactors": __version__}
    for package in _PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            versions[package] = version(package)
    return versions
