"""Sequence counters: readers repeat what a writer disturbed."""

from engines import Log, engine_of, run, spawn

from mmactors.engine.lock.seqcount import SeqCount
from mmactors.rules import held


def test_a_disturbed_reader_reads_again():
    """A writer between begin and retry makes the section void."""
    engine = engine_of()
    count = SeqCount(engine, name="tlb_gen")
    log = Log(engine)

    async def reads():
        while True:
            sequence = await count.read_begin()
            await engine.spend(100)
            log(f"read at {sequence}")
            if not await count.read_retry(sequence):
                return

    async def writes():
        await engine.spend(50)
        await count.write_begin()
        await engine.spend(10)
        await count.write_end()

    spawn(engine, "reads", reads())
    spawn(engine, "writes", writes())
    run(engine)

    assert [(100, "reads", "read at 0"), (200, "reads", "read at 2")] == log.entries
    assert 1 == count.nr_retries


def test_a_reader_spins_while_a_writer_is_inside():
    """A section begins when the count is even again."""
    engine = engine_of()
    count = SeqCount(engine, name="tlb_gen")
    log = Log(engine)

    async def reads():
        await engine.spend(20)
        sequence = await count.read_begin()
        log(f"begin at {sequence}")
        assert not await count.read_retry(sequence)

    async def writes():
        await count.write_begin()
        await engine.spend(70)
        await count.write_end()

    spawn(engine, "reads", reads())
    spawn(engine, "writes", writes())
    run(engine)

    assert [(70, "reads", "begin at 2")] == log.entries


def test_a_guard_that_a_rule_asks_for_is_held_only_where_it_is_kept():
    """`held` stands around what a lock or a count guards; a broken rule guards nothing."""
    engine = engine_of()
    count = SeqCount(engine, name="write_protect_seq")
    seen = []

    async def writes():
        for is_kept in (True, False):
            async with held(count.writing(), when=is_kept):
                seen.append((is_kept, count.sequence))

    spawn(engine, "writes", writes())
    run(engine)

    assert [(True, 1), (False, 2)] == seen
    assert 2 == count.sequence
