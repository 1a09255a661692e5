"""Ctrl-C and SIGTERM: the verdict reached so far, and nothing that was found is lost."""

import os
import signal

import pytest
from toys import TOYS, aba, fixed, stale_tlb

from mmactors.explore import Options, Outcome, search
from mmactors.explore.search.store import Store


class Ended(Exception):  # noqa: N818 - it says what happened
    """What whoever is told of an interrupt raises."""


def interrupting(build, at, number=signal.SIGINT):
    """Return the world whose building for the time `at` sends a signal; and the times so far."""
    built = []

    def builds(world):
        built.append(1)
        if len(built) == at:
            os.kill(os.getpid(), number)
        build(world)

    return builds, built


def verdict_of(build, **options):
    """Return the verdict of a search that a signal ends, and the signal's number."""
    told = []

    def end(verdict, number):
        told.append((verdict, number))
        raise Ended

    with pytest.raises(Ended):
        search(build, options=Options(on_interrupt=end, twice_first=0, **options))
    return told[0]


@pytest.mark.parametrize(
    ("number", "name"), [(signal.SIGINT, "Ctrl-C"), (signal.SIGTERM, "SIGTERM")]
)
def test_a_signal_ends_a_search_with_its_verdict(number, name):
    """As far as it came; what was proven for few preemptions stays proven."""
    build, _ = interrupting(fixed(aba), 60, number)
    before = signal.getsignal(number)

    verdict, told = verdict_of(build, is_exhaustive=True)

    assert number == told
    assert Outcome.BOUNDED is verdict.outcome
    assert 57 <= verdict.nr_schedules <= 60
    assert str(verdict).endswith(f"; interrupted by {name}")
    assert name == verdict.as_json()["interrupted_by"]
    assert before is signal.getsignal(number)


def test_without_anybody_to_tell_the_verdict_is_written_and_ctrl_c_goes_on(capsys):
    """A script ends as it does without a search."""
    build, _ = interrupting(fixed(aba), 60)

    with pytest.raises(KeyboardInterrupt):
        search(build, name="aba", options=Options(is_exhaustive=True))

    assert capsys.readouterr().err.startswith("aba: exhausted up to 1 preemption, sampled")


def test_a_failure_is_kept_before_it_is_shrunk_and_reported_as_it_is(tmp_path):
    """The next search finds it at once, and goes on with the shrinking."""
    nr_schedules = search(aba).failure.at_schedule
    build, _ = interrupting(aba, nr_schedules + 15)
    verdict, _ = verdict_of(build, store=tmp_path)
    failure = verdict.failure
    (kept,) = Store(tmp_path, "builds").load()

    assert failure.is_cut
    assert str(verdict).endswith("; interrupted by Ctrl-C")
    assert failure.script == kept.script
    assert not kept.figures.is_shrunk

    build, _ = interrupting(aba, 0)
    again = search(build, options=Options(store=tmp_path)).failure
    (kept,) = Store(tmp_path, "builds").load()

    assert (f"found by up to 1 preemption in schedule {nr_schedules}", False) == (
        again.earlier,
        again.is_cut,
    )
    assert again.is_least
    assert again.script == kept.script
    assert kept.figures.is_shrunk


def test_a_second_signal_is_nobodys_but_the_failure_is_kept(tmp_path):
    """Whoever cannot wait for the report loses nothing."""
    nr_schedules = search(aba).failure.at_schedule
    built = []

    def build(world):
        built.append(1)
        if len(built) in (nr_schedules + 15, nr_schedules + 16):
            os.kill(os.getpid(), signal.SIGINT)
        aba(world)

    with pytest.raises(KeyboardInterrupt):
        search(build, options=Options(store=tmp_path))
    assert 1 == len(Store(tmp_path, "build").load())


def test_an_ignored_signal_stays_ignored():
    """A search under nohup goes on."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        build, _ = interrupting(fixed(stale_tlb), 20)
        verdict = search(build)
    finally:
        signal.signal(signal.SIGINT, before)

    assert (Outcome.EXHAUSTED, None) == (verdict.outcome, verdict.interrupted_by)


def test_processes_of_a_search_end_with_what_they_have():
    """The first process is interrupted; the others are asked, and none is left."""
    told = []

    def tell(progress):
        if progress.strategy == "2 processes" and not told:
            told.append(progress)
            os.kill(os.getpid(), signal.SIGTERM)

    def build(world):
        cells = [world.cell(f"c{index}", 0) for index in range(3)]

        async def works():
            for cell in cells * 4:
                await cell.write(await cell.read() + 1)

        for name in "abc":
            world.actor(name, works)

    verdict, number = verdict_of(build, jobs=2, is_exhaustive=True, on_progress=tell)

    assert signal.SIGTERM == number
    assert told
    assert Outcome.BOUNDED is verdict.outcome
    assert str(verdict).endswith("; interrupted by SIGTERM")


@pytest.mark.parametrize("build", TOYS.values(), ids=TOYS)
def test_a_kept_schedule_is_said_to_be_kept_and_not_shrunk_again(tmp_path, build):
    """One schedule is tried, and played for the report."""
    first = search(build, options=Options(store=tmp_path)).failure
    built = []

    def again(world):
        built.append(1)
        build(world)

    again.__wrapped__ = build  # The fingerprint is of what is wrapped.
    verdict = search(again, name=build.__name__, options=Options(store=tmp_path))
    failure = verdict.failure

    assert f"kept from an earlier search: {first.origin}" == failure.origin
    assert "failed after 1 of 1 schedule (kept from an earlier search): " in str(verdict)
    assert first.report == failure.report
    assert (first.script, first.nr_preemptions, first.is_least) == (
        failure.script,
        failure.nr_preemptions,
        failure.is_least,
    )
    assert first.origin == verdict.as_json()["failure"]["earlier"]
    assert len(built) <= 10


def test_a_kept_schedule_of_another_program_is_not_blamed(tmp_path):
    """What fails is this program's own, found by a hint, and shrunk as anything is."""
    search(stale_tlb, name="t", options=Options(store=tmp_path))

    verdict = search(aba, name="t", options=Options(store=tmp_path))
    assert verdict.failure.earlier is None
    assert "earlier search" not in verdict.failure.origin
    (kept,) = Store(tmp_path, "t").load()
    assert verdict.failure.script == kept.script

    def mended_elsewhere(world):
        stale_tlb(world)
        world.cell("one more", 0)

    search(stale_tlb, name="u", options=Options(store=tmp_path))
    failure = search(mended_elsewhere, name="u", options=Options(store=tmp_path)).failure
    assert "found by a schedule kept of another program in schedule 1" == failure.origin
    assert failure.is_least
