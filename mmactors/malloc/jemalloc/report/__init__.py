"""What jemalloc says of its heap, and what a look from outside finds there."""
