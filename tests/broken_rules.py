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

import pytest
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


def first_difference_apart(module, *broken):
    """Break rules of compiled functions in a process of their own; return what is said there.

    `module`: the one of the tests that breaks the rules it is given, one at a time, run as a
    program.
    """
    done = subprocess.run(
        [sys.executable, "-m", module, *(each.rule for each in broken)],
        cwd=TESTS,
        env=os.environ | {"NUMBA_DISABLE_JIT": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def say_first_differences(package, broken, rules, validate, directory):
    """Break the rules of these names one at a time; say, a line each, where a recording differs.

    A rule's recording is one of the directory's, with the name of one of its configurations.
    """
    for each in (each for each in broken if each.rule in rules):
        with pytest.MonkeyPatch.context() as patch:
            each.break_in(package, patch.setattr)
            results = validate(directory / f"{each.recording.partition('/')[0]}.npz")
            result = next(result for result in results if result.case == each.recording)
        sys.stdout.write(f"{result.first_difference}\n")
