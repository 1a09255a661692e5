"""Worlds whose stores may be late, and what a search says of them."""

from mmactors.engine.chance import STORE_IS_LATE
from mmactors.explore import Kind, Outcome, search


def judge(build):
    """Return how sure the search is that nothing breaks, and what it breaks."""
    verdict = search(build)
    return verdict.outcome, None if verdict.failure is None else verdict.failure.broken.kind


def late(build):
    """Return the world with late stores."""

    def built(world, **how):
        world.allow(STORE_IS_LATE)
        build(world, **how)

    return built


HOLDS = (Outcome.EXHAUSTED, None)
BREAKS = (Outcome.FAILED, Kind.LAW)
CRASHES = (Outcome.FAILED, Kind.CRASH)
