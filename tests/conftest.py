"""What all tests share. Being here, it lets them import `machines`.

A session runs on all processors (pytest-xdist, `-n logical`). What is compiled is compiled once,
before there are workers; they load it from the disk.
"""

import gc
import os
import signal
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from mmactors.arch.jit import prepare
from mmactors.engine.guard import GUARD_VARIABLE

# How fast the machine is decides nothing: no deadline, no check of how long drawing takes.
settings.register_profile(
    "tests", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("tests")

# Images of containers tell Python to keep no bytecode. Every process that a test starts would then
# compile all of mmactors for itself, which takes longer than most of what it is started for.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False


def pytest_configure() -> None:
    """Ctrl-C is heard, by what tests start too, also where a session begins in the background."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """Spare the tests themselves, which stay to the end, from each search for garbage."""
    gc.collect()
    gc.freeze()


def pytest_report_header() -> list[str]:
    """Say it when every engine of this session checks its actors' accesses."""
    return ["mmactors: guard mode"] if os.environ.get(GUARD_VARIABLE) == "1" else []


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """As many as there are processors; but one file is not worth a second process.

    Nor may two of them renew the same golden file.
    """
    paths = {argument.partition("::")[0] for argument in config.args}
    is_one = len(paths) == 1 and Path(paths.pop()).is_file()
    return 0 if is_one or os.environ.get("MMACTORS_RENEW_GOLDEN") == "1" else None


def pytest_xdist_setupnodes() -> None:
    """Compile everything, if that was never done here."""
    prepare()
