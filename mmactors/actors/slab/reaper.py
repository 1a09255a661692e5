"""The reaper of SLAB: every two seconds a CPU gives back what it has not used (mm/slab.c, v6.1).

Models slab_online_cpu, start_cpu_timer and cache_reap's rounds: a deferrable timer of each CPU
(kernel/time/timer.c) starts a worker there. An idle CPU is not woken by it; the timer then expires
when the CPU runs the next time, so that a machine in which nothing happens stays as it is. There is
none in a search, whose threads do not last so long.
"""

from collections.abc import Callable
from typing import Final

from attrs import define, field

from mmactors.actors.slab.slab import SlabAllocator
from mmactors.actors.state.kernel import Kernel
from mmactors.engine.actor import Actor
from mmactors.engine.cpu import Cpu, Interrupt
from mmactors.engine.timer import LOCAL_TIMER
from mmactors.mm.slab.slab.reap import REAPTIMEOUT_AC
from mmactors.mm.slab.slab.slab import Slab
from mmactors.units import HZ, JIFFY_NS

_SKEW: Final = 3
"""So many jiffies lie between the timers of two CPUs, which else would expire together."""
_LVL_SHIFT: Final = 3
_LVL_SIZE: Final = 64
"""Each level of the timer wheel has so many buckets, of eight times the width of the last's."""


def round_jiffies(jiffies: int, cpu: int, *, now: int) -> int:
    """Return a time near `jiffies` at a whole second, but for the skew of the CPU."""
    skewed = jiffies + cpu * _SKEW
    rest = skewed % HZ
    rounded = skewed - rest if rest < HZ // 4 else skewed - rest + HZ
    rounded -= cpu * _SKEW
    return rounded if rounded > now else jiffies


def bucket_expiry(expires: int, now: int) -> int:
    """Return the jiffy at which the wheel's bucket of a timer expires (calc_wheel_index)."""
    level = 0
    while expires - now >= (_LVL_SIZE - 1) << (level * _LVL_SHIFT):
        level += 1
    shift = level * _LVL_SHIFT
    return ((expires >> shift) + 1) << shift


@define(eq=False)
class Reaper:
    """The reapers of all CPUs."""

    kernel: Kernel
    slab: SlabAllocator
    allocator: Slab
    _due_ns: list[int] = field(factory=list, init=False)
    """By CPU: when its timer expires; 0: its worker is on the way."""
    _timers: list[Interrupt | None] = field(factory=list, init=False)
    """By CPU: its timer if that is looked at."""

    def start(self) -> None:
        """Begin on all CPUs (slab_online_cpu)."""
        for cpu in self.kernel.cpus:
            self._due_ns.append(0)
            self._timers.append(None)
            self._set_due(cpu, 0, HZ)
            cpu.on_switch = self._on_switch(cpu.on_switch)
        self.kernel.engine.spawn("cpucache_init", self._begin())

    async def _begin(self) -> None:
        """Look at the timers of CPUs that had a thread before anything ran."""
        for cpu in self.kernel.cpus:
            if cpu.current is not cpu.idle and self._timers[cpu.index] is None:
                self._look_at_timer(cpu)

    def _set_due(self, cpu: Cpu, now: int, delay: int) -> None:
        """Let the timer of a CPU expire after about so many jiffies (schedule_delayed_work_on)."""
        expires = round_jiffies(now + delay, cpu.index, now=now)
        self._due_ns[cpu.index] = bucket_expiry(expires, now) * JIFFY_NS

    def _on_switch(
        self, before: Callable[[Cpu, Actor | None], None]
    ) -> Callable[[Cpu, Actor | None], None]:
        """Return what is called when a thread, or nobody, is put on a CPU."""

        def on_switch(cpu: Cpu, thread: Actor | None) -> None:
            before(cpu, thread)
            timer = self._timers[cpu.index]
            is_running = self.kernel.engine.running is not None
            if thread is not None and timer is None and is_running:
                self._look_at_timer(cpu)
            elif thread is None and timer is not None:
                cpu.cancel_interrupt(timer)
                self._timers[cpu.index] = None

        return on_switch

    def _look_at_timer(self, cpu: Cpu) -> None:
        due_ns = self._due_ns[cpu.index]
        if due_ns:
            timer = self._timers[cpu.index] = Interrupt(LOCAL_TIMER, self._expire)
            now_ns = self.kernel.engine.current.clock.now
            cpu.raise_interrupt(timer, latency_ns=max(0, due_ns - now_ns))

    async def _expire(self, cpu: Cpu) -> None:
        """Let a worker of the CPU reap."""
        self._timers[cpu.index] = None
        self._due_ns[cpu.index] = 0
        self.slab.start_worker(cpu, self._cache_reap)

    async def _cache_reap(self, cpu: Cpu) -> None:
        """Reap all caches, unless somebody makes or destroys one; then set the timer anew."""
        jiffies = cpu.clock.now // JIFFY_NS
        if await self.slab.slab_mutex.trylock():
            try:
                await self.slab.perform(
                    cpu, self.allocator.cache_reap(lambda: cpu.index, jiffies=jiffies)
                )
            finally:
                await self.slab.slab_mutex.release()
        self._set_due(cpu, cpu.clock.now // JIFFY_NS, REAPTIMEOUT_AC)
        if cpu.current is not cpu.idle:
            self._look_at_timer(cpu)
