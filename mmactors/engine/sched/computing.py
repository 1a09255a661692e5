"""Computing on a CPU: one step however long it takes, also where several threads take turns at it.

Theory of operation. Who computes touches nothing, so that it can stand still, as the engine sees
it, until it is done or wanted: another thread waits for the CPU and a slice is over, or a signal
has come. Where all who wait for the CPU were preempted while they computed, too, nothing happens
but that they take turns: a lap is one slice of each, and what going on to it took the last time.
Many laps are passed over in one step; times, context switches and what each has still to do follow
by arithmetic. Whoever comes, interrupts or signals meanwhile has the laps done that are over by
then, and all goes on slice by slice from there: to the machine it is the same.

Laps that are passed over leave no sched_switch in the log; who looks meanwhile sees whole laps.
Left out: what the loads of address spaces in them do to the TLB, and count.
"""

from typing import Final, Protocol

from attrs import define, field

from mmactors.engine.actor import LAST_NS, NEVER, PARKING, Actor, Processor
from mmactors.engine.baton import Engine
from mmactors.engine.cpu_times import CpuTimes
from mmactors.engine.report import deadlock, time_is_up

ENDLESS: Final = NEVER
"""How long somebody computes who does so until a signal comes, in ns."""
_LAPS_MIN: Final = 1_000
"""Fewer are done slice by slice, and logged."""


class Computer(Processor, Protocol):
    """A CPU that computes (`Cpu`)."""

    engine: Engine
    times: CpuTimes
    slice_ns: int
    put_ns: int
    run_queue: list[tuple[int, int, Actor]]

    def skip(self, now_ns: int, passed_ns: int, *, nr_switches: int) -> None:
        """Be at `now_ns`, with the same threads in the same order, `passed_ns` later."""


@define(eq=False)
class _Rest:
    """What a thread has still to compute whose slice is or was over."""

    left_ns: int
    lead_ns: int | None
    """What going on after another's slice took it the last time; None: it did not."""


@define(eq=False)
class _Laps:
    """Laps that are under way."""

    began_ns: int
    lap_ns: int
    lead_ns: int
    """Of who computes now."""
    others: dict[Actor, _Rest]


@define(eq=False, repr=False)
class Computing:
    """What one CPU computes."""

    cpu: Computer
    _from_ns: int | None = field(default=None, init=False)
    """Since when: slices end at multiples of their length; None: nobody computes."""
    _until_ns: int = field(default=NEVER, init=False)
    """When it is done if nobody comes; NEVER: only a signal ends it."""
    _grain_ns: int = field(default=0, init=False)
    """How often who computes looks for signals."""
    _signal_ns: int = field(default=NEVER, init=False)
    """Since when a signal waits for who computes; NEVER: there is none."""
    _rests: dict[Actor, _Rest] = field(factory=dict, init=False)
    """Of threads that were preempted while they computed."""
    _laps: _Laps | None = field(default=None, init=False)

    async def compute(self, ns: int, *, goes_on: bool, grain_ns: int) -> int:
        """Let the running thread compute for `ns`, or to the end of a slice when it is wanted.

        `goes_on`: this is the rest of what it began before. A signal is seen at a multiple of
        `grain_ns`. Return what is left, in ns; raises TimeIsUp if virtual time ends before.
        """
        cpu = self.cpu
        engine, clock = cpu.engine, cpu.clock
        actor = engine.current
        rest = self._rests.pop(actor, None)
        lead_ns = None
        if rest is not None and goes_on:
            ns, lead_ns = rest.left_ns, clock.now - cpu.put_ns
        if engine.policy.draws_costs and ns != ENDLESS:
            ns = engine.policy.cost_ns(ns)
        self._from_ns, self._grain_ns = clock.now, grain_ns
        self._until_ns = NEVER if ns == ENDLESS else clock.now + ns
        while (stop := min(self._until_ns, self._wanted_ns())) > clock.now:
            stop = self._begin_laps(lead_ns) or stop
            if stop <= engine.limit:
                clock.now = stop
            elif stop >= NEVER and ns != ENDLESS:
                raise time_is_up(actor, stop)
            else:
                actor.label = "spend"
                began_ns = clock.now
                if (ready_ns := min(stop, cpu.interrupt_ns, LAST_NS)) == LAST_NS:
                    actor.waits_for = self
                engine.policy.push(actor, max(ready_ns, clock.now))
                await PARKING
                if clock.now == LAST_NS and ns == ENDLESS:
                    clock.now, actor.waits_for = began_ns, self
                    outside, recent = engine.outside_waits, engine.recent()
                    raise deadlock(began_ns, engine.actors, outside, recent)
            self.catch_up(clock.now)
            self._laps = None
            if cpu.has_interrupt():
                began_ns = clock.now
                await cpu.take_interrupts()
                self._pass(clock.now - began_ns)
        left_ns = ENDLESS if ns == ENDLESS else self._until_ns - clock.now
        if left_ns and self._signal_ns == NEVER:
            self._rests[actor] = _Rest(left_ns, lead_ns)
        self._from_ns, self._signal_ns = None, NEVER
        return left_ns

    def describe(self) -> str:
        """Say what a thread waits for that computes without end."""
        return "a signal, or a stop, as it computes or spins without end"

    def tell(self) -> None:
        """Let who computes look again how far it may go: somebody has come, or a signal."""
        cpu = self.cpu
        if self._from_ns is not None and cpu.current is not cpu.engine.running:
            cpu.engine.make_ready(cpu.current, self._wanted_ns())

    def signal(self, thread: Actor, at_ns: int) -> None:
        """Let a thread look soon whether it has to end, or stop, if it computes here."""
        if thread in self._rests:
            self.end_laps()
            del self._rests[thread]
        if self._from_ns is not None and self.cpu.current is thread:
            self.end_laps()
            self._signal_ns = min(self._signal_ns, at_ns)
            self.tell()

    def _wanted_ns(self) -> int:
        """Return when a slice of who computes ends and it is wanted; NEVER: nobody wants it."""
        queue, wanted_ns = self.cpu.run_queue, NEVER
        if queue:
            wanted_ns = self._end_after(queue[0][0], self.cpu.slice_ns)
        if self._signal_ns < NEVER:
            wanted_ns = min(wanted_ns, self._end_after(self._signal_ns, self._grain_ns))
        return wanted_ns

    def _end_after(self, at_ns: int, every_ns: int) -> int:
        began_ns = self._from_ns
        assert began_ns is not None, f"nobody computes on {self.cpu.name}"
        ran_ns = max(at_ns, self.cpu.clock.now) - began_ns
        return began_ns + max(-(-ran_ns // every_ns), 1) * every_ns

    def _pass(self, ns: int) -> None:
        """Note that so much time has passed in which who computes did not."""
        assert self._from_ns is not None, f"nobody computes on {self.cpu.name}"
        self._from_ns += ns
        if self._until_ns < NEVER:
            self._until_ns += ns

    # -- laps ------------------------------------------------------------------------------------

    def _begin_laps(self, lead_ns: int | None) -> int | None:
        """Let all who want the CPU take turns; return up to when, None: slice by slice."""
        cpu = self.cpu
        now_ns, slice_ns = cpu.clock.now, cpu.slice_ns
        if not cpu.run_queue or lead_ns is None or self._signal_ns < NEVER:
            return None
        lap_ns = lead_ns + slice_ns
        least_ns = ENDLESS if self._until_ns == NEVER else self._until_ns - now_ns
        others = {}
        for at_ns, _, thread in cpu.run_queue:
            rest = self._rests.get(thread)
            if rest is None or rest.lead_ns is None or at_ns > now_ns:
                return None
            others[thread] = rest
            lap_ns += rest.lead_ns + slice_ns
            least_ns = min(least_ns, rest.left_ns)
        nr_laps = min((least_ns - 1) // slice_ns, (cpu.interrupt_ns - now_ns) // lap_ns)
        if nr_laps < _LAPS_MIN:
            return None
        self._laps = _Laps(now_ns, lap_ns, lead_ns, others)
        is_endless = min(least_ns, cpu.interrupt_ns) == NEVER
        return NEVER if is_endless else now_ns + nr_laps * lap_ns

    def catch_up(self, now_ns: int) -> None:
        """Let the laps be done that are over at `now_ns`."""
        laps, cpu = self._laps, self.cpu
        nr_laps = 0 if laps is None else (now_ns - laps.began_ns) // laps.lap_ns
        if laps is None or nr_laps <= 0:
            return
        passed_ns, slices_ns = nr_laps * laps.lap_ns, nr_laps * cpu.slice_ns
        laps.began_ns += passed_ns
        self._pass(passed_ns)
        if self._until_ns < NEVER:
            self._until_ns -= slices_ns
        leads = {thread: rest.lead_ns or 0 for thread, rest in laps.others.items()}
        for thread, lead_ns in ({cpu.current: laps.lead_ns} | leads).items():
            thread.times.ran_ns += slices_ns + nr_laps * lead_ns
            thread.times.user_ns += slices_ns
            thread.times.nivcsw += nr_laps
        for rest in laps.others.values():
            if rest.left_ns != ENDLESS:
                rest.left_ns -= slices_ns
        cpu.skip(laps.began_ns, passed_ns, nr_switches=nr_laps * (1 + len(leads)))
        cpu.times.skip(passed_ns, user_ns=slices_ns * (1 + len(leads)))

    def end_laps(self) -> None:
        """Let all go on slice by slice from the time of who runs, on another CPU or nowhere."""
        if self._laps is not None:
            self.catch_up(self.cpu.engine.current.clock.now)
            self._laps = None
            self.tell()
