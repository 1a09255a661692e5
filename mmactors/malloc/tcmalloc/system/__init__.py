"""Where tcmalloc gets memory from: the program break, mappings, room for its own structures."""
