"""`mmactors VERB ...`: the verbs, the exit codes, and errors without tracebacks.

Exit codes: 0 ok, 1 something that must hold does not, 2 bad input, 130 interrupted. A verb's module
is imported when the verb is used, so that `--help` and `check` start fast.
"""

import os
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Final

from cyclopts import App, CycloptsError, UnknownCommandError

from mmactors.errors import Place, Problem, UserError
from mmactors.version import __version__

EXIT_OK: Final = 0
EXIT_BROKEN: Final = 1
EXIT_BAD_INPUT: Final = 2
EXIT_INTERRUPTED: Final = 130

_VERBS: Final = {
    "new": "Write a scenario of your own from an example.",
    "examples": "List the examples, or print one.",
    "run": "Run a scenario and write its run directory.",
    "check": "Check scenarios without running them.",
    "explain": "Say in words what a scenario will do.",
    "logs": "Show the event log of a run, filtered.",
    "waits": "Show who waited for whom in a run, how long, and doing what.",
    "top": "Show the slowest page faults, waits or calls of a run, and why they took so long.",
    "replay": "Run a recorded run again under its schedule and compare the logs.",
    "explore": "Try every order of what races in a scenario, and say how sure that is.",
    "validate": "Run recordings of the real thing against the model.",
    "schema": "Print the JSON Schema of scenario files.",
    "completion": "Print a completion script for bash, zsh or fish.",
    "warm-up": "Compile everything now, so that no run has to.",
}


def make_app() -> App:
    """Return the command line application."""
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
        app.command(f"mmactors.cli.{name}:{name}", name=verb, help=text)
    return app


def run_command(arguments: Sequence[str]) -> int:
    """Run one command; return its exit code. Errors go to stderr."""
    try:
        code = make_app()(arguments, exit_on_error=False, print_error=False)
        sys.stdout.flush()
    except UnknownCommandError:
        write_problems(UserError(_unknown_verb(arguments)))
        return EXIT_BAD_INPUT
    except CycloptsError as error:
        write_problems(UserError(_usage_problem(error, arguments)))
        return EXIT_BAD_INPUT
    except UserError as error:
        write_problems(error)
        return EXIT_BAD_INPUT
    except BrokenPipeError:
        # The reader, such as `head`, has gone; nothing is left to say, also not at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OK
    except OSError as error:
        # Verbs report what they open themselves; this is mostly stdout on a full disk.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        write_problems(UserError(_output_problem(error)))
        return EXIT_BAD_INPUT
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return EXIT_INTERRUPTED
    return code if isinstance(code, int) else EXIT_OK


def write_problems(error: UserError) -> None:
    """Write a user's error to stderr, one problem a line; each says itself without controls."""
    sys.stderr.write(f"{error}\n")


def _output_problem(error: OSError) -> Problem:
    return Problem(
        place=Place(str(error.filename or "stdout")),
        found=error.strerror or type(error).__name__,
        legal="expected to be able to read and write it",
        advice="make room, check its permissions, or send the output elsewhere",
    )


def _unknown_verb(arguments: Sequence[str]) -> Problem:
    word = next((word for word in arguments if not word.startswith("-")), arguments[0])
    near = get_close_matches(word, _VERBS, n=1)
    return Problem(
        place=Place("mmactors"),
        found=f"{word!r} is not a verb",
        legal=f"expected {', '.join(_VERBS)}",
        advice=f"did you mean {near[0]}?" if near else "see mmactors --help",
    )


def _usage_problem(error: CycloptsError, arguments: Sequence[str]) -> Problem:
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
    """Run the command line of this process; a closed stdout or stderr takes everything."""
    sys.stdout = sys.stdout or Path(os.devnull).open("w")  # noqa: SIM115 - open until the end
    sys.stderr = sys.stderr or sys.stdout
    sys.exit(run_command(sys.argv[1:]))


if __name__ == "__main__":
    main()
