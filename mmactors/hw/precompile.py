"""The first run ever compiles for several seconds; this lets a second process do a part of it.

`python -m mmactors.hw.precompile` compiles the translation of addresses, which then is on disk.
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import numpy as np

from mmactors.arch.arena import Arena
from mmactors.arch.jit import is_cached
from mmactors.arch.memory import PhysicalMemory
from mmactors.arch.trace import LOAD
from mmactors.hw.config import HardwareConfig
from mmactors.hw.hardware import Hardware
from mmactors.hw.translate import translate

_NR_FRAMES: Final = 4


@contextmanager
def precompiling() -> Iterator[None]:
    """Have the translation compiled beside what the body compiles, if it never was."""
    if is_cached(translate):
        yield
        return
    command = [sys.executable, "-m", __name__]
    # S603: the command is our own module under our own interpreter.
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):  # noqa: S603
        yield
        _tiny_hardware().kernel_access(0, 0, LOAD)


def _tiny_hardware() -> Hardware:
    memory = PhysicalMemory(_NR_FRAMES)
    generation = np.zeros(_NR_FRAMES, np.int32)
    return Hardware(
        HardwareConfig(), nr_cpus=1, memory=memory, arena=Arena(), generation=generation
    )


if __name__ == "__main__":
    _tiny_hardware().prefill(0, 0)
