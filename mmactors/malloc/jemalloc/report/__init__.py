"""What a process's jemalloc has, for who looks from outside."""
