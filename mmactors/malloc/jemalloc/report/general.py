"""The first part of malloc_stats_print's text: how the library was built and is set up.

stats_general_print, src/stats.c of jemalloc 5.3.0 as Debian 12 builds it.
"""

from collections.abc import Iterator
from typing import Final

from mmactors.malloc.jemalloc.arenas import Arenas
from mmactors.malloc.jemalloc.heap import Heap
from mmactors.malloc.jemalloc.options import JemallocOptions
from mmactors.malloc.jemalloc.par import HUGE_ARENA, NR_ARENAS_AUTO, NR_CACHE_BINS
from mmactors.malloc.jemalloc.size_classes import NR_BINS, NR_SIZES, index2size
from mmactors.units import PAGE_SIZE

_BUILD: Final = """\
Version: "5.3.0-0-g54eaed1d8b56b1aa528be3bdd1877e59c56fa90c"
Build-time option settings
  config.cache_oblivious: true
  config.debug: false
  config.fill: true
  config.lazy_lock: false
  config.malloc_conf: ""
  config.opt_safety_checks: false
  config.prof: true
  config.prof_libgcc: true
  config.prof_libunwind: false
  config.stats: true
  config.utrace: false
  config.xmalloc: false
Run-time option settings
"""
_PROFILING: Final = """\
Profiling settings
  prof.thread_active_init: false
  prof.active: false
  prof.gdump: false
  prof.interval: 0
  prof.lg_sample: 0
"""
_Plain = bool | int | str
_Value = _Plain | tuple[_Plain, str]
"""One that may change while the program runs has the name of the value now, which is the same."""
_HPA: Final[tuple[tuple[str, _Value], ...]] = (
    ("hpa", False),
    ("hpa_slab_max_alloc", 65536),
    ("hpa_hugification_threshold", 1992294),
    ("hpa_hugify_delay_ms", 10000),
    ("hpa_min_purge_interval_ms", 5000),
    ("hpa_dirty_mult", "0.25"),
    ("hpa_sec_nshards", 4),
    ("hpa_sec_max_alloc", 32768),
    ("hpa_sec_max_bytes", 262144),
    ("hpa_sec_bytes_after_flush", 131072),
    ("hpa_sec_batch_fill_extra", 0),
)
_PROF: Final = """\
  opt.prof: false
  opt.prof_prefix: "jeprof"
  opt.prof_active: true (prof.active: false)
  opt.prof_thread_active_init: true (prof.thread_active_init: false)
  opt.lg_prof_sample: 19 (prof.lg_sample: 0)
  opt.prof_accum: false
  opt.lg_prof_interval: -1
  opt.prof_gdump: false
  opt.prof_final: false
  opt.prof_leak: false
  opt.prof_leak_error: false
"""
_STATS: Final = """\
  opt.stats_print: false
  opt.stats_print_opts: ""
  opt.stats_print: false
  opt.stats_print_opts: ""
  opt.stats_interval: -1
  opt.stats_interval_opts: ""
"""


def general_text(heap: Heap, arenas: Arenas, options: JemallocOptions) -> str:
    """Return the part; what this model has no option for stands as it is by default."""
    opts = "".join(f"  opt.{name}: {_shown(value)}\n" for name, value in _options(heap, options))
    nr_cache_bins = int(heap.par[NR_CACHE_BINS])
    largest = index2size(nr_cache_bins - 1)
    return (
        f'{_BUILD}{opts}{_PROF}{_STATS}  opt.zero_realloc: "{options.zero_realloc}"\n{_PROFILING}'
        f"Arenas: {arenas.nr_total}\nQuantum size: 16\nPage size: {PAGE_SIZE}\n"
        f"Maximum thread-cached size class: {largest}\n"
        f"Number of bin size classes: {NR_BINS}\n"
        f"Number of thread-cache bin size classes: {nr_cache_bins}\n"
        f"Number of large size classes: {NR_SIZES - NR_BINS}\n"
    )


def _shown(value: _Value) -> str:
    if isinstance(value, tuple):
        now, name = value
        return f"{_shown(now)} ({name}: {_shown(now)})"
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)


def _options(heap: Heap, options: JemallocOptions) -> Iterator[tuple[str, _Value]]:
    """Yield the options by their names in the library's order, up to those of profiling."""
    yield "abort", False
    yield "abort_conf", False
    yield "cache_oblivious", True
    yield "confirm_conf", False
    yield "retain", options.retain
    yield "dss", options.dss
    yield "narenas", int(heap.par[NR_ARENAS_AUTO])
    yield "percpu_arena", options.percpu_arena
    yield "oversize_threshold", options.oversize_threshold if heap.par[HUGE_ARENA] else 0
    yield from _HPA
    yield "metadata_thp", options.metadata_thp
    yield "mutex_max_spin", options.mutex_max_spin
    yield "background_thread", (False, "background_thread")
    yield "dirty_decay_ms", (options.dirty_decay_ms, "arenas.dirty_decay_ms")
    yield "muzzy_decay_ms", (options.muzzy_decay_ms, "arenas.muzzy_decay_ms")
    yield "lg_extent_max_active_fit", options.lg_extent_max_active_fit
    yield "junk", "false"
    yield "zero", options.zero
    yield "experimental_infallible_new", False
    yield "tcache", options.tcache
    yield "tcache_max", options.tcache_max
    yield "tcache_nslots_small_min", options.tcache_nslots_small_min
    yield "tcache_nslots_small_max", options.tcache_nslots_small_max
    yield "tcache_nslots_large", options.tcache_nslots_large
    yield "lg_tcache_nslots_mul", options.lg_tcache_nslots_mul
    yield "tcache_gc_incr_bytes", options.tcache_gc_incr_bytes
    yield "tcache_gc_delay_bytes", options.tcache_gc_delay_bytes
    yield "lg_tcache_flush_small_div", options.lg_tcache_flush_small_div
    yield "lg_tcache_flush_large_div", options.lg_tcache_flush_large_div
    yield "thp", options.thp
