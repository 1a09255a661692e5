"""The C library's allocator on the machine: a process's heap, and who drives the library's paths.

Imported at the first use, but for `at_first_use.py`. Imports of actors/ what program/ imports.
"""
