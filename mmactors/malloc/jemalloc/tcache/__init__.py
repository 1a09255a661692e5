"""The caches of threads: their bins, what fills and empties them, and when."""
