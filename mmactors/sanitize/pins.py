"""What pages stand for that somebody holds by their physical address: devices, debuggers.

A pin holds the page, not the address: a device that was given a page reads and writes that page
until the pin goes, whatever is mapped there by then (mm/gup.c, and
Documentation/core-api/pin_user_pages.rst, Linux 6.1). As long as the program has not given the page
up, both see the same. When it has (munmap, MADV_DONTNEED, a file that ends before it), the device
goes on with a page that nobody else sees; when it has moved it (mremap), the device sees what the
new address shows.
"""

from collections.abc import Hashable, Iterable

from attrs import define, field

from mmactors.sanitize.durable import Place

Found = tuple[int, int]
"""Where a page was when somebody took hold of it: address space, page number."""


@define(eq=False)
class Pins:
    """Knows what each page that was taken hold of stands for."""

    _places: dict[int, dict[Found, Place | None]] = field(factory=dict)
    """By page, then by where it was found; None: it was given up there."""

    def pin(self, pfn: int, found: Found, place: Place | None) -> None:
        """Somebody took hold of a page that stands for a place."""
        self._places.setdefault(pfn, {})[found] = place

    def place_of(self, pfn: int, found: Found) -> Place | None:
        """Return what a page stands for that was found there; None: for nothing any more."""
        return self._places.get(pfn, {}).get(found)

    def handed_out(self, pfn: int) -> None:
        """A page is another one from now on: nobody can have held it."""
        self._places.pop(pfn, None)

    def places(self) -> Iterable[Place]:
        """Return what pages stand for that somebody holds; a place may come twice."""
        return [
            place for pins in self._places.values() for place in pins.values() if place is not None
        ]

    def move(self, place: Place, there: Place | None) -> None:
        """What stood for a place stands for another one; None: for nothing any more."""
        for pins in self._places.values():
            for found in [found for found, where in pins.items() if where == place]:
                pins[found] = there

    def key(self, ctx_id: int) -> Hashable:
        """Return what pages of an address space stand for, as a value that tells states apart."""
        return tuple(
            (page, None if place is None else place[1])
            for pins in self._places.values()
            for (whose, page), place in pins.items()
            if whose == ctx_id
        )
