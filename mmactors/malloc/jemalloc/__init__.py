"""jemalloc 5.3.0, as Debian 12 builds it."""
