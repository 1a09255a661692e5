"""Page faults, and the work on pages that faults and calls ask for.

May import state/, alloc/, tlb/, rmap/, entries/, file/.
"""
