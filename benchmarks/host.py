"""Where figures were measured: the host, the versions, and the commit."""

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parent.parent
PACKAGES = (
    "attrs",
    "frontrun",
    "numba",
    "numpy",
    "orjson",
    "pycachesim",
    "simpy",
    "structlog",
    "trio",
)


def host() -> dict[str, Any]:
    """Return what the figures depend on."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = names[0].partition(":")[2].strip() if names else model
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "load": os.getloadavg(),
        "system": platform.platform(),
        "python": platform.python_version(),
        **{package: version_of(package) for package in PACKAGES},
    }


def version_of(package: str) -> str | None:
    """Return the installed version of a package; None if there is none."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def commit() -> str | None:
    """Return the commit of the repository, with + if files differ from it."""
    return _git("describe", "--always", "--abbrev=12", "--exclude=*", "--dirty=+")


def commit_of(revision: str) -> str | None:
    """Return the commit that a revision names; None if it names none."""
    return _git("rev-parse", "--verify", "--quiet", "--short=12", f"{revision}^{{commit}}")


def _git(*arguments: str) -> str | None:
    done = subprocess.run(
        ["git", *arguments], cwd=REPOSITORY, check=False, capture_output=True, text=True
    )
    return done.stdout.strip() or None
