"""The steps of which calls of tcmalloc are made, by number: those of a module follow each other."""

from typing import Final

FINISHED: Final = 0

# system/system_alloc.py
SYSTEM_ALLOC: Final = 1
SBRK_ALLOC: Final = 2
SBRK_KNOWN: Final = 3
SBRK_MOVED: Final = 4
SBRK_EXTRA: Final = 5
SBRK_PADDED: Final = 6
MMAP_ALLOC: Final = 7
MMAP_MAPPED: Final = 8
MMAP_TAIL: Final = 9
SYSTEM_DONE: Final = 10
META_ALLOC: Final = 11
META_CHUNK: Final = 12
NEW_OBJECT: Final = 13
OBJECT_ROOM: Final = 14
END_OF_SYSTEM: Final = 20

# heap/page_heap.py
HEAP_NEW: Final = 21
SEARCH: Final = 22
SEARCH_RETURNED: Final = 23
ALLOC_LARGE: Final = 24
LARGE_ALLOWED: Final = 25
LARGE_RELEASED: Final = 26
NOT_FOUND: Final = 27
COALESCED: Final = 28
GROWN: Final = 29
CARVE: Final = 30
CARVE_LEFTOVER: Final = 31
CARVE_CUT: Final = 32
CARVED: Final = 33
END_OF_NEW: Final = 39

# heap/grow.py
GROW: Final = 40
GROW_ASK: Final = 41
GROW_GOT: Final = 42
GROW_RECORD: Final = 43
GROW_MAP: Final = 44
GROW_LEAF: Final = 45
GROW_SPAN: Final = 46
END_OF_GROW: Final = 49

# heap/coalesce.py
HEAP_DELETE: Final = 50
DELETE_MERGED: Final = 51
DELETE_SCAVENGED: Final = 52
MERGE: Final = 53
MERGE_DECOMMITTED: Final = 54
MERGE_PREV: Final = 55
PREV_DECOMMITTED: Final = 56
MERGE_NEXT: Final = 57
NEXT_DECOMMITTED: Final = 58
PREPEND: Final = 59
PREPEND_INIT: Final = 60
PREPEND_NODE: Final = 61
END_OF_COALESCE: Final = 64

# heap/release.py
DECOMMIT: Final = 65
DECOMMIT_ANSWERED: Final = 66
RELEASE: Final = 67
RELEASE_DECOMMITTED: Final = 69
RELEASE_MERGED: Final = 70
ENSURE_LIMIT: Final = 71
LIMIT_RELEASED: Final = 72
END_OF_RELEASE: Final = 79

# central/central_free_list.py
FETCH_LOCKED: Final = 80
POPULATE: Final = 81
POPULATE_NEW: Final = 82
POPULATE_REGISTER: Final = 83
POPULATE_CUT: Final = 84
POPULATE_LINK: Final = 85
FETCH_AGAIN: Final = 86
POPULATE_FAILED: Final = 87
CHAIN_RELEASE: Final = 88
CHAIN_LOCK_HEAP: Final = 89
CHAIN_DELETE: Final = 90
CHAIN_UNLOCK_HEAP: Final = 91
CHAIN_RELOCK: Final = 92
END_OF_CENTRAL: Final = 99

# central/transfer_cache.py
INSERT: Final = 100
INSERT_LOCKED: Final = 101
EVICT: Final = 102
EVICT_SWAP: Final = 103
EVICT_LOCKED: Final = 104
EVICT_DONE: Final = 105
EVICT_RELOCK: Final = 106
EVICT_RESULT: Final = 107
EVICT_CHOOSE: Final = 111
INSERT_STORE: Final = 108
INSERT_RELEASE: Final = 109
INSERT_UNLOCK: Final = 110
END_OF_TRANSFER: Final = 119

# cache/scavenge.py
FETCHED: Final = 120
DROP: Final = 121
DROP_BATCH: Final = 122
DROPPED: Final = 123
TOO_LONG_DROPPED: Final = 124
SCAVENGE: Final = 125
SCAVENGE_DROPPED: Final = 127
INCREASE_LIMIT: Final = 128
CLEAN_UP: Final = 129
CLEAN_LIST: Final = 130
END_OF_SCAVENGE: Final = 139

# cache/thread_caches.py
CREATE: Final = 140
INIT_LOCKED: Final = 141
INIT_SPANS: Final = 142
INIT_STACKTRACES: Final = 143
INIT_CACHES: Final = 144
CREATE_LOCK: Final = 145
CREATE_LOCKED: Final = 146
CREATE_INIT: Final = 147
DELETE_CACHE: Final = 148
DELETE_CACHE_LOCKED: Final = 149
END_OF_CACHES: Final = 159

# calls.py
MALLOC: Final = 160
MALLOC_PAGES: Final = 161
MALLOC_SPAN: Final = 162
FREE: Final = 163
FREE_PAGES: Final = 164
FREE_DELETED: Final = 165
REALLOC: Final = 166
REALLOC_GREW: Final = 167
REALLOC_GOT: Final = 168

CALLOC_GOT: Final = 170
MEMALIGN: Final = 171
MEMALIGN_PAGES: Final = 172
MEMALIGN_GOT: Final = 173
MEMALIGN_LEAD: Final = 174
MEMALIGN_LEAD_DELETED: Final = 175
MEMALIGN_TRAILER: Final = 176
MEMALIGN_DONE: Final = 177
