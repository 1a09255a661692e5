"""Who allocated an object, and who freed it: struct track behind the object (mm/slub.c, v6.1).

The 32 bytes are those of Linux: address of the caller, handle of the stack, CPU, pid, jiffies. What
an address and a handle mean is kept beside memory.
"""

import struct
from typing import Final

from mmactors.mm.slab.caller import SlabCaller
from mmactors.mm.slab.flags import SLAB_STORE_USER
from mmactors.mm.slab.slub.cache import KmemCache
from mmactors.mm.slab.slub.layout import TRACK_SIZE

TRACK_ALLOC: Final = 0
TRACK_FREE: Final = 1
_FORM: Final = struct.Struct("<QIIiIQ")
_TEXT_START: Final = 0xFFFFFFFF81000000
"""Where the kernel's code begins (nokaslr)."""
_STEP: Final = 16


def set_track(s: KmemCache, thing: int, item: int, cpu: int, caller: SlabCaller) -> None:
    """Note who allocates or frees an object, if the cache keeps that."""
    if not s.flags & SLAB_STORE_USER:
        return
    depot = s.slabs.stack_depot
    address = depot.save((caller.site,)) * _STEP + _TEXT_START if caller.site else 0
    handle = depot.save(caller.stack) if caller.stack else 0
    at = _track(s, thing, item)
    track = _FORM.pack(address, handle, cpu, caller.pid, 0, caller.jiffies)
    s.slabs.bytes_view[at : at + TRACK_SIZE] = track


def init_tracking(s: KmemCache, thing: int) -> None:
    """Forget who had an object."""
    if s.flags & SLAB_STORE_USER:
        at = _track(s, thing, TRACK_ALLOC)
        s.slabs.bytes_view[at : at + 2 * TRACK_SIZE] = bytes(2 * TRACK_SIZE)


def tracking(s: KmemCache, thing: int, jiffies: int) -> list[str]:
    """Return the lines that say who allocated an object, and who freed it (print_tracking)."""
    lines: list[str] = []
    if not s.flags & SLAB_STORE_USER:
        return lines
    for what, item in (("Allocated", TRACK_ALLOC), ("Freed", TRACK_FREE)):
        at = _track(s, thing, item)
        address, handle, cpu, pid, _, when = _FORM.unpack(s.slabs.bytes_view[at : at + TRACK_SIZE])
        if not address:
            continue
        depot = s.slabs.stack_depot
        name = (*depot.fetch((address - _TEXT_START) // _STEP), f"0x{address:x}")[0]
        stack = depot.fetch(handle)
        lines.append(f"{what} in {name} age={jiffies - when} cpu={cpu} pid={pid}")
        lines += [f" {each}" for each in stack]
        if not stack:
            lines.append("object allocation/free stack trace missing")
    return lines


def _track(s: KmemCache, thing: int, item: int) -> int:
    return thing + s.layout.info_end + item * TRACK_SIZE
