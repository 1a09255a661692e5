"""Taking entries away and changing them: unmap, mprotect and mremap of entries, the gather.

May import state/, alloc/, tlb/, rmap/.
"""
