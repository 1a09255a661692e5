"""x86-64 as data: page-table entries, struct page columns, frames, and the arena of all arrays."""
