"""What all tests share. Being here, it lets them import `machines`."""

import os

from mmactors.engine.guard import GUARD_VARIABLE


def pytest_report_header() -> list[str]:
    """Say it when every engine of this session checks its actors' accesses."""
    return ["mmactors: guard mode"] if os.environ.get(GUARD_VARIABLE) == "1" else []
