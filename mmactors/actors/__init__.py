"""Everything that awaits: CPUs, threads, kernel paths, and the serving actors."""
