"""What the allocator waits for when zones are short.

May import state/, alloc/, tlb/, rmap/, entries/, file/.
"""
