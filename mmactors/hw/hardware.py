"""The hardware of the machine, as the actors use it: run a batch, see why it stopped, flush.

Nothing here knows the kernel. A page fault is a reason to stop; a flush, a context switch, or an
access to a lock word happens when the caller says so. All state is in the arena.
"""

from typing import Final

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from mmactors.arch.arena import Arena
from mmactors.arch.memory import PhysicalMemory
from mmactors.arch.page import Generations
from mmactors.arch.trace import LOAD, SIZE_SHIFT, Trace
from mmactors.hw import access, layout, tlb, watch
from mmactors.hw.config import MAX_CPUS, HardwareConfig
from mmactors.hw.plan import Plan
from mmactors.hw.private import reference_data
from mmactors.hw.statistics import HardwareStatistics, References, Translations
from mmactors.hw.tlb import ALL_PCIDS, EVERYTHING, flush, flush_page

Words = NDArray[np.int64]

END: Final = access.END
FAULT: Final = access.FAULT
BUDGET: Final = access.BUDGET
STALE: Final = access.STALE
REASON: Final = layout.REASON
ELAPSED_NS: Final = layout.ELAPSED_NS
FAULT_ADDRESS: Final = layout.FAULT_ADDRESS
ERROR_CODE: Final = layout.ERROR_CODE
MEMORY_READS: Final = layout.MEMORY_READS
MEMORY_WRITES: Final = layout.MEMORY_WRITES

NO_LIMIT_NS: Final = 1 << 50
"""A budget that no batch spends: 13 days."""

_WALK_REFERENCES: Final = layout.COUNTS + layout.WALK * layout.COUNTS_EACH + layout.REFERENCES
_FOUND_MAX: Final = 1 << 12
"""More translations than the TLBs of a CPU hold."""
_KERNEL_REFERENCES: Final = layout.COUNTS + layout.KERNEL * layout.COUNTS_EACH + layout.REFERENCES


@frozen(kw_only=True)
class Translation:
    """One entry of a TLB, for looking at."""

    tlb: str
    """The name of its option, such as `dtlb` or `stlb`."""
    pte: int
    """The entry as it was read, with the permissions of all levels combined."""
    generation: int
    """The generation of the page it points to, when it was read."""
    fill_ns: int


class Hardware:
    """All CPUs' TLBs and caches, and what they share.

    `generation` counts, by pfn, how often a page changed hands; entries of TLBs and walk caches
    remember it. `config` must have no problems.

    `stop` tells why the last `run` stopped: `stop[REASON]` is END, FAULT or BUDGET;
    `stop[ELAPSED_NS]` is what it cost; after FAULT, `stop[FAULT_ADDRESS]` and
    `stop[ERROR_CODE]` are CR2 and the error code (bits: 1 protection, 2 write, 4 user,
    16 instruction); STALE: see `watch_translations`; `stop[MEMORY_READS]` and
    `stop[MEMORY_WRITES]` count lines from and to memory.
    """

    def __init__(
        self,
        config: HardwareConfig,
        *,
        nr_cpus: int,
        memory: PhysicalMemory,
        arena: Arena,
        generation: Generations,
    ) -> None:
        assert 0 < nr_cpus <= MAX_CPUS, f"{nr_cpus} CPUs"
        self.config: Final = config
        self.nr_cpus: Final = nr_cpus
        plan = Plan.of_config(config, nr_cpus)
        self._state: Final[Words] = arena.array("hardware", plan.nr_words)
        plan.format(self._state)
        self._view: Final = memoryview(self._state.data)
        self.stop: Final = self._view[: layout.NR_CPUS]
        self._memory: Final[Words] = memory.words
        self._generation: Final = generation
        self._found_entries: Final = np.zeros(_FOUND_MAX, np.int64)
        self._is_watched = False
        self._rows: Final = [plan.first_row + cpu * plan.row_words for cpu in range(nr_cpus)]
        self._one_address: Final = np.zeros(1, np.int64)
        self._one_meta: Final = np.zeros(1, np.int64)
        self._code_line_bytes: Final = config.l1i.line_bytes
        self._line_shift: Final = config.l1d.line_bytes.bit_length() - 1

    def load_cr3(self, cpu: int, pgd_pfn: int, pcid: int) -> None:
        """Let `cpu` walk from the table in frame `pgd_pfn`. Flushing is the caller's decision."""
        assert 0 <= pcid < 1 << 12, f"PCID {pcid}"
        row = self._rows[cpu]
        self._view[row + layout.CR3] = pgd_pfn
        self._view[row + layout.PCID] = pcid
        self._view[row + layout.RETRY_PAGES] = 0

    def watch_translations(self) -> None:
        """From now on stop (STALE) before an access through an entry that outlived its page.

        `stale_entry` returns the entry, `acknowledge` lets the access pass when it comes again.
        """
        self._is_watched = True

    def generation_of(self, pfn: int) -> int:
        """Return how often a page changed hands."""
        return int(self._generation[pfn])

    def stale_entry(self) -> watch.CachedEntry:
        """Return the entry for which the last batch stopped."""
        return watch.stale_entry(self._state)

    def acknowledge(self, cpu: int) -> None:
        """Let accesses of `cpu` pass through the entry for which the last batch stopped."""
        watch.acknowledge(self._state, self._generation, self._rows[cpu])

    def entries_within(self, cpu: int, pcid: int, start: int, end: int) -> list[watch.CachedEntry]:
        """Return what the TLBs of `cpu` hold for the range under `pcid`; they do not notice."""
        count = watch.entries_within(
            self._state, self._rows[cpu], pcid, start, end, self._found_entries
        )
        if count == 0:
            return []
        return [watch.entry_at(self._view, index) for index in self._found_entries[:count].tolist()]

    def cached_words(self, cpu: int, pcid: int) -> tuple[bytes, ...]:
        """Return all that the TLBs of `cpu` hold under `pcid`, as a value: tag, entry, marks."""
        found, state = self._found_entries, self._state
        count = watch.entries_within(state, self._rows[cpu], pcid, 0, 1 << 57, found)
        if count == 0:
            return ()
        at = found[:count]
        return tuple([state[at + part].tobytes() for part in (0, tlb.PTE, tlb.GENERATION)])

    def cached_entries(self, cpu: int) -> list[tuple[str, watch.CachedEntry]]:
        """Return all that TLBs and walk caches of `cpu` hold, each with the TLB's name."""
        names = [name for name, _ in self.config.tlbs]
        return watch.all_entries(self._state, self._rows[cpu], names)

    def mark_revoked(self, entry: watch.CachedEntry, *, is_write_only: bool) -> bool:
        """Let accesses through `entry` stop, if it still stands where it stood; return whether."""
        state, index = self._view, entry.index
        now = watch.entry_at(self._state, index)
        if (now.filled, now.start, now.pte) != (entry.filled, entry.start, entry.pte):
            return False
        state[index + tlb.GENERATION] |= tlb.REVOKED_WRITE if is_write_only else tlb.REVOKED_ALL
        return True

    def run(
        self, cpu: int, trace: Trace, row: int, budget_ns: int = NO_LIMIT_NS, *, now_ns: int = 0
    ) -> int:
        """Run a trace from `row` in user mode; return the row to run next, see `stop`.

        A row that faults is the one to run next. At least one row is run if there is one and the
        budget is not 0; the last may overdraw the budget. `now_ns` dates TLB entries.
        """
        collapsed = trace.line_bytes
        assert collapsed is None or collapsed <= self._code_line_bytes, (
            f"the trace is collapsed to lines of {collapsed} bytes, the L1I's are shorter"
        )
        return access.run(
            self._state,
            self._memory,
            self._generation,
            self._is_watched,
            trace.address,
            trace.meta,
            self._rows[cpu],
            row,
            budget_ns,
            now_ns,
            True,
        )

    def run_row(self, cpu: int, trace: Trace, row: int, *, now_ns: int = 0) -> int:
        """Run one row of a trace, whatever it costs; return the row to run next, see `stop`."""
        done = self._run_one(cpu, int(trace.address[row]), int(trace.meta[row]), now_ns)
        if done and row + done < len(trace):
            self.stop[REASON] = BUDGET
        return row + done

    def access(self, cpu: int, address: int, size: int, kind: int, *, now_ns: int = 0) -> bool:
        """Do one access in user mode; return whether it was done, otherwise it faulted."""
        return self._run_one(cpu, address, kind | size << SIZE_SHIFT, now_ns) == 1

    def supervisor_access(
        self, cpu: int, address: int, size: int, kind: int, *, now_ns: int = 0
    ) -> bool:
        """Do one access as the kernel does, with PL 0; return whether it was done, see `stop`.

        `address` is a signed word, as entries are.
        """
        meta = kind | size << SIZE_SHIFT
        return self._run_one(cpu, address, meta, now_ns, is_user=False) == 1

    def prefetch(self, cpu: int, address: int, *, now_ns: int = 0) -> None:
        """Walk for `address` as a load would, without one; see `stop`.

        Nobody walks for what a TLB has: that it may have it no more is for the next access to find.
        """
        if self.translations(cpu, self._view[self._rows[cpu] + layout.PCID], address):
            self.stop[REASON] = END
        else:
            self.access(cpu, address, 1, LOAD, now_ns=now_ns)

    def _run_one(
        self, cpu: int, address: int, meta: int, now_ns: int, *, is_user: bool = True
    ) -> int:
        self._one_address[0] = address
        self._one_meta[0] = meta
        return access.run(
            self._state,
            self._memory,
            self._generation,
            self._is_watched,
            self._one_address,
            self._one_meta,
            self._rows[cpu],
            0,
            NO_LIMIT_NS,
            now_ns,
            is_user,
        )

    def kernel_access(self, cpu: int, physical_address: int, kind: int) -> int:
        """Touch a word of the kernel's, such as a lock or a PTE; return the cost in ns."""
        row, view = self._rows[cpu], self._view
        view[row + _KERNEL_REFERENCES] += 1
        if not self.config.kernel_caching:
            return self.config.costs.walk_read_ns
        view[layout.MEMORY_READS] = view[layout.MEMORY_WRITES] = 0
        line = physical_address >> self._line_shift
        cost_ps = reference_data(self._state, row, line, layout.KERNEL, kind != LOAD)
        view[row + layout.TOTAL_MEMORY_READS] += view[layout.MEMORY_READS]
        view[row + layout.TOTAL_MEMORY_WRITES] += view[layout.MEMORY_WRITES]
        return int(cost_ps + 999) // 1000

    def flush_page(self, cpu: int, pcid: int, address: int) -> int:
        """Do INVLPG for `address` under `pcid`; return how many entries went."""
        self._view[self._rows[cpu] + layout.TLB_FLUSHES] += 1
        return int(flush_page(self._state, self._rows[cpu], pcid, address))

    def flush_pcid(self, cpu: int, pcid: int) -> int:
        """Drop what `pcid` has in TLBs and walk caches, but global entries; return how many."""
        self._view[self._rows[cpu] + layout.TLB_FLUSHES] += 1
        return int(flush(self._state, self._rows[cpu], pcid))

    def flush_all(self, cpu: int, *, including_global: bool = False) -> int:
        """Drop the entries of all PCIDs; return how many went."""
        self._view[self._rows[cpu] + layout.TLB_FLUSHES] += 1
        which = EVERYTHING if including_global else ALL_PCIDS
        return int(flush(self._state, self._rows[cpu], which))

    def nr_walked_entries(self, cpu: int) -> int:
        """Return how many page-table entries the walker of `cpu` has touched so far."""
        return self._view[self._rows[cpu] + _WALK_REFERENCES]

    def last_translations(self, cpu: int, address: int, size: int) -> list[tuple[int, int]]:
        """Return the pages of the last access of `cpu`: where it begins in each, and its entry.

        `size` is in bytes; all levels' permissions are combined in an entry.
        """
        last = address + max(size, 1) - 1
        if (address ^ last) >> 12 == 0:
            return [(address, self._last_translation(cpu, address))]
        # What is in several pages has taken the full path, which keeps them: a small TLB does not.
        row, view = self._rows[cpu], self._view
        first = row + layout.PAGES
        end = first + view[row + layout.NR_PAGES] * layout.PAGE_WORDS
        return [
            (view[index + layout.PAGE_START], view[index + layout.PAGE_ENTRY])
            for index in range(first, end, layout.PAGE_WORDS)
        ]

    def _last_translation(self, cpu: int, address: int) -> int:
        """Return the entry through which `cpu` did its last access, at `address` in one page."""
        row, view = self._rows[cpu], self._view
        index = view[row + layout.DATA_HINTS + ((address >> 12) & (layout.NR_HINTS - 1))]
        pcid = view[row + layout.PCID]
        for size in range(tlb.NR_SIZES):
            if index and view[index] == tlb.tag_of(address, pcid, size + 1):
                return view[index + tlb.PTE]
        # A fetch, or a global entry: what is seldom leaves no hint.
        found = self.translations(cpu, pcid, address)
        assert found, f"cpu{cpu} has not just been at {address:#x}"
        return found[0].pte

    def translations(self, cpu: int, pcid: int, address: int) -> list[Translation]:
        """Return what the TLBs of `cpu` hold for `address` under `pcid`; they do not notice."""
        row, state = self._rows[cpu], self._state
        found = []
        for register, (name, _) in enumerate(self.config.tlbs[: -layout.NR_WALK_CACHES]):
            code = register % tlb.NR_SIZES + 1
            base = int(state[row + layout.TLBS + register])
            index = tlb.find(state, base, tlb.tag_of(address, pcid, code))
            if index >= 0:
                found.append(
                    Translation(
                        tlb=name,
                        pte=int(state[index + tlb.PTE]),
                        generation=int(state[index + tlb.GENERATION]),
                        fill_ns=int(state[index + tlb.FILL_NS]),
                    )
                )
        return found

    def statistics(self, cpu: int) -> HardwareStatistics:
        """Return what has been counted on `cpu`."""
        row = self._rows[cpu]
        words = self._state[row : row + layout.REGISTERS].tolist()
        each, tlb_each = layout.COUNTS_EACH, layout.TLB_COUNTS_EACH
        references = [
            References(
                references=words[base + layout.REFERENCES],
                l1_misses=words[base + layout.L1_MISSES],
                l2_misses=words[base + layout.L2_MISSES],
                llc_misses=words[base + layout.LLC_MISSES],
            )
            for base in range(layout.COUNTS, layout.TLB_COUNTS, each)
        ]
        translations = [
            Translations(
                lookups=references[who].references + words[base + layout.SECOND_PAGES],
                misses=words[base + layout.TLB_MISSES],
                walks=words[base + layout.WALKS],
            )
            for who, base in enumerate(range(layout.TLB_COUNTS, layout.OTHER_COUNTS, tlb_each))
        ]
        return HardwareStatistics(
            fetch=references[layout.FETCH],
            read=references[layout.READ],
            write=references[layout.WRITE],
            walk=references[layout.WALK],
            kernel=references[layout.KERNEL],
            fetch_tlb=translations[layout.FETCH],
            read_tlb=translations[layout.READ],
            write_tlb=translations[layout.WRITE],
            modifies=words[layout.MODIFIES],
            faults=words[layout.FAULTS],
            dirty_walks=words[layout.DIRTY_WALKS],
            snoops=words[layout.SNOOPS],
            forwards=words[layout.FORWARDS],
            upgrades=words[layout.UPGRADES],
            back_invalidations=words[layout.BACK_INVALIDATIONS],
            memory_reads=words[layout.TOTAL_MEMORY_READS],
            memory_writes=words[layout.TOTAL_MEMORY_WRITES],
            tlb_flushes=words[layout.TLB_FLUSHES],
            ns=words[layout.NS],
        )
