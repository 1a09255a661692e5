"""Native code of several parts, from files or made now: a process a part, side by side."""

import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Final, Self

from attrs import define, field, frozen

from mmactors.arch.native import store
from mmactors.arch.native.parts import PARTS

try:
    import fcntl
except ImportError:  # pragma: no cover - not on this system: then two processes may both compile
    fcntl = None  # type: ignore[assignment]


@frozen(kw_only=True)
class Progress:
    """How far compiling has come."""

    done: int
    """Functions."""
    total: int
    """0: not known yet."""
    name: str
    """What was compiled last; at first what is going to be."""


Say = Callable[[Progress], None]


class CannotMakeError(Exception):
    """Native code cannot be made here; the text is the last line of why."""


def native_code(parts: Sequence[str], say: Say) -> dict[str, bytes]:
    """Return the object file of each part; what is missing is made, and kept for next time.

    Another process that makes the same is waited for. Raises CannotMakeError.
    """
    found = _found(parts)
    if len(found) == len(parts):
        return found
    names = ", ".join(PARTS[part] for part in parts if part not in found)
    say(Progress(done=0, total=0, name=names))
    with _alone():
        found = _found(parts)
        missing = [part for part in parts if part not in found]
        return found | _make(missing, say)


def _found(parts: Sequence[str]) -> dict[str, bytes]:
    places = ((part, store.find(part)) for part in parts)
    return {part: found.code for part, found in places if found is not None}


@contextmanager
def _alone() -> Iterator[None]:
    """Hold the lock of the cache folder, if it can be had at all."""
    folder = store.cache_dir()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / "lock").open("w")
    except OSError:
        yield
        return
    with file:
        if fcntl is not None:
            with suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _make(parts: Sequence[str], say: Say) -> dict[str, bytes]:
    made = {}
    with tempfile.TemporaryDirectory() as folder, _Builders(say) as builders:
        for part in parts:
            builders.start(part, Path(folder))
        builders.wait()
        for part in parts:
            name = store.file_name(part)
            content = (Path(folder) / name).read_bytes()
            code = store.unpack(content)
            if code is None:
                raise CannotMakeError("its source changed meanwhile")
            with suppress(OSError):  # Where nothing can be kept, it is made again next time.
                store.save(store.cache_dir() / name, content)
            made[part] = code
    return made


@define(eq=False)
class _Builders:
    """The processes, and what they have said."""

    say: Say
    _processes: dict[str, "subprocess.Popen[str]"] = field(init=False, factory=dict)
    _threads: list[threading.Thread] = field(init=False, factory=list)
    _far: dict[str, tuple[int, int]] = field(init=False, factory=dict)
    _lock: threading.Lock = field(init=False, factory=threading.Lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes.values():
            if process.poll() is None:
                process.terminate()
            process.communicate()

    def start(self, part: str, folder: Path) -> None:
        command = [sys.executable, "-m", _BUILD, part, str(folder)]
        # S603: the command is our own module under our own interpreter.
        process = subprocess.Popen(  # noqa: S603
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None, "stdout is a pipe"
        self._processes[part] = process
        self._far[part] = (0, 0)
        thread = threading.Thread(target=self._follow, args=(part, process.stdout), daemon=True)
        thread.start()
        self._threads.append(thread)

    def _follow(self, part: str, lines: IO[str]) -> None:
        for line in lines:
            done, total, name = (*line.split(), "")[:3]
            with self._lock:
                self._far[part] = (int(done), int(total))
                if all(total for _, total in self._far.values()):
                    totals = [sum(numbers) for numbers in zip(*self._far.values(), strict=True)]
                    self.say(Progress(done=totals[0], total=totals[1], name=name))

    def wait(self) -> None:
        """Wait for all; raise CannotMakeError if one fails."""
        for thread in self._threads:
            thread.join()
        for part, process in self._processes.items():
            errors = process.communicate()[1].strip().splitlines()
            if process.returncode != 0:
                named = [line for line in errors if "Error: " in line] or errors
                reason = named[-1].strip() if named else f"exit code {process.returncode}"
                raise CannotMakeError(f"{PARTS[part]}: {reason}")


_BUILD: Final = "mmactors.arch.native.build"
