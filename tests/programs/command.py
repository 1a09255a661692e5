"""What comes of a scenario on the command line: `mmactors check`, then `mmactors run`.

Both in processes of their own, as a user starts them. A run that takes long is interrupted, as a
batch system would (SIGTERM).
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

import mmactors

from .judge import CORPUS, Verdict
from .words import TRACE

PATIENCE_S = 60
"""So long a run may take before it is interrupted; and to end then."""
WORDS = {0: "ok", 1: "not ok", 2: "refused", 130: "interrupted"}
"""By exit code."""


def judge_command(text, folder):
    """Return the verdict on a scenario's text; its files and its run go into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    scenario = folder / "program.yaml"
    scenario.write_text(text.replace(TRACE, str((CORPUS / TRACE).resolve())))
    check = _mmactors("check", scenario)
    if check.is_failure or check.word == "refused":
        return check
    run = _mmactors("run", scenario, "--out", folder / "run", "--force")
    return Verdict("refused late", detail=run.detail) if run.word == "refused" else run


def _mmactors(*arguments):
    """Run a verb; return what came of it by its exit code."""
    environment = dict(os.environ, PYTHONPATH=str(Path(mmactors.__file__).parent.parent))
    words = [sys.executable, "-m", "mmactors", *map(str, arguments)]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdout=pipe, stderr=pipe, text=True, env=environment) as process:
        try:
            printed = process.communicate(timeout=PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGTERM)
            try:
                printed = process.communicate(timeout=PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                return Verdict("does not end", True, arguments[0], "".join(process.communicate()))
    detail = "".join(printed)
    word = WORDS.get(process.returncode)
    if word is None:
        return Verdict("exit code", True, f"{process.returncode} of {arguments[0]}", detail)
    if "Traceback" in detail:
        return Verdict("traceback", True, arguments[0], detail)
    return Verdict(word, detail=detail)
