"""meta.json of a run directory, and how a run truly stands.

Whoever is killed cannot say so: meta.json says `running` for good. So readers look whether the
process that wrote it still lives: its number, and when it began, as a number is given again.
"""

import contextlib
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, get_args

import orjson
from attrs import frozen

from mmactors.errors import Place, Problem, UserError
from mmactors.given_file import read_given
from mmactors.limits import META_BYTES_MAX

Status = Literal["running", "complete", "interrupted", "failed"]

META: Final = "meta.json"
HEAD: Final = {"schema": "mmactors.run", "version": "1.0"}

_PROC: Final = Path("/proc")
_START: Final = 22 - 3
"""Of the fields of /proc/PID/stat, counted from the third, which comes after the name: starttime,
in clock ticks since the host was booted (proc(5))."""
_ENDED: Final = "ended"
_PS_S: Final = 5


@frozen(kw_only=True)
class Standing:
    """How a run stands."""

    status: Status
    """True now: of a run that was killed it is `interrupted`."""
    killed: str = ""
    """What is known of a run that was killed; empty: it was not."""

    @property
    def words(self) -> str:
        """The status for people."""
        return f"status {self.status}" + (f": it was killed, {self.killed}" if self.killed else "")


def read_meta(path: Path) -> dict[str, Any]:
    """Return meta.json of a run directory; raise UserError if there is none that can be read."""
    with contextlib.suppress(OSError, ValueError):
        meta = orjson.loads(read_given(path / META, bytes_max=META_BYTES_MAX))
        if isinstance(meta, dict) and meta.get("schema") == HEAD["schema"]:
            return meta
    raise UserError(
        Problem(
            place=Place(str(path)),
            found=f"no run directory, {META} is missing or damaged",
            legal="expected a directory that `mmactors run` wrote",
            advice="name it like runs/latest",
        )
    )


def standing_of(meta: Mapping[str, Any]) -> Standing:
    """Return how the run of a meta.json stands."""
    status: Status = next(
        (each for each in get_args(Status) if each == meta.get("status")), "failed"
    )
    if status != "running":
        return Standing(status=status)
    pid = meta.get("pid")
    if isinstance(pid, int) and pid > 0 and _lives(pid, meta.get("pid_start")):
        return Standing(status="running")
    host = meta.get("host")
    name = host.get("name") if isinstance(host, dict) else None
    where = f" of {name}" if isinstance(name, str) else ""
    return Standing(status="interrupted", killed=f"process {pid}{where} is no more")


def is_running(path: Path) -> bool:
    """Return whether the run that writes this directory is still alive on this host."""
    try:
        return standing_of(read_meta(path)).status == "running"
    except UserError:
        return False


def process_start(pid: int) -> str | None:
    """Return when a process began, as a text that no other with its number has; None: unknown.

    Of one that has ended, and whose parent has not asked yet, it is the word for that.
    """
    try:
        stat = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None if (_PROC / "self").exists() else _start_by_ps(pid)
    state, *fields = stat.rpartition(")")[2].split()
    if state in "ZX":
        return _ENDED
    boot = ""
    with contextlib.suppress(OSError):
        boot = (_PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return f"{boot} {fields[_START - 1]}"


def _start_by_ps(pid: int) -> str | None:
    command = ["/bin/ps", "-o", "lstart=", "-p", str(pid)]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PS_S, check=True)  # noqa: S603
        return done.stdout.strip() or None
    return None


def _lives(pid: int, start: object) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass  # It lives, as somebody else's.
    now = process_start(pid)
    return now != _ENDED and (start is None or now is None or now == start)
