"""Reference counts with counters of CPUs' (lib/percpu-refcount.c); imports nothing of mm/."""
