"""Where the words of caches and TLBs lie for one configuration, and how they begin: all empty."""

from typing import Final

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from mmactors.hw import layout
from mmactors.hw.cache import Geometry, format_cache
from mmactors.hw.coherence import MASK_BITS
from mmactors.hw.config import CacheConfig, HardwareConfig, TlbConfig
from mmactors.hw.geometry import PLRU
from mmactors.hw.geometry import REPLACEMENT as CACHE_REPLACEMENT
from mmactors.hw.tlb import REPLACEMENT as TLB_REPLACEMENT
from mmactors.hw.tlb import TlbGeometry, format_tlb

Words = NDArray[np.int64]
_SNOOP_WAYS: Final = 16


def _cache_geometry(cache: CacheConfig) -> Geometry:
    policy = CACHE_REPLACEMENT[cache.replacement]
    return Geometry.of_size(
        cache.size_bytes, ways=cache.ways, line_bytes=cache.line_bytes, policy=policy
    )


def _tlb_geometry(config: TlbConfig) -> TlbGeometry:
    policy = TLB_REPLACEMENT[config.replacement]
    return TlbGeometry(entries=config.entries, ways=config.ways, policy=policy)


@frozen(kw_only=True)
class Plan:
    """Where the parts of `layout` begin for one configuration."""

    config: HardwareConfig
    nr_cpus: int
    snoop: Geometry | None
    snoop_base: int
    first_row: int
    row_words: int

    @classmethod
    def of_config(cls, config: HardwareConfig, nr_cpus: int) -> "Plan":
        llc_end = layout.HEADER_END + _cache_geometry(config.llc).nr_words
        snoop = None if nr_cpus == 1 else _snoop_geometry(config, nr_cpus)
        first_row = llc_end + (0 if snoop is None else 2 * snoop.nr_words)
        row_words = layout.REGISTERS
        for name in ("l1i", "l1d", "l2"):
            if name in config.caches:
                row_words += _cache_geometry(config.caches[name]).nr_words
        row_words += sum(
            _tlb_geometry(each).nr_words for _, each in config.tlbs if each is not None
        )
        return cls(
            config=config,
            nr_cpus=nr_cpus,
            snoop=snoop,
            snoop_base=llc_end,
            first_row=first_row,
            row_words=row_words,
        )

    @property
    def nr_words(self) -> int:
        return self.first_row + self.nr_cpus * self.row_words

    def format(self, state: Words) -> None:
        """Write the header, and make all caches and TLBs empty."""
        self._format_header(state)
        format_cache(state, state[layout.LLC], _cache_geometry(self.config.llc))
        if self.snoop is not None:
            format_cache(state, self.snoop_base, self.snoop)
        for cpu in range(self.nr_cpus):
            self._format_row(state, self.first_row + cpu * self.row_words)

    def _format_header(self, state: Words) -> None:
        config, costs = self.config, self.config.costs
        first_level: list[CacheConfig | TlbConfig] = [config.l1i, config.l1d]
        first_level += [each for name, each in config.tlbs if each and name[:4] in ("itlb", "dtlb")]
        lengths = [cache.line_bytes for cache in config.caches.values()]
        is_through = config.l1d_write == "write_through"
        is_no_allocate = config.l1d_write_miss == "no_allocate"
        clusters = -(-self.nr_cpus // MASK_BITS)
        values = {
            layout.NR_CPUS: self.nr_cpus,
            layout.FIRST_ROW: self.first_row,
            layout.ROW_WORDS: self.row_words,
            layout.LLC: layout.HEADER_END,
            layout.SNOOP: 0 if self.snoop is None else self.snoop_base,
            layout.SHARERS: 0 if self.snoop is None else self.snoop.nr_words,
            layout.CLUSTER_SHIFT: (clusters - 1).bit_length(),
            layout.IS_INCLUSIVE: config.llc_inclusion == "inclusive",
            layout.IS_ONE_MISS: config.crossing == "one_miss",
            layout.IS_VIRTUAL: config.index == "virtual",
            layout.IS_KERNEL_CACHED: config.kernel_caching,
            layout.IS_WRITE_THROUGH: is_through,
            layout.IS_NO_ALLOCATE: is_no_allocate,
            layout.IS_PLAIN_STORE: not is_through and not is_no_allocate,
            layout.LEVELS: config.levels,
            layout.IS_TREELESS: all(part.replacement != "plru" for part in first_level),
            layout.CUT_BYTES: min(lengths),
            layout.FETCH_PS: costs.fetch_ps,
            layout.L1_HIT_PS: costs.l1_hit_ps,
            layout.L2_HIT_PS: costs.l2_hit_ns * 1000,
            layout.LLC_HIT_PS: costs.llc_hit_ns * 1000,
            layout.SNOOP_PS: costs.snoop_ns * 1000,
            layout.FORWARD_PS: costs.forward_ns * 1000,
            layout.MEMORY_PS: costs.memory_ns * 1000,
            layout.STLB_HIT_PS: costs.stlb_hit_ns * 1000,
            layout.WALK_PS: costs.walk_ns * 1000,
            layout.WALK_READ_PS: costs.walk_read_ns * 1000,
        }
        for index, value in values.items():
            state[index] = value

    def _format_row(self, state: Words, row: int) -> None:
        base = row + layout.REGISTERS
        registers = {"l1i": layout.L1I, "l1d": layout.L1D, "l2": layout.L2}
        for name, register in registers.items():
            if name in self.config.caches:
                geometry = _cache_geometry(self.config.caches[name])
                format_cache(state, base, geometry)
                state[row + register] = base
                base += geometry.nr_words
        bases = {}
        for register, (name, each) in enumerate(self.config.tlbs, start=layout.TLBS):
            if each is not None:
                tlb_geometry = _tlb_geometry(each)
                format_tlb(state, base, tlb_geometry)
                state[row + register] = bases[name] = base
                base += tlb_geometry.nr_words
            elif name == "stlb_2m":
                state[row + register] = bases["stlb"]
        assert base == row + self.row_words, f"a row of {base - row} words, not {self.row_words}"


def _snoop_geometry(config: HardwareConfig, nr_cpus: int) -> Geometry:
    """Return a snoop filter for the lines of all private caches, as large as asked for."""
    private = [cache for name, cache in config.caches.items() if name != "llc"]
    nr_lines = nr_cpus * sum(cache.size_bytes // cache.line_bytes for cache in private)
    wanted_sets = max(1, nr_lines * config.snoop_filter_percent // 100 // _SNOOP_WAYS)
    nr_sets = 1 << (wanted_sets - 1).bit_length()
    return Geometry(
        nr_sets=nr_sets, ways=_SNOOP_WAYS, line_bytes=config.llc.line_bytes, policy=PLRU
    )
