"""What all tests share. Being here, it lets them import `machines`.

A session runs on all processors (pytest-xdist, `-n logical`). What is compiled is compiled once,
before there are workers; they load it from the disk.
"""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from mmactors.engine.guard import GUARD_VARIABLE

# How fast the machine is decides nothing: no deadline, no check of how long drawing takes.
settings.register_profile(
    "tests", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("tests")


def pytest_report_header() -> list[str]:
    """Say it when every engine of this session checks its actors' accesses."""
    return ["mmactors: guard mode"] if os.environ.get(GUARD_VARIABLE) == "1" else []


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """One file is not worth a second process; else as many as there are processors."""
    paths = [argument.partition("::")[0] for argument in config.args]
    return 0 if len(set(paths)) == 1 and Path(paths[0]).is_file() else None


def pytest_xdist_setupnodes() -> None:
    """Compile what nearly all tests need, if that was never done here."""
    from machines import compile_all

    compile_all()
