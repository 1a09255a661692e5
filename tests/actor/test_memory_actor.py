"""The memory actor: lines occupy the channels one after another."""

from mmactors.actors.program.memory import MemoryActor, TransferLines
from mmactors.engine.baton import Engine
from mmactors.engine.config import EngineConfig
from mmactors.engine.mailbox import Mailbox


def memory_actor(line_ns=4):
    engine = Engine(EngineConfig())
    return MemoryActor(engine=engine, mailbox=Mailbox(engine, "memory"), line_ns=line_ns)


def lines(nr_lines, since_ns, until_ns):
    return TransferLines(nr_lines=nr_lines, since_ns=since_ns, until_ns=until_ns)


def test_a_batch_slower_than_the_channels_is_not_delayed():
    """10 lines in 1000 ns are 40 ns of transfers: they fit in."""
    actor = memory_actor()

    assert 0 == actor.transfer(lines(10, 0, 1000))
    assert (10, 0) == (actor.nr_lines, actor.queued_ns)


def test_a_batch_faster_than_the_channels_waits_for_its_own_lines():
    """100 lines need 400 ns; a batch that took 250 ends 150 later."""
    actor = memory_actor()

    assert 150 == actor.transfer(lines(100, 0, 250))


def test_cpus_that_miss_at_the_same_time_wait_for_each_other():
    """The second batch's lines come after those of the first."""
    actor = memory_actor()
    actor.transfer(lines(100, 0, 400))

    assert 400 == actor.transfer(lines(100, 0, 400))
    assert (200, 400) == (actor.nr_lines, actor.queued_ns)


def test_the_channels_are_idle_when_nobody_misses():
    """What was transferred long ago delays nobody."""
    actor = memory_actor()
    actor.transfer(lines(100, 0, 400))

    assert 0 == actor.transfer(lines(100, 10_000, 10_400))
