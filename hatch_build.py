"""What `pip install .` and a wheel's build do besides copying: native code of compiled functions.

The code is made from the sources that go into the wheel, by the module that also makes it at the
first import (mmactors/arch/native/build.py), and is loaded and called there once. That needs no
compiler and no linker, only Numba, on which mmactors depends anyway. Where it cannot be made the
wheel is pure, and the first import makes it. The code is for one kind of machine and any Python, so
the wheel's tag is `py3-none-PLATFORM`. An editable install gets none: its source will change.
With MMACTORS_PURE_WHEEL set there is none, for who wants one wheel for all kinds of machines.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from packaging.tags import platform_tags

PARTS = (
    "access",
    "memory",
    "percpu",
    "vmalloc",
    "slab",
    "slob",
    "ptmalloc",
    "tcmalloc",
    "jemalloc",
    "tools",
)
FOLDER = "mmactors/arch/native/built"
TIMEOUT_S = 600
LEAST_GLIBC = "manylinux_2_17"
"""The code calls nothing of the C library but memory functions that are in all of them."""


class NativeCode(BuildHookInterface):
    """Puts native code into a wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Make the code, unless for an editable install; never fail for it."""
        if version == "editable" or os.environ.get("MMACTORS_PURE_WHEEL"):
            return
        self._folder = Path(tempfile.mkdtemp())
        for problem in self._make():
            self.app.display_warning(f"not all native code is in this wheel: {problem}")
        files = sorted(self._folder.iterdir())
        build_data["force_include"] |= {str(file): f"{FOLDER}/{file.name}" for file in files}
        if files:
            build_data["pure_python"] = False
            build_data["tag"] = f"py3-none-{platform()}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove what was made."""
        del version, build_data, artifact_path
        shutil.rmtree(getattr(self, "_folder", ""), ignore_errors=True)

    def _make(self) -> list[str]:
        """Make all parts side by side; return why some cannot be made."""
        # Beside what is there: pip puts what the build requires on this path.
        path = os.pathsep.join(filter(None, (self.root, os.environ.get("PYTHONPATH"))))
        environment = dict(os.environ, PYTHONPATH=path, NUMBA_DISABLE_JIT="0")
        build = [sys.executable, "-P", "-m", "mmactors.arch.native.build"]
        processes = [
            # S603: the command is our own module under the interpreter that runs this.
            subprocess.Popen(  # noqa: S603
                [*build, part, str(self._folder)],
                cwd=self.root,
                env=environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            for part in PARTS
        ]
        problems = []
        for process in processes:
            try:
                errors = process.communicate(timeout=TIMEOUT_S)[1]
            except subprocess.TimeoutExpired:
                process.kill()
                errors = process.communicate()[1] + "\nit took too long"
            if process.returncode != 0:
                problems.append((errors.strip().splitlines() or ["it failed"])[-1])
        return problems


def platform() -> str:
    """Return the platform of the wheel's tag: that of all Linux wheels that it fits, or ours."""
    tags = list(platform_tags())
    return next((tag for tag in tags if tag.startswith(LEAST_GLIBC)), tags[0])
