"""What a machine does by itself while its race is explored: TLBs that forget, and that look ahead.

A CPU may drop a translation at any time, and may walk for one that no instruction asked for, with
whatever page tables it has loaded (Intel SDM volume 3, 4.10.2 and 4.10.3). Each is a daemon of the
world: it happens at any time, or never. The pages concerned are those of the ranges for which the
programs have names. Everything else that may happen is asked for where it would (engine/chance.py).
"""

from collections.abc import Callable, Sequence
from typing import Final

from mmactors.actors.program.process import Process
from mmactors.actors.state.kernel import Kernel
from mmactors.engine.chance import TLB_EVICTS, TLB_PREFETCHES
from mmactors.engine.cpu import Cpu
from mmactors.errors import Place, Problem, UserError
from mmactors.explore.world.world import World
from mmactors.hw.hardware import REASON, STALE
from mmactors.label import PAGE_TABLES, Mode, tlb
from mmactors.units import PAGE_SIZE

_MAX_PAGES: Final = 4
"""Each page is an actor for each CPU."""


def allow(world: World, kernel: Kernel, processes: Sequence[Process], may: Sequence[str]) -> None:
    """Let happen what `may` names, each once in a schedule; to be said before actors are made."""
    world.allow(*[what for what in may if what not in (TLB_EVICTS, TLB_PREFETCHES)])
    for what, verb, act in ((TLB_EVICTS, "evicts", _evict), (TLB_PREFETCHES, "prefetches", _walk)):
        if what in may:
            for cpu in kernel.cpus:
                for address in _pages(processes):
                    name = f"cpu{cpu.index} {verb} {address:#x}"
                    world.any_time(name, act(kernel, cpu, address), tlb(cpu.index))


def _evict(kernel: Kernel, cpu: Cpu, address: int) -> Callable[[], None]:
    def evict() -> None:
        asid = kernel.tlb_states[cpu.index].loaded_asid
        kernel.hardware.flush_page(cpu.index, asid + 1, address)

    return evict


def _walk(kernel: Kernel, cpu: Cpu, address: int) -> Callable[[], None]:
    """Return what walks for a translation as a load would, if there is one."""
    hardware, engine = kernel.hardware, kernel.engine

    def walk() -> None:
        nr_before = hardware.nr_walked_entries(cpu.index)
        with engine.guard.suspended():
            hardware.prefetch(cpu.index, address, now_ns=engine.now_ns)
        if hardware.nr_walked_entries(cpu.index) != nr_before:
            engine.touch(PAGE_TABLES, Mode.WRITE)
        if hardware.stop[REASON] == STALE and kernel.checks is not None:
            kernel.checks.stale_translation(cpu.index)

    return walk


def _pages(processes: Sequence[Process]) -> list[int]:
    ranges = {bound for process in processes for bound in process.bindings.values()}
    pages = sorted(
        address for start, length in ranges for address in range(start, start + length, PAGE_SIZE)
    )
    if len(pages) > _MAX_PAGES:
        raise UserError(
            Problem(
                place=Place("race.may"),
                found=f"the programs have names for {len(pages)} pages",
                legal=f"expected at most {_MAX_PAGES} where TLBs evict or prefetch",
                advice="let the race be about fewer pages",
            )
        )
    return pages
