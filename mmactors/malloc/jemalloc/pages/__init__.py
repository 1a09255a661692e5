"""The page allocator of an arena (jemalloc 5.3.0, pa.c, pac.c, extent.c): extents, their maps."""
