"""What is said about objects: mistakes of modules, and kernels that were broken on purpose.

README.md says how to renew it.
"""

import os
import re
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve, frozen
from machines import run, scenario_of

from mmactors.actors.state.config import KernelConfig
from mmactors.engine.guard import GUARD_VARIABLE
from mmactors.mm.slab.request import SlabSteps
from mmactors.mm.slab.slub import free, slub
from mmactors.mm.slab.slub.cache import KmemCache, Slabs
from mmactors.mm.slab.slub.struct_slab import FREELIST
from mmactors.rules import Rules
from mmactors.sanitize.config import SanitizeConfig
from mmactors.sanitize.finding import SanitizerError
from mmactors.scenario.faults.config import FailPageAlloc, FaultsConfig

FINDINGS = Path(__file__).parent / "findings"

MISTAKES = {
    "a-module-writes-after-its-free": (
        *("kmalloc A size=100", "kfree A", "kmalloc B size=100", "poke A bytes=4 value=1"),
    ),
    "a-module-reads-after-its-free": ("kmalloc A size=100", "kfree A", "peek A bytes=4"),
    "a-module-writes-behind-its-object": ("kmalloc A size=100", "poke A offset=96 bytes=8"),
    "a-module-writes-before-its-object": ("kmalloc A size=64", "poke A offset=-8 bytes=8"),
    "a-module-writes-into-its-neighbours": (
        *(f"kmalloc N{number} size=4K" for number in range(16)),
        *("poke N0 offset=-4K bytes=12K",),
    ),
    "a-module-frees-twice": (
        *("kmalloc A size=100", "kmalloc B size=100", "kfree A", "kfree B", "kfree A"),
    ),
    "a-module-frees-what-another-has-by-now": (
        *("kmalloc A size=100", "kfree A", "kmalloc B size=100", "kfree A"),
    ),
    "a-module-frees-a-large-block-twice": ("kmalloc L size=64K", "kfree L", "kfree L"),
    "a-module-frees-into-the-wrong-cache": (
        *("kmem_cache_create C size=1000", "kmem_cache_create D size=24 flags=typesafe_by_rcu"),
        *("kmem_cache_alloc A cache=C", "kmem_cache_free A cache=D"),
    ),
    "a-module-frees-kmallocs-into-a-cache": (
        *("kmem_cache_create C size=1000", "kmalloc A size=10", "kmem_cache_free A cache=C"),
    ),
    "a-module-forgets-an-object": ("kmalloc A size=100", "kmalloc A size=100"),
}


def clear_more(slabs: Slabs, address: int, nr_bytes: int) -> None:
    """Clear a word behind what was to be cleared."""
    _zero(slabs, address, nr_bytes + 8)


def forget_slab(*_: object, **__: object) -> SlabSteps[None]:
    """Do nothing with a slab."""
    yield from ()


def alloc_and_leave(slub: Any, *others: Any) -> int:
    """Give out an object, and leave it on the CPU's freelist."""
    thing = int(_alloc_local(slub, *others))
    if thing:
        slub[others[-1] + FREELIST] = thing
    return thing


def drop_object(self: slub.Slub, s: KmemCache, cpu: int, slab: int, thing: int) -> bool:
    """Say that an object of the program's cache was taken back, and put it nowhere."""
    if s.name != "C":
        return _free_local(self, s, cpu, slab, thing)
    assert self.slabs.checks is not None
    self.slabs.checks.object_freed(s, thing)
    return True


_zero = Slabs.zero
_free_local = slub.Slub.free_local
_alloc_local = slub.alloc_local


@frozen
class Broken:
    """A broken kernel, and a program that shows it."""

    program: tuple[str, ...]
    rule: str | None = None
    replaced: tuple[tuple[Any, str, Any], ...] = ()
    fails_from: int = 0
    """No cache gets pages from one of the first so many on, whichever shows it; 0: all do."""


SOME = tuple(f"kmem_cache_alloc O{number} cache=C" for number in range(12))
BROKEN = {
    "a-slab-loses-the-freelist-of-its-cpu": Broken(
        ("kmem_cache_create C size=1000", "kmem_cache_alloc A cache=C", "kmem_cache_shrink C"),
        rule="deactivate_slab_keeps_cpu_freelist",
    ),
    "a-cache-that-is-not-made-is-freed-twice": Broken(
        ("kmem_cache_create C size=1000",),
        rule="create_cache_frees_once",
        fails_from=80,
    ),
    "a-free-pointer-lies-behind-its-object": Broken(
        (
            "kmem_cache_create C size=20 flags=noleaktrace",
            *("kmem_cache_alloc A cache=C", "kmem_cache_free A cache=C"),
        ),
        rule="freepointer_lies_within_object",
    ),
    "a-partial-slab-is-on-no-list": Broken(
        ("kmem_cache_create C size=1000", *SOME, "kmem_cache_free O0 cache=C"),
        replaced=(
            (slub, "free_local", lambda *_: False),
            (free, "put_cpu_partial", forget_slab),
        ),
    ),
    "more-than-an-object-is-cleared": Broken(
        (
            "kmem_cache_create C size=1000 flags=noleaktrace",
            *SOME[:8],
            *(f"poke O{number} bytes=1000" for number in range(8)),
            *("kmem_cache_free O3 cache=C", "kmem_cache_alloc O3 cache=C"),
            *("kmem_cache_free O4 cache=C", "kmem_cache_alloc O4 cache=C"),
        ),
        replaced=((slub, "alloc_local", lambda *_: 0), (Slabs, "zero", clear_more)),
    ),
    "a-freed-object-is-on-no-freelist": Broken(
        ("kmem_cache_create C size=1000", *SOME, "kmem_cache_free O0 cache=C"),
        replaced=((slub.Slub, "free_local", drop_object),),
    ),
    "an-object-is-handed-out-twice": Broken(
        ("kmem_cache_create C size=1000", *SOME),
        replaced=((slub, "alloc_local", alloc_and_leave),),
    ),
}


def said(program: tuple[str, ...], rules: Rules, nr_pass: int | None = None) -> str:
    """Return what the first finding says; empty if there is none.

    `nr_pass`: so many pages there are, and none for what makes caches then.
    """
    scenario = scenario_of(list(program), size=32 << 20, kernel=KernelConfig(rules=rules))
    scenario = evolve(scenario, sanitize=SanitizeConfig.everything(panic=True))
    if nr_pass is not None:
        fault = FailPageAlloc(
            probability=100,
            times=-1,
            min_order=0,
            ignore_gfp_wait=False,
            space=nr_pass,
            require=("kmem_cache_create",),
        )
        scenario = evolve(scenario, faults=FaultsConfig(fail_page_alloc=fault))
    try:
        run(scenario)
    except SanitizerError as error:
        return general(f"{error}\n")
    return ""


def said_of(case: Broken, rules: Rules) -> str:
    """Return what is said of a broken kernel, or of the right one under the same program."""
    passes = range(case.fails_from) if case.fails_from else (None,)
    return next(filter(None, (said(case.program, rules, each) for each in passes)), "")


def general(text: str) -> str:
    """Leave out what costs, random numbers and other objects may change."""
    text = re.sub(r"t=\d+ ns", "t=... ns", text)
    text = re.sub(r"(they (?:were|are)) .*", r"\1 ...", text)
    text = re.sub(r"0x[0-9a-f]+", "0x...", text)
    text = re.sub(r"\b([NO])\d+\b", r"\1...", text)
    text = re.sub(r"(?:  in the way is .*\n)*(  in the way is .*\n)", r"\1", text)
    return re.sub(r"(objects? )[\d, ]+", r"\1... ", text)


def must_be(name: str, found: str) -> None:
    """Compare with what was said when it was looked at last."""
    path = FINDINGS / f"{name}.txt"
    if os.environ.get("MMACTORS_RENEW_GOLDEN") == "1":
        path.write_text(found)
    assert path.read_text() == found
    assert found


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_of_a_module_is_explained(name: str) -> None:
    """The first finding, as a user reads it."""
    must_be(name, said(MISTAKES[name], Rules()))


@pytest.mark.parametrize("name", BROKEN)
def test_a_kernel_that_breaks_a_law_of_objects_is_caught(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a rule that is off, or by something that is replaced."""
    case = BROKEN[name]
    if case.replaced:
        # What is replaced is what a CPU does alone; who is asked for steps does it otherwise.
        monkeypatch.delenv(GUARD_VARIABLE, raising=False)
    for replaced in case.replaced:
        monkeypatch.setattr(*replaced)
    rules = Rules() if case.rule is None else evolve(Rules(), **{case.rule: False})

    must_be(name, said_of(case, rules))


@pytest.mark.parametrize("name", BROKEN)
def test_the_right_kernel_is_not_blamed_for_objects(name: str) -> None:
    """The same program, nothing replaced."""
    case = BROKEN[name]

    assert "" == said_of(case, Rules())
