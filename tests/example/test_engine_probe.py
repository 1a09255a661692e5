"""The probe: numbers, times, places, and what the running actor is doing for whom."""

import pytest
from engines import cpu_of, engine_of, run, spawn, thread

from mmactors.engine.probe import NR_BATCHED, NR_KEPT, EngineProbe
from mmactors.events import MmPageFree, PageFaultEnd, PageFaultUser, SysEnter, SysExit

ENTER = SysEnter(call="mmap A 4K", nr=9, args=())
EXIT = SysExit(call="mmap A 4K", nr=9, ret=0)
TRAP = PageFaultUser(address=0, ip=None, error_code=4)
END = PageFaultEnd(address=0, kind="anon", ns=0, ret=0, sig=None, pfn=1)


class Sink:
    """Keeps what it gets."""

    def __init__(self):
        self.records = []
        self.batches = []

    def take(self, taken):
        self.batches.append(len(taken))
        for seq, t_ns, who, span, cause, event in taken:
            self.records.append((event, seq, t_ns, who, span, cause))

    def spans(self):
        """Return name, span and cause of each event, as its line would say."""
        return [
            (
                event.name,
                0 if span is None else span.opener,
                cause or (0 if span is None else span.cause),
            )
            for event, _, _, _, span, cause in self.records
        ]


def test_events_are_stamped_with_who_where_and_when():
    """A thread has a CPU and perhaps a process; a service has neither."""
    engine = engine_of()
    cpu = cpu_of(engine, 2)
    sink = Sink()
    probe = EngineProbe(engine, sink)

    async def emits(pfn):
        await engine.spend(10 * pfn)
        probe.emit(MmPageFree(pfn=pfn, order=0))

    cpu.spawn_thread("init", emits(1), pid=7, tid=8)
    spawn(engine, "zone", emits(2))
    run(engine)

    stamps = [
        (seq, t_ns, who.actor, who.cpu, who.pid, who.tid)
        for event, seq, t_ns, who, _, _ in sink.records
        if event.name == "mm_page_free"
    ]
    # The first event is the switch to the thread, the last one that away from it.
    assert [(2, 10, "init", 2, 7, 8), (4, 20, "zone", None, None, None)] == stamps
    assert 4 == probe.nr_events


def test_what_happens_in_a_call_and_in_a_fault_inside_it_is_theirs():
    """An opening event begins its own span; what is outside has none."""
    engine = engine_of()
    sink = Sink()
    probe = EngineProbe(engine, sink)
    page = MmPageFree(pfn=1, order=0)

    async def emits():
        probe.emit(page)
        probe.open(ENTER)
        probe.emit(page)
        probe.open(TRAP)
        probe.emit(page)
        probe.close(END)
        probe.emit(page)
        probe.close(EXIT)
        probe.emit(page)

    spawn(engine, "caller", emits())
    run(engine)

    assert [
        ("mm_page_free", 0, 0),
        ("sys_enter", 2, 0),
        ("mm_page_free", 2, 0),
        ("page_fault_user", 4, 2),
        ("mm_page_free", 4, 0),
        ("page_fault_end", 4, 0),
        ("mm_page_free", 2, 0),
        ("sys_exit", 2, 0),
        ("mm_page_free", 0, 0),
    ] == sink.spans()


def test_what_is_done_on_behalf_of_another_says_whose_it_is():
    """Of one who does something for somebody himself, it is that one's."""
    engine = engine_of()
    sink = Sink()
    probe = EngineProbe(engine, sink)
    actors = {}

    async def asks():
        probe.open(ENTER)
        await engine.spend(100)
        probe.close(EXIT)

    async def serves(name, asker):
        await engine.spend(10)
        actors[name].span = probe.on_behalf_of(actors[asker])
        probe.emit(MmPageFree(pfn=1, order=0))
        await engine.spend(50)

    cpu = cpu_of(engine, 1)
    actors["asker"] = cpu.spawn_thread("asker", asks(), pid=7, tid=8)
    actors["server"] = spawn(engine, "server", serves("server", "asker"))
    actors["its server"] = spawn(engine, "its server", serves("its server", "server"))
    run(engine)

    served = [
        (who.actor, span.on_behalf_of.actor, span.cause)
        for event, _, _, who, span, _ in sink.records
        if event.name == "mm_page_free"
    ]
    assert [("server", "asker", 2), ("its server", "asker", 2)] == served


def test_events_are_handed_over_many_at_a_time_and_all_when_the_machine_stands_still():
    """A sink's work for an event is cheaper for many."""
    engine = engine_of()
    sink = Sink()
    probe = EngineProbe(engine, sink)

    async def emits():
        for pfn in range(NR_BATCHED + 10):
            probe.emit(MmPageFree(pfn=pfn, order=0))

    spawn(engine, "freer", emits())
    run(engine)

    assert [NR_BATCHED, 10] == sink.batches


def test_the_last_events_are_kept():
    """Reports name them, whether they were handed over or not."""
    engine = engine_of()
    probe = EngineProbe(engine, Sink())

    async def emits():
        for pfn in range(NR_BATCHED + 5):
            probe.emit(MmPageFree(pfn=pfn, order=0))
        assert NR_KEPT == len(engine.recent())

    spawn(engine, "init", emits())
    run(engine)

    last = NR_BATCHED + 4
    assert f"t=0 ns init: mm_page_free pfn={last} order=0" == engine.recent()[-1]
    assert f"t=0 ns init: mm_page_free pfn={last - NR_KEPT + 1} order=0" == engine.recent()[0]


def test_without_a_sink_the_probe_is_off():
    """Callers ask first, so that no event is made for nobody; nobody is told of waits either."""
    engine = engine_of()
    probe = EngineProbe(engine, None)

    async def emits():
        with pytest.raises(AssertionError, match="nobody listens"):
            probe.emit(MmPageFree(pfn=1, order=0))

    thread(cpu_of(engine, 0), "init", emits())
    run(engine)

    assert not probe.on
    assert engine.tracer is None
