"""A file's pages in memory: the cache, readahead, shmem.

May import area/.
"""
