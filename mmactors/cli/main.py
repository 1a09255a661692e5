"""`mmactors VERB ...`: the verbs, the exit codes, and errors without tracebacks.

Exit codes: 0 ok, 1 something that must hold does not, 2 bad input, 130 interrupted. A verb's module
is imported when the verb is used, so that `--help` and `check` start fast. What the host does not
give (memory, files, processes, a place for output) is told like bad input: no traceback.
"""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from mmactors.cli.terminal import streams
from mmactors.errors import Place, Problem, UserError
from mmactors.version import __version__

if TYPE_CHECKING:
    from cyclopts import App, CycloptsError

EXIT_OK: Final = 0
EXIT_BROKEN: Final = 1
EXIT_BAD_INPUT: Final = 2
EXIT_INTERRUPTED: Final = 130
_MAX_TEXT: Final = 500
"""Characters of what another library says."""

_VERBS: Final = {
    "new": "Write a scenario of your own from an example.",
    "examples": "List the examples, or print one.",
    "run": "Run a scenario and write its run directory.",
    "check": "Check scenarios without running them.",
    "explain": "Say in words what a scenario will do.",
    "logs": "Show the event log of a run, filtered.",
    "waits": "Show who waited for whom in a run, how long, and doing what.",
    "top": "Show the slowest page faults, waits or calls of a run, and why they took so long.",
    "objects": "Show what the kernel's objects took in runs, side by side.",
    "heap": "Show what the pages of a program's heap hold, and what keeps its memory.",
    "heap-trace": "Show what a heap trace holds, and write it in another form.",
    "heap-compare": "Run a heap trace or a scenario on several C libraries, side by side.",
    "replay": "Run a recorded run again under its schedule and compare the logs.",
    "explore": "Try every order of what races in a scenario, and say how sure that is.",
    "validate": "Run recordings of the real thing against the model.",
    "schema": "Print the JSON Schema of scenario files.",
    "completion": "Print a completion script for bash, zsh or fish.",
    "warm-up": "Compile everything now, so that no run has to.",
}
_ROOMS: Final = {"heap": "heap.", "heap-trace": "heap.", "heap-compare": "heap."}
"""Of verbs whose modules lie in a folder of `cli/`, which one."""


def make_app() -> "App":
    """Return the command line application."""
    from cyclopts import App  # noqa: PLC0415 - where it cannot be imported, the user is told

    app = App(
        name="mmactors",
        help="How a multi-processor machine manages memory, as Linux 6.1 does it.",
        help_epilogue="Exit codes: 0 ok, 1 something that must hold does not, 2 bad input.",
        help_format="plaintext",
        version=__version__,
        result_action="return_value",
    )
    for verb, text in _VERBS.items():
        name = verb.replace("-", "_")
        module = f"mmactors.cli.{_ROOMS.get(verb, '')}{name}"
        app.command(f"{module}:{name}", name=verb, help=text)
    return app


def run_command(arguments: Sequence[str]) -> int:
    """Run one command; return its exit code. Errors go to stderr."""
    try:
        code = _run_verb(arguments)
        sys.stdout.flush()
    except UserError as error:
        write_problems(error)
        return EXIT_BAD_INPUT
    except BrokenPipeError:
        # The reader, such as `head`, has gone; nothing is left to say, also not at exit.
        streams.discard(sys.stdout, sys.stderr)
        return EXIT_OK
    except OSError as error:
        # Verbs report what they open themselves; this is mostly stdout on a full disk.
        streams.discard(sys.stdout)
        write_problems(UserError(_output_problem(error)))
        return EXIT_BAD_INPUT
    except (ImportError, MemoryError) as error:
        write_problems(UserError(_host_problem(error, arguments)))
        return EXIT_BAD_INPUT
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return EXIT_INTERRUPTED
    return code if isinstance(code, int) else EXIT_OK


def _run_verb(arguments: Sequence[str]) -> object:
    app = make_app()
    from cyclopts import CycloptsError, UnknownCommandError  # noqa: PLC0415 - as in make_app

    try:
        return app(arguments, exit_on_error=False, print_error=False)
    except UnknownCommandError:
        raise UserError(_unknown_verb(arguments)) from None
    except CycloptsError as error:
        raise UserError(_usage_problem(error, arguments)) from None


def write_problems(error: UserError) -> None:
    """Write a user's error to stderr, one problem a line; each says itself without controls."""
    sys.stderr.write(f"{error}\n")


def _output_problem(error: OSError) -> Problem:
    if error.errno is None:  # Not of the host's: a library that cannot be loaded says so, too.
        return _load_problem(error, Place("mmactors"))
    return Problem(
        place=Place(str(error.filename or "stdout")),
        found=error.strerror or type(error).__name__,
        legal="expected to be able to read and write it",
        advice="make room, check its permissions, or send the output elsewhere",
    )


def _host_problem(error: ImportError | MemoryError, arguments: Sequence[str]) -> Problem:
    verb = next((word for word in arguments if word in _VERBS), None)
    place = Place(f"mmactors {verb}" if verb else "mmactors")
    cause: BaseException = error
    while cause.__cause__ is not None:  # Who imports a verb says only that it cannot.
        cause = cause.__cause__
    if not isinstance(cause, MemoryError):
        return _load_problem(cause, place)
    text = " ".join(str(cause).split())
    return Problem(
        place=place,
        found="this process gets no more memory" + (f": {text}" if text else ""),
        legal="expected more",
        advice="raise the limit (ulimit -v), or make the machine smaller",
    )


def _load_problem(error: BaseException, place: Place) -> Problem:
    name = getattr(error, "name", None)
    text = " ".join(str(error).split())[:_MAX_TEXT]
    return Problem(
        place=place,
        found=f"{name or 'what mmactors depends on'} cannot be loaded: {text}",
        legal="expected it to be installed, and memory and open files enough to load it",
        advice="raise the limits (ulimit -v, ulimit -n), or install mmactors again",
    )


def _unknown_verb(arguments: Sequence[str]) -> Problem:
    from difflib import get_close_matches  # noqa: PLC0415 - for who mistypes

    word = next((word for word in arguments if not word.startswith("-")), arguments[0])
    near = get_close_matches(word, _VERBS, n=1)
    return Problem(
        place=Place("mmactors"),
        found=f"{word!r} is not a verb",
        legal=f"expected {', '.join(_VERBS)}",
        advice=f"did you mean {near[0]}?" if near else "see mmactors --help",
    )


def _usage_problem(error: "CycloptsError", arguments: Sequence[str]) -> Problem:
    verb = next((word for word in arguments if word in _VERBS), None)
    text = " ".join(str(error).split()).rstrip(".")
    return Problem(
        place=Place(f"mmactors {verb}" if verb else "mmactors"),
        found=text,
        legal=f"expected a verb: {', '.join(_VERBS)}"
        if verb is None
        else "expected as --help says",
        advice=f"see mmactors {verb + ' ' if verb else ''}--help",
    )


def main() -> None:
    """Run the command line of this process; whatever its streams are, it ends without traceback."""
    streams.prepare()
    try:
        code = run_command(sys.argv[1:])
    except OSError:  # Of stderr: nobody can be told.
        code = EXIT_BAD_INPUT
    streams.close()
    sys.exit(code)


if __name__ == "__main__":
    main()
