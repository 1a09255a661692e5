"""What can be known to be wrong with a program before it runs."""

import pytest

from mmactors.workload.program import Program


def problems(*texts):
    return [(problem.index, problem.found) for problem in Program.parse(texts).problems]


def test_a_sound_program_has_no_problem():
    """Regions, files, children, threads, spinning and stopping, in order."""
    texts = [
        "mmap A 2M",
        "open F /mnt/f1m ro",
        "mmap M 1M file=F flags=shared prot=r",
        "read F 0 64K bs=4K",
        "fork C1",
        "C1: touch A 0..512 write",
        "thread T1 cpu=1",
        "T1& spin",
        "munmap A 3..7",
        "madvise A 0..0 SEQUENTIAL",
        "stop T1",
        "wait",
        "mremap @A:64K len=128K as=B",
        "alias X B+64K 64K",
        "touch X read",
        "touch @stack-64K:32K write",
        "generate zipf A 0..100 count=10",
        "C1: exit",
        "reap",
        "fork C1",
        "P0: nop",
    ]

    program = Program.parse(texts)

    assert program.problems == ()
    assert len(texts) == len(program.operations)


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["touch A write"], (0, "A is not the name of a range here")),
        (["mmap A 4K", "touch a write"], (1, "a is not the name of a range here")),
        (["mmap B 4K addr=A+4K"], (0, "A is not the name of a range here")),
        (["munmap @A:4K"], (0, "A is not the name of a range here")),
        (["mmap A 4K", "generate matmul A n=99"], (1, "generate: the range has 4096 bytes")),
        (["mmap A 4K", "generate chase A 0..0"], (1, "the range A 0..0 has no page")),
        (["read F 0 4K bs=4K"], (0, "F is not the name of a file here")),
        (["mmap A 4K file=F"], (0, "F is not the name of a file here")),
        (["open F /f", "close F", "fsync F"], (2, "F is not the name of a file here")),
        (["C: nop"], (0, "C was never started")),
        (["fork C", "C: exit", "C: nop"], (2, "C has ended")),
        (
            ["open F /shm/f", "fork C", "C: close F", "fsync F", "C: fsync F"],
            (4, "F is not the name of a file here"),
        ),
        (
            ["fork C", "C: thread T cpu=0", "T: open F /shm/f", "C: fsync F", "fsync F"],
            (4, "F is not the name of a file here"),
        ),
        (["fork C", "kill C", "C: nop"], (2, "C has ended")),
        (["kill C"], (0, "C is not the name of a child here")),
        (["fork C", "fork C"], (1, "C is there already")),
        (["fork P0"], (0, "P0 is there already")),
        (["stop T"], (0, "T is not the name of a thread here")),
        (["thread T cpu=1", "stop T"], (1, "T does not spin")),
        (["thread T cpu=1", "T: spin"], (1, "T spins and is waited for, which never ends")),
        (["spin"], (0, "P0 spins and nobody is left to stop it")),
        (["P0& spin"], (0, "P0 spins and nobody is left to stop it")),
        (["P0: spin"], (0, "P0 spins and nobody is left to stop it")),
        (
            ["thread T cpu=1", "T& spin", "T: nop"],
            (2, "T still spins since operation 1"),
        ),
        (
            ["thread T cpu=1", "T& spin", "wait"],
            (2, "wait waits for T, which spins since operation 1"),
        ),
        (["mmap A 4K", "touch A 5..5 write"], (1, "the range A 5..5 has no page")),
        (["mmap A 4K", "munmap A 7..3"], (1, "the range A 7..3 has no page")),
        (["barrier b 2", "barrier b 3"], (1, "barrier b is for 3")),
    ],
)
def test_a_program_that_cannot_work_is_found_out(texts, expected):
    """The problem names the operation's place in the list."""
    assert [expected] == problems(*texts)


def test_all_wrong_texts_of_a_program_are_reported_at_once():
    """Names are not followed as long as there are texts that mean nothing."""
    expected = [(0, "'mmpa' is not an operation"), (2, "'tuch' is not an operation")]

    assert expected == problems("mmpa A 4K", "nop", "tuch A write", "touch B write")


def test_a_misspelt_name_is_put_right():
    """The advice names what is there."""
    (problem,) = Program.parse(["mmap Buffer 4K", "touch Bufer write"]).problems

    assert problem.advice == "did you mean 'Buffer'?"
    assert problem.legal == "expected one of Buffer"


def test_an_interrupt_handler_does_not_ask_for_what_may_sleep():
    """GFP_KERNEL may; which is what an allocation says that says nothing."""
    (problem,) = Program.parse(["kmalloc A size=64 smp_call=0"]).problems

    found = "kmalloc: an interrupt handler allocates with gfp=KERNEL, which may sleep"
    assert found == problem.found
    assert "expected one of ATOMIC, NOWAIT beside smp_call" == problem.legal
    assert not problems("kmalloc A size=64 smp_call=0 gfp=ATOMIC", "kfree A smp_call=0")


def test_only_a_thread_that_lives_goes_to_another_cpu():
    """It was started, and has not ended."""
    unknown = problems("thread T cpu=0", "sched_setaffinity U cpu=0")
    ended = problems("thread T cpu=0", "T: exit", "sched_setaffinity T cpu=0")

    assert [(1, "U is not the name of a thread here")] == unknown
    assert [(2, "T is not the name of a thread here")] == ended
