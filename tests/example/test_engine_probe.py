"""The probe: numbers, times, places."""

import pytest
from engines import cpu_of, engine_of, run, spawn, thread

from mmactors.engine.probe import NR_KEPT, EngineProbe
from mmactors.events import MmPageFree


class Sink:
    """Keeps what it gets."""

    def __init__(self):
        self.records = []

    def record(self, event, *, seq, t_ns, actor, cpu, pid):
        self.records.append((event.pfn, seq, t_ns, actor, cpu, pid))


def test_events_are_stamped_with_who_where_and_when():
    """A thread has a CPU and perhaps a process; a service has neither."""
    engine = engine_of()
    cpu = cpu_of(engine, 2)
    sink = Sink()
    probe = EngineProbe(engine, sink)

    async def emits(pfn):
        await engine.spend(10 * pfn)
        probe.emit(MmPageFree(pfn=pfn, order=0))

    cpu.spawn_thread("init", emits(1), pid=7)
    spawn(engine, "zone", emits(2))
    run(engine)

    assert [(1, 1, 10, "init", 2, 7), (2, 2, 20, "zone", None, None)] == sink.records
    assert 2 == probe.nr_events


def test_the_last_events_are_kept():
    """Reports name them."""
    engine = engine_of()
    probe = EngineProbe(engine, Sink())

    async def emits():
        for pfn in range(100):
            probe.emit(MmPageFree(pfn=pfn, order=0))

    thread(cpu_of(engine, 0), "init", emits())
    run(engine)

    assert NR_KEPT == len(engine.recent())
    assert "t=0 ns init: mm_page_free pfn=99 order=0" == engine.recent()[-1]


def test_without_a_sink_the_probe_is_off():
    """Callers ask first, so that no event is made for nobody."""
    probe = EngineProbe(engine_of(), None)

    assert not probe.on
    with pytest.raises(AssertionError):
        probe.emit(MmPageFree(pfn=1, order=0))
