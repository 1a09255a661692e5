"""From a page to who maps it: the locks of anon_vma and i_mmap, walks, page_idle.

May import state/, alloc/, tlb/.
"""
