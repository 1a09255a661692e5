"""What ptmalloc says of itself: mallinfo2, malloc_stats, malloc_info, and a map of a heap."""
