"""A choice as a number: whose turn it is, and in which way the actor takes its step.

The actor's index stands in the low bits, above it the option; 0 is the ordinary way.
"""

from typing import Final

from mmactors.explore.engine.search_actor import SearchActor
from mmactors.explore.engine.step import Step
from mmactors.explore.engine.untimed import INTERRUPT, MAX_ACTORS, SearchEngine
from mmactors.label import Mode

INDEX_BITS: Final = 6
INDEX_MASK: Final = MAX_ACTORS - 1


def entry_of(engine: SearchEngine, choice: int) -> tuple[str, str]:
    """Return who would do what by `choice`, as a schedule names it."""
    actor = engine.party[choice & INDEX_MASK]
    option = choice >> INDEX_BITS
    if option == INTERRUPT:
        assert actor.cpu is not None, f"{actor} has no CPU"
        return actor.name, f"interrupt on {actor.cpu.name}"
    if actor.branch is not None:
        return actor.name, next(step.text for at, step in actor.branch() if at == option)
    return actor.name, actor.pending.text


def take_option(engine: SearchEngine, actor: SearchActor, option: int) -> Step:
    """Let the engine know in which way `actor` takes its step; return the step."""
    engine.chosen = option
    if option == INTERRUPT:
        cpu = actor.cpu
        assert cpu is not None, f"{actor} has no CPU"
        engine.detour = True
        cpu.clock.now = max(cpu.clock.now, cpu.interrupt_ns)
        name = cpu.name
        return engine.steps.of(f"interrupt on {name}", ((name, Mode.WRITE),))
    assert actor.branch is not None, f"{actor} has no option {option}"
    return next(step for number, step in actor.branch() if number == option)
