"""Pages of the kernel in an address space, [vvar] and [vdso]: a program that has them runs."""

from pathlib import Path

import pytest
from attrs import evolve

from mmactors.arch.pte import PRESENT, SPECIAL, USER
from mmactors.mm.fault.siginfo import BUS_ADRERR, SEGV_ACCERR, SIGBUS, SIGSEGV
from mmactors.units import PAGE_SIZE
from mmactors.validate.userland.case import read_case
from mmactors.validate.userland.machine import run_recorded

CASE = Path(__file__).parents[1] / "reference/linux-6.1/userland/vma/touch_vvar.json"
VVAR = 0x7FFF_F7FF_9000
VDSO = 0x7FFF_F7FF_D000


def looks_at(*operations):
    """Run operations; return after each what it gave, and what the process that runs them has."""
    found = []

    def watch(machine, _place, record):
        mm = machine.first.space.mm
        entries = mm.page_table.read_range(VVAR, VVAR + 4 * PAGE_SIZE).entries.tolist()
        found.append((record, mm.get_mm_rss(), entries, mm.page_table.nr_tables))

    run_recorded(evolve(read_case(CASE), op_list=list(operations)), watch=watch)
    return found


def test_the_page_of_the_clocks_is_inserted_as_one_that_nobody_counts():
    """A minor fault and a special entry, no rss; the second look needs no fault."""
    before, first, second = looks_at(
        "nop", f"touch @{VVAR:#x}:4K read", f"touch @{VVAR:#x}:4K read"
    )

    assert [(0, 0), (1, 1), (1, 0)] == [
        (got[0].ret, got[0].minflt) for got in (before, first, second)
    ]
    assert before[1] == first[1]
    (entry,) = first[2]
    assert PRESENT | USER | SPECIAL == entry & (PRESENT | USER | SPECIAL)


@pytest.mark.parametrize("nth", [1, 2, 3])
def test_behind_it_lies_a_bus_error(nth):
    """What is for other clocks and for time namespaces is not there; a write is refused before."""
    place = VVAR + nth * PAGE_SIZE
    read, write = looks_at(f"touch @{place:#x}:4K read", f"touch @{place:#x}:4K write")

    assert (SIGBUS, BUS_ADRERR, place) == read[0].signal
    assert (SIGSEGV, SEGV_ACCERR, place) == write[0].signal
    assert (0, []) == (read[0].minflt, read[2])


def test_a_child_has_the_entry_and_a_process_gives_it_back():
    """A fork copies the entries of such areas; unmapping takes them away, and frees no page."""
    _, _, in_child, gone = looks_at(
        f"touch @{VVAR:#x}:4K read",
        "fork D",
        f"D: touch @{VVAR:#x}:4K read",
        f"munmap @{VVAR:#x}:16K",
    )

    assert (1, 0) == (in_child[0].ret, in_child[0].minflt)
    assert (0, []) == (gone[0].ret, gone[2])
