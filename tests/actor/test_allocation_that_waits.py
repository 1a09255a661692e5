"""The port between the allocator and what reclaims: who is asked, from where, and what it gives."""

from attrs import define, field
from machines import drive, events_of, scenario_of

from mmactors.actors.alloc.page_alloc import free_unref_page
from mmactors.mm.page_alloc.gfp import GFP_HIGHUSER_MOVABLE
from mmactors.mm.page_alloc.slow_path import FAILED_AT_ONCE, SlowPathAnswer
from mmactors.units import MIB

HUNGRY = ["put /proc/sys/vm/overcommit_memory 1", "mmap A 64M", "touch A write"]
NR_KEPT = 256


@define
class Reserve:
    """Gives pages back that it has kept, so many at a time; notes what it was asked for."""

    kernel: object
    kept: list = field(factory=list)
    asked: list = field(factory=list)

    def wake_kswapd(self, request):
        self.asked.append("wake_kswapd")

    async def direct_reclaim(self, cpu, request):
        assert not cpu.irqs_enabled, "the allocator runs with interrupts off"
        self.asked.append("direct_reclaim")
        if not self.kept:
            return FAILED_AT_ONCE
        for _ in range(32):
            await free_unref_page(self.kernel, cpu, self.kept.pop(), 0)
        return SlowPathAnswer(did_some_progress=True)

    async def direct_compact(self, cpu, request):
        raise AssertionError("single pages need no compaction")

    async def out_of_memory(self, cpu, request):
        self.asked.append("out_of_memory")
        return FAILED_AT_ONCE


def starve(*, nr_kept):
    """Run a program that wants more than there is; return who was asked, and its log."""
    made = []

    def before(kernel):
        reserve = Reserve(kernel)
        allocator = kernel.allocator
        with kernel.engine.guard.suspended():
            for _ in range(nr_kept):
                steps = allocator.alloc_pages(0, 0, GFP_HIGHUSER_MOVABLE)
                reserve.kept.append(allocator.perform(steps))
        kernel.slow_path = reserve
        made.append(reserve)

    driven = drive(scenario_of(HUNGRY, size=32 * MIB), before=before)
    return made[0], driven.log


def nr_faults(log):
    return len(events_of(log, "page_fault_user"))


def test_a_fault_without_memory_asks_for_everything_and_then_is_killed():
    """kswapd, reclaim, the OOM killer, in this order; then SIGKILL."""
    reserve, log = starve(nr_kept=0)

    waited_for = [each for each in reserve.asked if each != "wake_kswapd"]
    assert ["direct_reclaim", "out_of_memory"] == waited_for
    assert "wake_kswapd" == reserve.asked[0]
    assert [9] == [event["sig"] for event in events_of(log, "signal_generate")]


def test_what_is_reclaimed_serves_faults():
    """A program that is reclaimed for gets as far as one on a machine that had kept nothing."""
    poor, _ = starve(nr_kept=0)
    rich, log = starve(nr_kept=NR_KEPT)

    assert (NR_KEPT // 32 + 1, 1) == (
        rich.asked.count("direct_reclaim"),
        poor.asked.count("direct_reclaim"),
    )
    assert [] == rich.kept
    assert 1 == rich.asked.count("out_of_memory")
    assert nr_faults(log) > NR_KEPT
