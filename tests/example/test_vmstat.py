"""Counters: events, lagging items, percpu_counter, split rss (mm/vmstat.py)."""

from mmactors.arch.arena import Arena
from mmactors.mm.vmstat import (
    NR_ANON_MAPPED,
    NR_FREE_PAGES,
    NR_MLOCK,
    PGALLOC_DMA,
    PGFAULT,
    TASK_RSS_EVENTS_THRESH,
    TaskRssStat,
    VmStat,
)


def counters(threshold=4):
    vmstat = VmStat(Arena(), nr_cpus=2, nr_zones=2, nr_nodes=1)
    for zone in range(2):
        vmstat.set_thresholds(zone, 0, threshold)
    return vmstat


class Mm:
    def __init__(self):
        self.rss = [0, 0, 0, 0]

    def add_mm_counter(self, member, value):
        self.rss[member] += value


def test_events_are_summed_over_cpus():
    """Each CPU counts for itself."""
    vmstat = counters()
    vmstat.events[0][PGFAULT] += 2
    vmstat.count_vm_events(1, PGFAULT, 3)

    assert 5 == vmstat.event(PGFAULT)


def test_a_delta_is_folded_beyond_the_threshold():
    """Up to the threshold the global number does not move; beyond it, it gets everything."""
    vmstat = counters()
    seen = []
    for _ in range(6):
        vmstat.mod_zone_page_state(0, 1, NR_FREE_PAGES, 1)
        seen.append((vmstat.zones[1][NR_FREE_PAGES], vmstat.cpu_zones[0][1][NR_FREE_PAGES]))

    assert [(0, 1), (0, 2), (0, 3), (0, 4), (5, 0), (5, 1)] == seen


def test_single_steps_overstep():
    """inc and dec fold half a threshold more, so that steps back and forth do not fold again."""
    vmstat = counters()
    for _ in range(5):
        vmstat.inc_zone_page_state(0, 0, NR_MLOCK)
    up = (vmstat.zones[0][NR_MLOCK], vmstat.cpu_zones[0][0][NR_MLOCK])
    for _ in range(3):
        vmstat.dec_zone_page_state(0, 0, NR_MLOCK)

    assert ((7, -2), (0, 2)) == (up, (vmstat.zones[0][NR_MLOCK], vmstat.cpu_zones[0][0][NR_MLOCK]))


def test_node_items_have_the_largest_threshold_of_their_zones():
    """A node's threshold is the maximum of what its zones have."""
    vmstat = counters(threshold=4)
    vmstat.set_thresholds(0, 0, 2)
    for _ in range(4):
        vmstat.inc_node_page_state(1, 0, NR_ANON_MAPPED)
    vmstat.mod_node_page_state(0, 0, NR_ANON_MAPPED, -7)
    vmstat.dec_node_page_state(0, 0, NR_ANON_MAPPED)

    assert (-7, 4, -1) == (
        vmstat.nodes[0][NR_ANON_MAPPED],
        vmstat.cpu_nodes[1][0][NR_ANON_MAPPED],
        vmstat.cpu_nodes[0][0][NR_ANON_MAPPED],
    )


def test_reading_lags_and_a_snapshot_does_not():
    """read gives the global number, snapshot adds the deltas; only a node's may be negative."""
    vmstat = counters()
    vmstat.mod_zone_page_state(0, 0, NR_FREE_PAGES, 3)
    vmstat.mod_zone_page_state(1, 0, NR_FREE_PAGES, 4)
    vmstat.mod_node_page_state(1, 0, NR_ANON_MAPPED, -2)

    assert (0, 7, 0, -2) == (
        vmstat.zone_page_state(0, NR_FREE_PAGES),
        vmstat.zone_page_state_snapshot(0, NR_FREE_PAGES),
        vmstat.node_page_state(0, NR_ANON_MAPPED),
        vmstat.node_page_state_snapshot(0, NR_ANON_MAPPED),
    )


def test_folding_leaves_nothing_with_the_cpu():
    """fold brings all deltas of one CPU into the global numbers and names the zones."""
    vmstat = counters()
    vmstat.mod_zone_page_state(0, 1, NR_FREE_PAGES, 3)
    vmstat.mod_zone_page_state(1, 0, NR_FREE_PAGES, 1)
    vmstat.mod_node_page_state(0, 0, NR_ANON_MAPPED, 2)

    changed = vmstat.fold(0)

    assert ((1,), 3, 2, 0) == (
        changed,
        vmstat.zone_page_state(1, NR_FREE_PAGES),
        vmstat.node_page_state(0, NR_ANON_MAPPED),
        vmstat.zone_page_state(0, NR_FREE_PAGES),
    )


def test_proc_vmstat_is_complete_and_in_order():
    """Names and order are those of 6.1, from nr_free_pages to nr_unstable."""
    vmstat = counters()
    vmstat.events[1][PGALLOC_DMA + 2] += 9

    lines = dict(vmstat.vmstat(dirty_threshold=5))
    names = list(lines)

    assert (173, "nr_free_pages", "nr_unstable", 9, 5, names.index("pgpgin")) == (
        len(lines),
        names[0],
        names[-1],
        lines["pgalloc_normal"],
        lines["nr_dirty_threshold"],
        names.index("nr_dirty_background_threshold") + 1,
    )


def test_rss_reaches_the_mm_with_the_66th_fault():
    """events++ > 64: 65 faults are kept by the thread, the next one folds."""
    mm, task = Mm(), TaskRssStat()
    seen = []
    for _ in range(TASK_RSS_EVENTS_THRESH + 3):
        task.count[1] += 1
        task.check_sync_rss_stat(mm)
        seen.append(mm.rss[1])

    assert ([0] * 65 + [66, 66], 1) == (seen, task.events)


def test_a_thread_that_leaves_tells_everything():
    """fold brings all counters, also falling ones; a snapshot brings them back."""
    mm, task = Mm(), TaskRssStat()
    task.count[0] += 5
    task.count[1] -= 2
    snapshot = task.snapshot()
    task.fold(mm)
    task.restore(snapshot)

    assert ([5, -2, 0, 0], [5, -2, 0, 0], 0) == (mm.rss, task.count, task.events)
