"""How much memory may be promised."""

import pytest
from attrs import evolve

from mmactors.mm.area.overcommit import (
    OVERCOMMIT_ALWAYS,
    OVERCOMMIT_GUESS,
    OVERCOMMIT_NEVER,
    Overcommit,
    OvercommitPolicy,
)

RAM = 26_000
ENOMEM = -12


def promise_to(overcommit, nr_pages, *, total_vm=0, is_admin=True):
    return overcommit.vm_enough_memory(nr_pages, total_vm=total_vm, is_admin=is_admin)


def overcommit_of(memory, **fields):
    policy = OvercommitPolicy(memory=memory, user_reserve_kbytes=400, admin_reserve_kbytes=80)
    return Overcommit(totalram_pages=RAM, policy=evolve(policy, **fields))


@pytest.mark.parametrize(("swap", "expected"), [(0, (0, ENOMEM)), (1, (0, 0))])
def test_a_guess_refuses_what_can_never_be_there(swap, expected):
    """Mode 0 compares one promise with RAM and swap, whatever was promised before."""
    overcommit = Overcommit(totalram_pages=RAM, total_swap_pages=swap)

    assert expected == (promise_to(overcommit, RAM), promise_to(overcommit, RAM + 1))


def test_always_promises_anything():
    """Mode 1 counts but never refuses."""
    overcommit = overcommit_of(OVERCOMMIT_ALWAYS)

    assert (0, 100 * RAM) == (promise_to(overcommit, 100 * RAM), overcommit.committed)


def test_a_refused_promise_is_not_counted():
    """Committed_AS is what it was."""
    overcommit = overcommit_of(OVERCOMMIT_GUESS)
    promise_to(overcommit, 10)

    assert (ENOMEM, 10) == (promise_to(overcommit, RAM + 1), overcommit.committed)


@pytest.mark.parametrize(
    ("total_vm", "is_admin", "reserve"), [(0, True, 0), (320, True, 10), (1 << 30, False, 120)]
)
def test_never_keeps_reserves(total_vm, is_admin, reserve):
    """Mode 2 promises less than the limit, less what is kept from large processes and users."""
    overcommit = overcommit_of(OVERCOMMIT_NEVER)
    most = RAM // 2 - reserve - 1
    who = {"total_vm": total_vm, "is_admin": is_admin}

    refused = promise_to(overcommit, most + 1, **who)

    assert (ENOMEM, 0) == (refused, promise_to(overcommit, most, **who))


def test_kbytes_replace_the_ratio():
    """CommitLimit is overcommit_kbytes where that is not 0, and swap."""
    overcommit = overcommit_of(OVERCOMMIT_NEVER, kbytes=4000)
    overcommit.total_swap_pages = 7

    assert 1007 == overcommit.vm_commit_limit()


def test_a_check_lags_behind_until_mode_2_is_set():
    """Promises smaller than the batch stay with the CPU; setting mode 2 brings them together."""
    overcommit = overcommit_of(OVERCOMMIT_NEVER)
    overcommit.set_committed(RAM // 2 - 10)
    lagging = promise_to(overcommit, RAM // 256 - 1)

    overcommit.set_mode(OVERCOMMIT_NEVER)

    assert (0, ENOMEM) == (lagging, promise_to(overcommit, 1))


def test_promises_are_put_back_with_a_snapshot():
    """Restoring brings back the policy and the parts of all CPUs."""
    overcommit = overcommit_of(OVERCOMMIT_NEVER)
    promise_to(overcommit, 5)
    snapshot = overcommit.snapshot()
    overcommit.set_policy(OvercommitPolicy())
    promise_to(overcommit, 100)

    overcommit.restore(snapshot)

    assert (5, OVERCOMMIT_NEVER) == (overcommit.committed, overcommit.policy.memory)
