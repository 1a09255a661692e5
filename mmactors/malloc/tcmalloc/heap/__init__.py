"""Spans of pages: the page heap of tcmalloc, its map, its lists and its sets."""
