"""Recordings of glibc's malloc: reading one, and saying what is wrong with it.

The form is that of tests/reference/malloc: operations on a heap, as any heap trace has them, and
what an allocator did with them under each of several configurations. What is read here can be
replayed: the kernel's answers are those of a kernel.
"""
