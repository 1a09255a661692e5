"""Rules of mechanisms, broken one at a time: can the recordings of a kernel that has them fail?

A file of such tests lists its rules. The ordinary suite breaks four of them, drawn by a seed;
`-m slow` breaks the others.
"""

import os
import random
import subprocess
import sys
from importlib import import_module
from pathlib import Path

from attrs import frozen

NR_BROKEN = 4
TESTS = Path(__file__).parent


@frozen
class Broken:
    """A rule: where it stands, what a kernel without it does, who notices, and where."""

    rule: str
    module: str
    """Within the package of the mechanism; `module:Class` if it is a class's."""
    name: str
    other: object
    recording: str
    place: str
    """A pattern that the recording's first difference begins with."""

    def __str__(self):
        return self.rule.replace(" ", "-")

    def break_in(self, package, set_attribute=setattr):
        """Let the kernel of this process have no such rule any more."""
        module, _, owner = self.module.partition(":")
        place = import_module(f"{package}.{module}")
        place = getattr(place, owner) if owner else place
        assert hasattr(place, self.name), "the rule stands elsewhere by now"
        set_attribute(place, self.name, self.other)


def drawn(broken, *, seed):
    """Return the rules that the ordinary suite breaks, and the others."""
    chosen = random.Random(seed).sample(broken, NR_BROKEN)
    return chosen, [each for each in broken if each not in chosen]


def first_difference(validate, path):
    """Return where the only result of a recording first differs."""
    (result,) = validate(path)
    assert not result.passed
    return result.first_difference


def first_difference_apart(module, broken):
    """Break a rule of compiled functions in a process of its own; return what is said there.

    `module`: the one of the tests that breaks the rule it is given, run as a program.
    """
    done = subprocess.run(
        [sys.executable, "-m", module, broken.rule],
        cwd=TESTS,
        env=os.environ | {"NUMBA_DISABLE_JIT": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout
