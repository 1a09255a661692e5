"""Whether objects and slabs are what they should be: red zones, poison, padding, counts (v6.1).

Models the checks of mm/slub.c under SLUB_DEBUG. A check that fails says so in the words of the
kernel, appended to a log, and mends what the kernel mends. Left out: SLAB_TRACE, dump_stack.
"""

from typing import Final

from attrs import define, field

from mmactors.arch.page import PG_SLAB
from mmactors.mm.slab.flags import (
    OBJECT_POISON,
    SLAB_KMALLOC,
    SLAB_POISON,
    SLAB_RED_ZONE,
    SLAB_STORE_USER,
)
from mmactors.mm.slab.oops import pointer
from mmactors.mm.slab.slub.cache import KmemCache
from mmactors.mm.slab.slub.debug.report import hex_dump, slab_bug, slab_info
from mmactors.mm.slab.slub.debug.track import init_tracking, tracking
from mmactors.mm.slab.slub.layout import (
    MAX_OBJS_PER_PAGE,
    ORIG_SIZE_SIZE,
    TRACK_SIZE,
    order_objects,
)
from mmactors.mm.slab.slub.struct_slab import (
    COUNTERS_INUSE,
    COUNTERS_OBJECTS,
    FROZEN,
    OBJECTS_SHIFT,
    counters_of,
)
from mmactors.units import PAGE_SHIFT, PAGE_SIZE

SLUB_RED_INACTIVE: Final = 0xBB
SLUB_RED_ACTIVE: Final = 0xCC
POISON_INUSE: Final = 0x5A
POISON_FREE: Final = 0x6B
POISON_END: Final = 0xA5


def init_object(s: KmemCache, thing: int, value: int) -> None:
    """Paint an object's red zones and, if it is poisoned, the object itself."""
    layout, memory = s.layout, s.slabs.bytes_view
    size = layout.object_size
    if s.flags & SLAB_RED_ZONE:
        pad = layout.red_left_pad
        memory[thing - pad : thing] = bytes([value]) * pad
        end = layout.inuse - size
        memory[thing + size : thing + layout.inuse] = bytes([value]) * end
    if s.flags & OBJECT_POISON:
        memory[thing : thing + size] = bytes([POISON_FREE]) * (size - 1) + bytes([POISON_END])


def setup_slab(s: KmemCache, slab: int, order: int, objects: int) -> None:
    """Paint a new slab (setup_slab_debug), and all its objects as free ones."""
    memory, start = s.slabs.bytes_view, slab << PAGE_SHIFT
    if s.flags & SLAB_POISON:
        nr_bytes = PAGE_SIZE << order
        memory[start : start + nr_bytes] = bytes([POISON_INUSE]) * nr_bytes
    if s.flags & (SLAB_STORE_USER | SLAB_RED_ZONE | OBJECT_POISON):
        for nth in range(objects):
            thing = s.first_object(slab) + nth * s.size
            init_object(s, thing, SLUB_RED_INACTIVE)
            init_tracking(s, thing)


def set_orig_size(s: KmemCache, thing: int, orig_size: int) -> None:
    """Note how many bytes kmalloc was asked for, if the cache keeps that."""
    if s.layout.keeps_orig_size:
        at = thing + s.layout.info_end + 2 * TRACK_SIZE
        s.slabs.bytes_view[at : at + ORIG_SIZE_SIZE] = orig_size.to_bytes(4, "little")


@define(eq=False)
class Checker:
    """Checks of one slab, and what they found."""

    s: KmemCache
    slab: int
    jiffies: int = 0
    log: list[str] = field(factory=list)

    @property
    def counters(self) -> tuple[int, int, bool]:
        """How many objects are in use, how many there are, whether the slab is frozen."""
        word = self.s.slabs.pages.private_view[self.slab]
        inuse, objects = word & COUNTERS_INUSE, word >> OBJECTS_SHIFT & COUNTERS_OBJECTS
        return inuse, objects, bool(word & FROZEN)

    def set_counters(self, *, inuse: int, objects: int, is_frozen: bool) -> None:
        """Write the same."""
        word = counters_of(inuse=inuse, objects=objects, is_frozen=is_frozen)
        self.s.slabs.pages.private_view[self.slab] = word

    def is_pointer_valid(self, thing: int) -> bool:
        """Return whether an address is that of an object of the slab, or NULL."""
        if not thing:
            return True
        _, objects, _ = self.counters
        offset = thing - self.s.first_object(self.slab)
        return 0 <= offset < objects * self.s.size and offset % self.s.size == 0

    def slab_err(self, what: str) -> None:
        """Report what is wrong with the slab."""
        self.log += slab_bug(self.s, what)
        self.log.append(slab_info(self.s, self.slab))

    def fix(self, what: str) -> None:
        """Report what the kernel does about it."""
        self.log.append(f"FIX {self.s.name}: {what}")

    def object_err(self, thing: int, what: str) -> None:
        """Report what is wrong with an object."""
        self.log += slab_bug(self.s, what)
        if self.is_pointer_valid(thing) and thing:
            self._trailer(thing)
        else:
            self.log += [
                slab_info(self.s, self.slab),
                f"Invalid pointer 0x{pointer(thing)}",
            ]

    def _trailer(self, thing: int) -> None:
        """Print all that is known of an object."""
        s, layout, memory = self.s, self.s.layout, self.s.slabs.bytes_view
        start = self.slab << PAGE_SHIFT
        size = layout.object_size
        self.log += tracking(s, thing, self.jiffies)
        self.log.append(slab_info(s, self.slab))
        following = pointer(s.get_freepointer(thing))
        where = f"@offset={thing - start}"
        self.log += [f"Object 0x{pointer(thing)} {where} fp=0x{following}", ""]

        def section(text: str, first: int, length: int) -> None:
            self.log.extend(hex_dump(text, memory, first, length))

        has_red_zone = s.flags & SLAB_RED_ZONE
        if has_red_zone:
            section("Redzone  ", thing - layout.red_left_pad, layout.red_left_pad)
        elif thing > start + 16:
            section("Bytes b4 ", thing - 16, 16)
        section("Object   ", thing, min(size, PAGE_SIZE))
        if has_red_zone:
            section("Redzone  ", thing + size, layout.inuse - size)
        end = layout.metadata_end
        if end != layout.size_from_object:
            section("Padding  ", thing + end, layout.size_from_object - end)

    def _bytes_are(self, thing: int, what: str, first: int, value: int, length: int) -> bool:
        """Return whether bytes have a value; report and restore them if not."""
        fault = self._first_wrong(first, value, length)
        if fault is None:
            return True
        begin, end = fault
        memory = self.s.slabs.bytes_view
        offset = begin - (self.slab << PAGE_SHIFT)
        self.log += slab_bug(self.s, f"{what} overwritten")
        self.log.append(
            f"0x{pointer(begin)}-0x{pointer(end - 1)} @offset={offset}. "
            f"First byte 0x{memory[begin]:x} instead of 0x{value:x}"
        )
        self._trailer(thing)
        self._restore(what, value, begin, end)
        return False

    def _first_wrong(self, first: int, value: int, length: int) -> tuple[int, int] | None:
        """Return where the bytes that are not `value` begin and end."""
        seen = self.s.slabs.bytes_view[first : first + length].tobytes()
        right = bytes([value])
        left = seen.lstrip(right)
        if not left:
            return None
        begin = first + length - len(left)
        return begin, begin + len(left.rstrip(right))

    def _restore(self, what: str, value: int, begin: int, end: int) -> None:
        self.fix(f"Restoring {what} 0x{pointer(begin)}-0x{pointer(end - 1)}=0x{value:x}")
        self.s.slabs.bytes_view[begin:end] = bytes([value]) * (end - begin)

    def check_padding(self) -> None:
        """Check the bytes behind the last object (slab_pad_check)."""
        s = self.s
        length = PAGE_SIZE << s.slabs.pages.order_view[self.slab]
        remainder = length % s.size
        if not s.flags & SLAB_POISON or not remainder:
            return
        start = self.slab << PAGE_SHIFT
        pad = start + length - remainder
        fault = self._first_wrong(pad, POISON_INUSE, remainder)
        if fault is None:
            return
        begin, end = fault
        self.slab_err(
            f"Padding overwritten. 0x{pointer(begin)}-0x{pointer(end - 1)} @offset={begin - start}"
        )
        self.log += hex_dump("Padding ", s.slabs.bytes_view, pad, remainder)
        self._restore("slab padding", POISON_INUSE, begin, end)

    def check_object(self, thing: int, value: int) -> bool:
        """Return whether a free (SLUB_RED_INACTIVE) or used object is whole."""
        s, layout = self.s, self.s.layout
        size, flags = layout.object_size, s.flags
        end, rest = thing + size, layout.inuse - size
        if flags & SLAB_RED_ZONE:
            pad = layout.red_left_pad
            if not self._bytes_are(thing, "Left Redzone", thing - pad, value, pad):
                return False
            if not self._bytes_are(thing, "Right Redzone", end, value, rest):
                return False
        elif flags & SLAB_POISON and rest:
            self._bytes_are(thing, "Alignment padding", end, POISON_INUSE, rest)
        if flags & SLAB_POISON:
            if value != SLUB_RED_ACTIVE and flags & OBJECT_POISON:
                if not self._bytes_are(thing, "Poison", thing, POISON_FREE, size - 1):
                    return False
                if not self._bytes_are(thing, "End Poison", end - 1, POISON_END, 1):
                    return False
            self._check_pad_bytes(thing)
        if not layout.is_freeptr_outside and value == SLUB_RED_ACTIVE:
            return True
        if not self.is_pointer_valid(s.get_freepointer(thing)):
            self.object_err(thing, "Freepointer corrupt")
            s.set_freepointer(thing, 0)
            return False
        return True

    def _check_pad_bytes(self, thing: int) -> None:
        layout = self.s.layout
        end = layout.info_end
        if self.s.flags & SLAB_STORE_USER:
            end += 2 * TRACK_SIZE
            if self.s.flags & SLAB_KMALLOC:
                end += ORIG_SIZE_SIZE
        length = layout.size_from_object - end
        if length:
            self._bytes_are(thing, "Object padding", thing + end, POISON_INUSE, length)

    def check_slab(self) -> bool:
        """Return whether the slab's counts can be."""
        pages = self.s.slabs.pages
        if not pages.flags_view[self.slab] & PG_SLAB:
            self.slab_err("Not a valid slab page")
            return False
        inuse, objects, is_frozen = self.counters
        most = order_objects(pages.order_view[self.slab], self.s.size)
        if objects > most:
            self.slab_err(f"objects {objects} > max {most}")
            return False
        if inuse > objects:
            self.slab_err(f"inuse {inuse} > max {objects}")
            return False
        if is_frozen:
            self.slab_err("Slab disabled since SLUB metadata consistency check failed")
            return False
        self.check_padding()
        return True

    def is_on_freelist(self, search: int) -> bool:
        """Return whether an object is on the slab's list, which is checked on the way."""
        s, pages = self.s, self.s.slabs.pages
        inuse, objects, is_frozen = self.counters
        nr_free = last = 0
        thing = pages.index_view[self.slab]
        while thing and nr_free <= objects:
            if thing == search:
                return True
            if not self.is_pointer_valid(thing):
                if not last:
                    self.slab_err("Freepointer corrupt")
                    pages.index_view[self.slab] = 0
                    self.set_counters(inuse=objects, objects=objects, is_frozen=is_frozen)
                    self.fix("Freelist cleared")
                    return False
                self.object_err(last, "Freechain corrupt")
                s.set_freepointer(last, 0)
                break
            last = thing
            thing = s.get_freepointer(thing)
            nr_free += 1
        most = min(order_objects(pages.order_view[self.slab], s.size), MAX_OBJS_PER_PAGE)
        if objects != most:
            self.slab_err(f"Wrong number of objects. Found {objects} but should be {most}")
            objects = most
            self.fix("Number of objects adjusted")
        if inuse != objects - nr_free:
            counted = objects - nr_free
            self.slab_err(f"Wrong object count. Counter is {inuse} but counted were {counted}")
            inuse = counted
            self.fix("Object count adjusted")
        self.set_counters(inuse=inuse, objects=objects, is_frozen=is_frozen)
        return False


def check_free_slab(s: KmemCache, slab: int) -> tuple[str, ...]:
    """Return what is wrong with a slab that goes: its padding, and all objects as free ones."""
    checker = Checker(s, slab)
    checker.check_padding()
    for nth in range(checker.counters[1]):
        checker.check_object(s.first_object(slab) + nth * s.size, SLUB_RED_INACTIVE)
    return tuple(checker.log)
