"""Native code of several parts, from files or made now: a process a part, side by side.

The process is this interpreter with this package (`_START`), and never looks for a module in the
current folder (-P). What it makes comes through a pipe: nothing but the cache is written.
"""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import IO, Final, Self

from attrs import define, field, frozen

from mmactors.arch.native import store
from mmactors.arch.native.parts import PACKAGE, PARTS

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


def native_code(
    parts: Sequence[str], say: Say, regret: Callable[[str], None] = lambda _reason: None
) -> dict[str, bytes]:
    """Return the object file of each part; what is missing is made, and kept for next time.

    Another process that makes the same is waited for. Where nothing can be kept, `regret` is told
    why. Raises CannotMakeError.
    """
    found = _found(parts)
    if len(found) == len(parts):
        return found
    names = ", ".join(PARTS[part] for part in parts if part not in found)
    say(Progress(done=0, total=0, name=names))
    with _alone():
        found = _found(parts)
        missing = [part for part in parts if part not in found]
        return found | _make(missing, say, regret)


def _found(parts: Sequence[str]) -> dict[str, bytes]:
    places = ((part, store.find(part)) for part in parts)
    return {part: found.code for part, found in places if found is not None}


@contextmanager
def _alone() -> Iterator[None]:
    """Hold the lock of the cache folder, if it can be had at all."""
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        handle = os.open(store.own_folder() / "lock", flags, 0o600)
    except (store.CannotKeepError, OSError):
        yield
        return
    with os.fdopen(handle, "wb") as file:
        if fcntl is not None:
            with suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _make(parts: Sequence[str], say: Say, regret: Callable[[str], None]) -> dict[str, bytes]:
    made = {}
    with _Builders(say) as builders:
        for part in parts:
            builders.start(part)
        contents = builders.wait()
    why_not = None
    for part in parts:
        code = store.unpack(contents[part])
        if code is None:
            raise CannotMakeError("its source changed meanwhile")
        made[part] = code
        try:
            store.keep(part, contents[part])
        except store.CannotKeepError as error:
            why_not = error
    if why_not is not None:
        regret(str(why_not))
    return made


@define(eq=False)
class _Builders:
    """The processes, and what they have said."""

    say: Say
    _processes: dict[str, "subprocess.Popen[bytes]"] = field(init=False, factory=dict)
    _threads: list[threading.Thread] = field(init=False, factory=list)
    _far: dict[str, tuple[int, int]] = field(init=False, factory=dict)
    _contents: dict[str, bytes] = field(init=False, factory=dict)
    _errors: dict[str, list[bytes]] = field(init=False, factory=dict)
    _lock: threading.Lock = field(init=False, factory=threading.Lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes.values():
            if process.poll() is None:
                process.terminate()
            process.wait()
        for thread in self._threads:
            thread.join()

    def start(self, part: str) -> None:
        """Begin with a part; raise CannotMakeError."""
        if not sys.executable:
            raise CannotMakeError("this Python does not know where it lies")
        try:
            # S603: the command is our own module under our own interpreter.
            process = subprocess.Popen(  # noqa: S603
                [sys.executable, *_flags(), "-c", _START, str(PACKAGE), _BUILD, part],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            self._processes[part] = process
            self._far[part] = (0, 0)
            self._errors[part] = []
            assert process.stdout is not None, "stdout is a pipe"
            assert process.stderr is not None, "stderr is a pipe"
            self._begin(lambda stream: self._follow(part, stream), process.stdout)
            self._begin(self._errors[part].extend, process.stderr)
        except OSError as error:
            raise CannotMakeError(f"no process: {error.strerror}") from None
        except RuntimeError as error:
            raise CannotMakeError(f"no thread: {error}") from None

    def _begin(self, take: Callable[[IO[bytes]], None], stream: IO[bytes]) -> None:
        def read() -> None:
            with stream:
                take(stream)

        thread = threading.Thread(target=read, daemon=True)
        thread.start()
        self._threads.append(thread)

    def _follow(self, part: str, lines: IO[bytes]) -> None:
        for line in lines:
            done, total, name = (*line.decode().split(), "")[:3]
            if done == "code":
                self._contents[part] = lines.read(int(total))
                return
            with self._lock:
                self._far[part] = (int(done), int(total))
                if all(total for _, total in self._far.values()):
                    totals = [sum(numbers) for numbers in zip(*self._far.values(), strict=True)]
                    self.say(Progress(done=totals[0], total=totals[1], name=name))

    def wait(self) -> dict[str, bytes]:
        """Wait for all; return what each gives. Raises CannotMakeError if one fails."""
        for thread in self._threads:
            thread.join()
        for part, process in self._processes.items():
            if process.wait() != 0 or part not in self._contents:
                raise CannotMakeError(f"{PARTS[part]}: {self._reason(part, process.returncode)}")
        return self._contents

    def _reason(self, part: str, code: int) -> str:
        text = b"".join(self._errors[part]).decode(errors="backslashreplace")
        errors = text.strip().splitlines()
        named = [line for line in errors if "Error: " in line] or errors
        if named:
            return named[-1].strip()
        return f"exit code {code}" if code >= 0 else f"signal {-code}"


def _flags() -> list[str]:
    """Return the options that keep a new interpreter as far from its surroundings as this one."""
    kept = (("-I", sys.flags.isolated), ("-E", sys.flags.ignore_environment),
            ("-s", sys.flags.no_user_site))  # fmt: skip
    return ["-P", *(flag for flag, is_on in kept if is_on)]


_BUILD: Final = "mmactors.arch.native.build"

_START: Final = """
import importlib.util
import sys

folder, module, *arguments = sys.argv[1:]
spec = importlib.util.spec_from_file_location(
    "mmactors", f"{folder}/__init__.py", submodule_search_locations=[folder]
)
sys.modules["mmactors"] = package = importlib.util.module_from_spec(spec)
spec.loader.exec_module(package)
importlib.import_module(module).main(arguments)
"""
"""What the process runs: a module of this very package, wherever it lies."""
