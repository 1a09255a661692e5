"""ptmalloc, the allocator of the GNU C library 2.36 (malloc/malloc.c, arena.c).

One file a noun of its own. May import request.py, library.py and user_words.py of malloc/.
"""
